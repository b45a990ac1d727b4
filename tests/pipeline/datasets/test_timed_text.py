"""ELAN files and subtitles as labels: times, tiers, pairing with videos, and what is wrong with them."""

from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from signprep.cache_builder import open_cache
from signprep.pipeline.cli import cli
from signprep.pipeline.datasets.annotations import DatasetOptions, Segment
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.timed_text.elan import read_elan
from signprep.pipeline.datasets.timed_text.subtitles import read_subtitles
from signprep.pipeline.errors import AnnotationError
from tests.generated_videos import write_video
from tests.pipeline.scan.scanning import scan

Aligned = tuple[str, str, str]
"""Names of the slots of start and end, and the value."""


def eaf(
    slots: dict[str, int | None],
    tiers: dict[str, list[Aligned]],
    *,
    references: dict[str, list[tuple[str, str, str | None]]] | None = None,
    media: str = "",
    head: str = '<?xml version="1.0" encoding="UTF-8"?>',
    units: str = "milliseconds",
) -> str:
    """Return a document; ids of annotations are a1, a2, ...; references are id of the parent, value, previous."""
    times = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{name}"' + ("/>" if value is None else f' TIME_VALUE="{value}"/>')
        for name, value in slots.items()
    )
    number, body = 0, ""
    for tier, annotations in tiers.items():
        body += f'<TIER TIER_ID="{tier}" LINGUISTIC_TYPE_REF="t">'
        for start, end, value in annotations:
            number += 1
            body += (
                f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" TIME_SLOT_REF1="{start}" '
                f'TIME_SLOT_REF2="{end}"><ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>'
            )
        body += "</TIER>"
    for tier, children in (references or {}).items():
        body += f'<TIER TIER_ID="{tier}" PARENT_REF="p" LINGUISTIC_TYPE_REF="t">'
        for parent, value, previous in children:
            number += 1
            behind = f' PREVIOUS_ANNOTATION="{previous}"' if previous else ""
            body += (
                f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a{number}" ANNOTATION_REF="{parent}"{behind}>'
                f"<ANNOTATION_VALUE>{value}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
            )
        body += "</TIER>"
    return (
        f'{head}<ANNOTATION_DOCUMENT FORMAT="3.0"><HEADER MEDIA_FILE="" TIME_UNITS="{units}">{media}</HEADER>'
        f"<TIME_ORDER>{times}</TIME_ORDER>{body}</ANNOTATION_DOCUMENT>"
    )


SLOTS: dict[str, int | None] = {"ts1": 100, "ts2": 300, "ts3": 500, "ts4": 900}
SIMPLE = eaf(SLOTS, {"main gloss": [("ts1", "ts2", "IX-1p"), ("ts3", "ts4", "BOOK")]})


def spans(text: str, *tiers: str) -> list[tuple[float, float, str]]:
    found = read_elan(text.encode(), "a.eaf", frozenset(tiers))
    return [(sign.start_seconds, sign.end_seconds, sign.gloss) for sign in found.signs]


def test_the_only_tier_is_taken_whatever_its_name() -> None:
    assert spans(SIMPLE) == [(0.1, 0.3, "IX-1p"), (0.5, 0.9, "BOOK")]


def test_tiers_are_chosen_by_name_whatever_their_unicode_form() -> None:
    right, left = "Lexem_Gebärde_r_A", "Lexem_Gebärde_l_A"
    text = eaf(
        SLOTS, {right: [("ts1", "ts2", "ICH1*")], left: [("ts3", "ts4", "BUCH1")], "Übersetzung": [("ts1", "ts4", "x")]}
    )
    assert spans(text, "Lexem_Geba\u0308rde_r_A") == [(0.1, 0.3, "ICH1*")]
    assert spans(text, right, left) == [(0.1, 0.3, "ICH1*"), (0.5, 0.9, "BUCH1")]


