import re
import xml.etree.ElementTree as ET
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.timeline.subtitles import _elan, _subrip, _webvtt, one_line, write_subtitles
from signprep.pipeline.errors import SignprepError

Cue = tuple[int, int, str]
"""Start and end in milliseconds, and the text."""


def segment(start: float, end: float, gloss: str) -> TimelineSegment:
    return TimelineSegment(start_seconds=start, end_seconds=end, label=0, gloss=gloss, confidence=0.9)


SIGNS = [segment(0.5, 1.2504, "왼쪽"), segment(1.2504, 3599.9996, "병원 <b>&amp;"), segment(3725.0, 3726.25, "위")]


def milliseconds(clock: str) -> int:
    hours, minutes, seconds = re.split(":", clock.replace(",", "."))
    assert len(minutes) == 2 and int(minutes) < 60 and re.fullmatch(r"[0-5]\d\.\d{3}", seconds)
    return (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * 1000)


def parse_srt(text: str) -> list[Cue]:
    cues = []
    for number, block in enumerate(text.strip("\n").split("\n\n") if text else [], start=1):
        index, times, body = block.split("\n")
        assert int(index) == number
        start, end = re.fullmatch(r"(\d\d+:\d\d:\d\d,\d{3}) --> (\d\d+:\d\d:\d\d,\d{3})", times).groups()
        assert not re.search(r"[<>{}]", body)
        cues.append((milliseconds(start), milliseconds(end), body))
    return cues


def parse_vtt(text: str) -> list[Cue]:
    header, *blocks = text.strip("\n").split("\n\n")
    assert header == "WEBVTT"
    cues = []
    for block in blocks:
        times, body = block.split("\n")
        start, end = re.fullmatch(r"(\d\d+:\d\d:\d\d\.\d{3}) --> (\d\d+:\d\d:\d\d\.\d{3})", times).groups()
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", body)
        body = body.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        cues.append((milliseconds(start), milliseconds(end), body))
    return cues


def parse_eaf(text: str) -> list[Cue]:
    root = ET.fromstring(text.encode("utf-8"))
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")}
    return [
        (
            slots[annotation.get("TIME_SLOT_REF1")],
            slots[annotation.get("TIME_SLOT_REF2")],
            annotation.findtext("ANNOTATION_VALUE"),
        )
        for annotation in root.iter("ALIGNABLE_ANNOTATION")
    ]


@pytest.mark.parametrize(
    ("ending", "parse", "odd_text"),
    [
        (".srt", parse_srt, "병원 ＜b＞&amp;"),
        (".vtt", parse_vtt, "병원 <b>&amp;"),
        (".EAF", parse_eaf, "병원 <b>&amp;"),
    ],
)
def test_files_tell_the_same_signs(ending: str, parse, odd_text: str, tmp_path: Path) -> None:
    path = tmp_path / f"자막{ending}"
    write_subtitles(path, SIGNS, "영상.mp4")
    content = path.read_bytes()
    assert b"\r" not in content and not content.startswith(b"\xef\xbb\xbf")
    assert parse(content.decode("utf-8")) == [
        (500, 1250, "왼쪽"),
        (1250, 3_600_000, odd_text),
        (3_725_000, 3_726_250, "위"),
    ]
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_no_signs_give_valid_files(tmp_path: Path) -> None:
    for ending, parse in ((".srt", parse_srt), (".vtt", parse_vtt), (".eaf", parse_eaf)):
        write_subtitles(tmp_path / f"a{ending}", [], "a.mp4")
        assert parse((tmp_path / f"a{ending}").read_text(encoding="utf-8")) == []


@given(
    glosses=st.lists(st.text(st.characters(codec=None), max_size=20) | st.sampled_from(["", "a\n\nb", "-->", "<i>"]))
)
def test_no_gloss_breaks_a_file(glosses: list[str]) -> None:
    signs = [segment(number, number + 1, gloss) for number, gloss in enumerate(glosses)]
    times = [(1000 * number, 1000 * number + 1000) for number in range(len(glosses))]
    path = Path("a.eaf")
    for parsed in (
        parse_srt(_subrip(signs, "a.mp4", path)),
        parse_vtt(_webvtt(signs, "a.mp4", path)),
        parse_eaf(_elan(signs, "a.mp4", path)),
    ):
        assert [cue[:2] for cue in parsed] == times
        assert all(cue[2].strip() for cue in parsed)
    assert [cue[2] for cue in parsed] == [one_line(gloss) for gloss in glosses]