def test_several_tiers_of_which_none_is_chosen_are_listed_with_their_counts() -> None:
    text = eaf(
        SLOTS, {"main gloss": [("ts1", "ts2", "A"), ("ts3", "ts4", "B")], "English": [("ts1", "ts4", "x")], "eyes": []}
    )
    with pytest.raises(
        AnnotationError, match=r"a.eaf: has several tiers.*main gloss \(2\), English \(1\), eyes \(0\): give"
    ):
        spans(text)
    with pytest.raises(AnnotationError, match=r"has no tier mian gloss; it has main gloss \(2\)"):
        spans(text, "mian gloss")
    assert spans(eaf(SLOTS, {"gloss": [("ts1", "ts2", "A")], "notes": [("ts1", "ts4", "x")]})) == [(0.1, 0.3, "A")]


def test_annotations_that_refer_to_another_have_its_time_or_share_it() -> None:
    text = eaf(
        SLOTS,
        {"sentence": [("ts1", "ts4", "whole"), ("ts2", "ts3", "inner")]},
        references={"gloss": [("a1", "C", "a5"), ("a2", "ONE", None), ("a1", "B", "a3"), ("a1", "A", None)]},
    )
    # Of a1: a6 is the first; a3 says it is behind a5, which says it is behind a3: a circle, so the file's order counts.
    assert [gloss for _, _, gloss in spans(text, "gloss")] == ["C", "ONE", "B", "A"]
    text = eaf(
        SLOTS,
        {"sentence": [("ts1", "ts4", "whole"), ("ts2", "ts3", "inner")]},
        references={"gloss": [("a1", "C", "a5"), ("a2", "ONE", None), ("a1", "B", "a6"), ("a1", "A", None)]},
    )
    found = {gloss: (round(start, 4), round(end, 4)) for start, end, gloss in spans(text, "gloss")}
    assert found == {"A": (0.1, 0.3667), "B": (0.3667, 0.6333), "C": (0.6333, 0.9), "ONE": (0.3, 0.5)}


def test_points_without_a_time_lie_evenly_between_their_neighbours_on_the_tier() -> None:
    slots: dict[str, int | None] = {"ts1": 100, "ts2": None, "tsX": 150, "ts3": None, "ts4": 700}
    chain = [("ts1", "ts2", "A"), ("ts2", "ts3", "B"), ("ts3", "ts4", "C")]
    assert spans(eaf(slots, {"gloss": chain})) == [(0.1, 0.3, "A"), (0.3, 0.5, "B"), (0.5, 0.7, "C")]


def test_an_annotation_without_any_time_is_named_and_costs_itself() -> None:
    text = eaf(
        {"ts1": 100, "ts2": None, "ts3": 300}, {"gloss": [("ts1", "ts2", "A"), ("ts1", "ts3", "B"), ("x", "y", "C")]}
    )
    found = read_elan(text.encode(), "a.eaf")
    assert [sign.gloss for sign in found.signs] == ["B"]
    assert [problem.split(" of ")[0] for problem in found.problems] == ["annotation a1", "annotation a3"]


def test_empty_values_are_left_out_and_counted() -> None:
    found = read_elan(
        eaf(SLOTS, {"gloss": [("ts1", "ts2", " "), ("ts3", "ts4", "BOOK"), ("ts1", "ts4", "")]}).encode(), "a"
    )
    assert [(sign.number, sign.gloss) for sign in found.signs] == [(1, "BOOK")]
    assert not found.problems and found.empty == "2 of 3 annotations are empty, and left out"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949", "euc-kr", "iso-8859-1"])
def test_encodings_are_those_that_are_declared_or_that_fit(encoding: str) -> None:
    gloss = "BUCH-für" if encoding == "iso-8859-1" else "왼쪽"
    text = eaf(SLOTS, {"gloss": [("ts1", "ts2", gloss)]}, head=f'<?xml version="1.0" encoding="{encoding}"?>')
    assert read_elan(text.encode(encoding), "a.eaf").signs[0].gloss == gloss


def test_prefixed_names_and_entities_of_xml_are_read() -> None:
    text = SIMPLE.replace("BOOK", "A &amp; B&#x2F;C").replace(
        "<ANNOTATION_DOCUMENT", '<e:ANNOTATION_DOCUMENT xmlns:e="urn:x"'
    )
    text = text.replace("</ANNOTATION_DOCUMENT", "</e:ANNOTATION_DOCUMENT")
    assert spans(text)[1][2] == "A & B/C"


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SIMPLE[:-30], "is no well-formed XML .*line 1"),
        (SIMPLE.replace("<TIME_ORDER>", "\n<TIME_ORDER>\n<"), "is no well-formed XML .*line 3"),
        (SIMPLE.replace("?>", f"?>{BOMB}", 1).replace("BOOK", "&i;"), "declares an entity in line 1"),
        (
            '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + SIMPLE[38:].replace("BOOK", "&a;"),
            "declares an entity",
        ),
        ("<html></html>", "is a document html, no ANNOTATION_DOCUMENT"),
        ("", "is no well-formed XML"),
        (eaf(SLOTS, {"gloss": []}), "has no annotation"),
        (eaf(SLOTS, {"gloss": [("ts1", "ts2", "A")]}, units="PAL-frames"), "counts time in PAL-frames"),
    ],
)
def test_what_is_no_annotation_document_is_refused_in_a_line(text: str, told: str) -> None:
    with pytest.raises(AnnotationError, match=f"a.eaf: {told}") as refused:
        spans(text)
    assert "\n" not in str(refused.value)


@given(st.data())
def test_damaged_documents_are_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(SIMPLE.encode())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for read, name in ((read_elan, "a.eaf"), (read_subtitles, "a.srt"), (read_subtitles, "a.vtt")):
        with suppress(AnnotationError):
            read(bytes(raw), name)


SRT = (
    "1\r\n00:00:00,100 --> 00:00:00,300\r\n<i>위</i>\r\n\r\n"
    "2\r\n00:00:00.5 --> 00:00:00,9 X1:0\r\n{\\an8}어쩔 수\r\n없다\r\n"
)
VTT = (
    "WEBVTT - x\n\nNOTE a note\n\nSTYLE\n::cue {}\n\nname\n00:00.100 --> 00:00.300 align:start\n<c.x>A &amp; B</c>\n\n"
    "01:00:00.000 --> 01:00:01.000\n{x}\n"
)


def test_cues_are_read_without_their_style() -> None:
    def cues(text: str, name: str) -> list[tuple[float, float, str]]:
        return [
            (sign.start_seconds, sign.end_seconds, sign.gloss) for sign in read_subtitles(text.encode(), name).signs
        ]

    assert cues(SRT, "a.srt") == [(0.1, 0.3, "위"), (0.5, 0.9, "어쩔 수 없다")]
    assert cues(VTT, "a.VTT") == [(0.1, 0.3, "A & B"), (3600.0, 3601.0, "{x}")]
    assert cues(SRT.replace("\r\n\r\n", "\r\n"), "a.srt")[0] == (0.1, 0.3, "위")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp949"])
def test_subtitles_may_be_in_any_encoding_of_korea(encoding: str) -> None:
    assert read_subtitles(SRT.encode(encoding), "a.srt").signs[0].gloss == "위"


def test_cues_that_cannot_be_read_cost_themselves() -> None:
    text = SRT + "\n3\n00:00:0x,000 --> 00:00:02,000\n넷\n\n4\n00:00:02,000 --> 00:00:03,000\n\n"
    found = read_subtitles(text.encode(), "a.srt")
    assert len(found.signs) == 2
    assert found.problems[0].startswith("line 11 has no times of the form")
    assert found.empty == "1 of 4 cues are empty, and left out"
    with pytest.raises(AnnotationError, match=r"a.vtt: is no WebVTT file"):
        read_subtitles(SRT.encode(), "a.vtt")
    with pytest.raises(AnnotationError, match=r"a.srt: holds no cue"):
        read_subtitles(b"hello", "a.srt")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def found(root: Path, **options: object) -> tuple[list[Segment], list[str]]:
    annotations = read_data_root(root, DatasetOptions(**options))  # type: ignore[arg-type]
    return list(annotations.segments), [f"{problem.kind}: {problem.message}" for problem in annotations.problems]


def test_files_lie_beside_their_videos_or_in_a_folder_of_their_own(tmp_path: Path) -> None:
    write_video(tmp_path / "a" / "talk.mp4", 30)
    write_video(tmp_path / "b" / "talk.mp4", 30)
    write_video(tmp_path / "video" / "말 하기.mp4", 30)
    write(tmp_path / "a" / "talk.eaf", SIMPLE)
    write(tmp_path / "b" / "talk.srt", SRT)
    write(tmp_path / "label" / "말 하기.vtt", VTT)
    segments, problems = found(tmp_path)
    assert not problems
    assert [(one.segment_id, one.video, one.gloss, one.take) for one in segments if one.start_seconds == 0.1] == [
        ("a/talk#0", "a/talk.mp4", "IX-1p", "a/talk"),
        ("video/말 하기#0", "video/말 하기.mp4", "A & B", "video/말 하기"),
        ("b/talk#0", "b/talk.mp4", "위", "b/talk"),
    ]