@given(
    video=st.text(st.characters(codec=None), max_size=30) | st.sampled_from(["]]>", "a&b<.mp4", "\x1b\ud800\uffff", ""])
)
def test_no_name_of_a_video_breaks_an_elan_document(video: str) -> None:
    media = ET.fromstring(_elan(SIGNS, video, Path("a.eaf")).encode("utf-8")).find("HEADER/MEDIA_DESCRIPTOR")
    assert media.get("MEDIA_URL").startswith("file:///") and media.get("RELATIVE_MEDIA_URL").startswith(("./", "../"))


def test_no_sign_is_of_no_time() -> None:
    sign = [segment(1.0001, 1.0002, "위")]
    assert parse_srt(_subrip(sign, "a", Path("a"))) == parse_vtt(_webvtt(sign, "a", Path("a"))) == [(1000, 1001, "위")]
    assert parse_eaf(_elan(sign, "a", Path("a"))) == [(1000, 1001, "위")]


def test_a_subrip_arrow_in_a_gloss_is_no_time(tmp_path: Path) -> None:
    write_subtitles(tmp_path / "a.srt", [segment(0, 1, "x\n\n2\n00:00:01,000 --> 00:00:09,000\ny")], "a.mp4")
    [cue] = parse_srt((tmp_path / "a.srt").read_text(encoding="utf-8"))
    assert cue == (0, 1000, "x 2 00:00:01,000 --＞ 00:00:09,000 y")


def test_an_elan_document_is_as_its_schema_asks(tmp_path: Path) -> None:
    (tmp_path / "수어").mkdir()
    video = tmp_path / "수어" / 'a  "1"&#.mp4'
    write_subtitles(tmp_path / "a.eaf", SIGNS, str(video))
    root = ET.parse(tmp_path / "a.eaf").getroot()
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {name: root.get(name) for name in ("FORMAT", "VERSION", "AUTHOR")} == {
        "FORMAT": "3.0",
        "VERSION": "3.0",
        "AUTHOR": "signprep",
    }
    assert datetime.fromisoformat(root.get("DATE")).tzinfo is not None
    # The order is the schema's sequence.
    assert [child.tag for child in root] == [
        *("HEADER", "TIME_ORDER", "TIER", "TIER", "LINGUISTIC_TYPE", "LINGUISTIC_TYPE", "CONSTRAINT")
    ]
    assert root.find("HEADER").get("TIME_UNITS") == "milliseconds"
    assert root.find("HEADER/MEDIA_DESCRIPTOR").attrib == {
        "MEDIA_URL": f"file://{video.as_posix()}",
        "MIME_TYPE": "video/mp4",
        "RELATIVE_MEDIA_URL": './수어/a  "1"&#.mp4',
    }
    types = [tier.get("LINGUISTIC_TYPE_REF") for tier in root.iter("TIER")]
    assert types == [found.get("LINGUISTIC_TYPE_ID") for found in root.iter("LINGUISTIC_TYPE")]
    ids = [element.get(name) for element in root.iter() for name in ("TIME_SLOT_ID", "ANNOTATION_ID")]
    known = [found for found in ids if found]
    assert len(set(known)) == len(known) == 4 * len(SIGNS)
    values = [int(slot.get("TIME_VALUE")) for slot in root.iter("TIME_SLOT")]
    assert values == sorted(values)


def test_each_gloss_in_elan_has_its_confidence_which_goes_where_it_goes() -> None:
    root = ET.fromstring(_elan(SIGNS, "영상.mp4", Path("a.eaf")).encode("utf-8"))
    gloss, confidence = root.iter("TIER")
    assert gloss.get("TIER_ID") == confidence.get("PARENT_REF") == "gloss" and gloss.get("PARENT_REF") is None
    assert confidence.get("TIER_ID") == "confidence"
    aligned = [annotation.get("ANNOTATION_ID") for annotation in gloss.iter("ALIGNABLE_ANNOTATION")]
    assert aligned == [annotation.get("ANNOTATION_REF") for annotation in confidence.iter("REF_ANNOTATION")]
    assert [value.text for value in confidence.iter("ANNOTATION_VALUE")] == ["0.90"] * len(SIGNS)
    kind = next(found for found in root.iter("LINGUISTIC_TYPE") if found.get("LINGUISTIC_TYPE_ID") == "confidence")
    assert kind.get("CONSTRAINTS") == root.find("CONSTRAINT").get("STEREOTYPE") == "Symbolic_Association"
    assert kind.get("TIME_ALIGNABLE") == "false"


@pytest.mark.parametrize("name", ["a.txt", "a", "srt"])
def test_another_ending_is_an_error_that_names_the_three(name: str, tmp_path: Path) -> None:
    with pytest.raises(SignprepError, match=r"\.srt .*\.vtt .*\.eaf "):
        write_subtitles(tmp_path / name, SIGNS, "a.mp4")
    assert not list(tmp_path.iterdir())