def test_names_tell_signers_as_elsewhere(tmp_path: Path) -> None:
    for name in ("s7_F", "s7_L"):
        write_video(tmp_path / f"{name}.mp4", 30)
        write(tmp_path / f"{name}.eaf", SIMPLE)
    segments, _ = found(tmp_path, name_pattern=r"(?P<signer>s\d)_(?P<view>\w)")
    assert {(one.signer, one.view, one.take) for one in segments} == {("s7", "F", "s7"), ("s7", "L", "s7")}


MEDIA = (
    '<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/x/front.mp4" RELATIVE_MEDIA_URL="./front.mp4" MIME_TYPE="video/mp4"/>'
    '<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/Users/x/My%20side.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="40"/>'
)


def test_videos_that_a_file_names_are_views_of_one_take(tmp_path: Path) -> None:
    write_video(tmp_path / "front.mp4", 30)
    write_video(tmp_path / "My side.mp4", 30)
    write(tmp_path / "session.eaf", eaf(SLOTS, {"gloss": [("ts1", "ts2", "A")]}, media=MEDIA))
    segments, problems = found(tmp_path)
    assert not problems
    assert [(one.video, one.start_seconds, one.end_seconds, one.take) for one in segments] == [
        ("front.mp4", 0.1, 0.3, "session"),
        ("My side.mp4", 0.14, 0.34, "session"),
    ]


def test_one_file_of_each_video_is_taken_and_others_are_named(tmp_path: Path) -> None:
    write_video(tmp_path / "talk.mp4", 30)
    write_video(tmp_path / "alone.mp4", 30)
    write(tmp_path / "talk.eaf", SIMPLE)
    write(tmp_path / "talk.srt", SRT)
    write(tmp_path / "lost.eaf", SIMPLE)
    write(tmp_path / "talk.mp4.vtt", VTT)
    segments, problems = found(tmp_path)
    assert [one.gloss for one in segments] == ["IX-1p", "BOOK"]
    assert sorted(problem.split(":")[0] for problem in problems) == [
        "label-without-video", "same-name", "same-name", "video-without-label",
    ]  # fmt: skip
    told = "talk.srt: is about talk.mp4, as talk.eaf is, which is taken; their signs differ"
    assert any(told in problem for problem in problems)


def test_files_of_the_same_signs_are_a_note_and_those_of_others_a_problem(tmp_path: Path) -> None:
    write_video(tmp_path / "talk.mp4", 30)
    signs = [("ts1", "ts2", "a&lt;b"), ("ts3", "ts4", "어쩔 수 없다")]
    write(tmp_path / "talk.eaf", eaf(SLOTS, {"gloss": signs}))
    cues = "00:00:00,100 --> 00:00:00,300\na\uff1cb\n\n00:00:00,500 --> 00:00:00,900\n어쩔 수\n없다\n"
    write(tmp_path / "talk.srt", cues)
    arguments = ["--data-root", str(tmp_path), "--out", str(tmp_path / "a.zarr"), "--num-frames", "2", "--size", "32"]
    told = CliRunner().invoke(cli, ["build-cache", *arguments, "--workers", "1", "--strict"])
    assert told.exit_code == 0, (told.output, told.exception)
    assert "1 note in the data root:" in told.stdout and "problem" not in told.stdout
    assert "talk.srt: has the signs of talk.eaf, which is taken" in told.stdout
    scanned = CliRunner().invoke(cli, ["scan", "--data-root", str(tmp_path), "--strict", "--num-frames", "2"])
    assert scanned.exit_code == 0 and "[same-signs]" in scanned.output
    write(tmp_path / "talk.srt", cues.replace("500", "501"))
    _, [problem] = found(tmp_path)
    assert problem.startswith("same-name: ") and problem.endswith("; their signs differ")


def test_scan_names_an_annotation_by_its_number_in_its_file(tmp_path: Path) -> None:
    text = eaf({"a": 0, "b": 500, "c": 9000, "d": 9500}, {"g": [("a", "b", "X"), ("c", "d", "X")]})
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", 30)
        write(
            tmp_path / f"{name}.eaf",
            text,
        )
    assert [message.split(" runs")[0] for _, message in scan(tmp_path)["segment-outside"]] == ["segment 1"] * 2


def test_one_bad_file_costs_no_other(tmp_path: Path) -> None:
    for name, text in (("a", SIMPLE), ("b", "<nonsense"), ("c", eaf({"s": 5, "e": 2}, {"gloss": [("s", "e", "X")]}))):
        write_video(tmp_path / f"{name}.mp4", 30)
        write(tmp_path / f"{name}.eaf", text)
    write(tmp_path / "b.srt", SRT)
    segments, problems = found(tmp_path)
    assert {one.video for one in segments} == {"a.mp4"}
    assert [problem.split(":")[0] for problem in problems] == ["label-unreadable", "segment-inverted", "same-name"]
    assert problems[-1].endswith("b.srt: is about b.mp4, as b.eaf is, which comes first and is not read")


def test_a_root_that_holds_labels_of_aihub_is_read_as_before(data_root: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "root"
    shutil.copytree(data_root, root)
    write(root / "video" / "NIA_SL_WORD0001_REAL01_F.eaf", SIMPLE)
    assert found(root) == found(root, layout="aihub")


def test_tiers_are_of_elan_files_only(data_root: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="--tier is for --layout subtitles"):
        found(data_root, layout="aihub", tiers=frozenset({"gloss"}))
    with pytest.raises(AnnotationError, match=r"holds no .eaf, .vtt or .srt file"):
        found(data_root, tiers=frozenset({"gloss"}))
    with pytest.raises(AnnotationError, match="--preset says how it is read; leave --tier out"):
        found(data_root, tiers=frozenset({"gloss"}), preset="wlasl")
    with pytest.raises(AnnotationError, match="--tier is for folders with ELAN files, and this is a file"):
        found(write(tmp_path / "t.csv", "video,gloss\n"), tiers=frozenset({"gloss"}))


def test_empty_annotations_are_told_and_stop_no_strict_build(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 30)
    write(tmp_path / "a.eaf", eaf(SLOTS, {"gloss": [("ts1", "ts2", ""), ("ts3", "ts4", "BOOK")]}))
    arguments = ["--data-root", str(tmp_path), "--out", str(tmp_path / "a.zarr"), "--num-frames", "2", "--size", "32"]
    told = CliRunner().invoke(cli, ["build-cache", *arguments, "--workers", "1", "--strict"])
    assert told.exit_code == 0, (told.output, told.exception)
    assert "1 of 2 annotations are empty, and left out" in told.output
    scanned = CliRunner().invoke(cli, ["scan", "--data-root", str(tmp_path), "--strict", "--num-frames", "2"])
    assert scanned.exit_code == 0 and "[empty-annotations]" in scanned.output


def test_elan_files_become_a_cache_and_are_scanned(tmp_path: Path) -> None:
    root = tmp_path / "수어 data"
    for number in range(3):
        write_video(root / f"talk {number}.mp4", 30, first_number=number * 30)
        write(
            root / f"talk {number}.eaf",
            eaf(SLOTS, {"r": [("ts1", "ts2", "왼쪽"), ("ts3", "ts4", "위")], "l": [("ts1", "ts4", "x")]}),
        )
    arguments = ["--data-root", str(root), "--tier", "r", "--workers", "1"]
    told = CliRunner().invoke(
        cli, ["build-cache", *arguments, "--out", str(tmp_path / "a.zarr"), "--num-frames", "2", "--size", "32"]
    )
    assert told.exit_code == 0, (told.output, told.exception)
    index = open_cache(tmp_path / "a.zarr").index
    assert sorted(index["gloss"].to_pylist()) == ["왼쪽"] * 3 + ["위"] * 3
    told = CliRunner().invoke(cli, ["scan", *arguments, "--json"])
    assert told.exit_code == 0 and '"layout": "subtitles"' in told.stdout
