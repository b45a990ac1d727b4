"""Each kind of problem, provoked by a tiny data set and found with its file; and a clean one in which nothing is."""

import itertools
import json
import shutil
import unicodedata
import zipfile
from pathlib import Path

import pytest

from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.splits import split_of_path
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.options import ScanOptions
from signprep.pipeline.scan.run import scanned
from tests.generated_videos import write_video
from tests.pipeline.scan.scanning import WORD1, WORD2, label, run, scan


@pytest.mark.parametrize("deep", [False, True])
def test_a_clean_data_set_has_no_problems(clean_root: Path, deep: bool) -> None:
    assert scan(clean_root, deep=deep) == {}


def test_labels_and_videos_without_each_other(root: Path) -> None:
    (root / "video" / f"{WORD1}01_F.mp4").unlink()
    (root / "label" / f"{WORD2}01_F_morpheme.json").unlink()
    found = scan(root)
    assert [path for path, _ in found["label-without-video"]] == [f"label/{WORD1}01_F_morpheme.json"]
    assert [path for path, _ in found["video-without-label"]] == [f"video/{WORD2}01_F.mp4"]
    assert found["missing-views"] == [(f"video/{WORD1}01_L.mp4", "take REAL01_WORD0001 has no view F")]


def test_a_label_is_paired_by_the_name_in_its_metadata(root: Path) -> None:
    old = root / "label" / f"{WORD1}01_F_morpheme.json"
    old.rename(root / "label" / "0001_morpheme.json")
    assert scan(root) == {}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "label-unreadable"),
        (b"{", "label-unreadable"),
        ("{}".encode("utf-16"), "label-unreadable"),
        (b'{"data": [{"start": 0}]}', "label-unreadable"),
        (b'{"metaData": {}, "data": []}', "label-empty"),
    ],
)
def test_labels_that_hold_nothing(root: Path, data: bytes, kind: str) -> None:
    name = f"label/{WORD1}01_F_morpheme.json"
    (root / name).write_bytes(data)
    found = scan(root)
    assert {kind: [path for path, _ in problems] for kind, problems in found.items()} == {kind: [name]}


@pytest.mark.parametrize(
    ("segments", "kind", "message"),
    [
        ([(0.8, 0.2, "왼쪽")], "segment-inverted", "from 0.800 to 0.200 s"),
        ([(-0.1, 0.8, "왼쪽")], "segment-inverted", "from -0.100"),
        ([(0.4, 0.4, "왼쪽")], "segment-empty", "segment 0"),
        ([(1.5, 2.2, "왼쪽")], "segment-outside", "the video lasts 1.000 s"),
        ([(0.2, 1.4, "왼쪽")], "segment-past-end", "to 1.400 s"),
        ([(0.0, 0.6, "왼쪽"), (0.4, 1.0, "위")], "segment-overlap", "segment 1 starts at 0.400 s"),
        ([(0.2, 0.5, "왼쪽")], "too-few-frames", "has 9 frames for clips of 16"),
    ],
)
def test_spans_that_cannot_be_right(
    root: Path, segments: list[tuple[float, float, str]], kind: str, message: str
) -> None:
    path = label(root, f"{WORD1}01_F", segments)
    found = scan(root)
    assert list(found) == [kind]
    assert found[kind][0][0] == path and message in found[kind][0][1]


def test_a_label_that_states_another_duration(root: Path) -> None:
    path = label(root, f"{WORD1}01_F", [(0.2, 0.8, "왼쪽")], duration=3.884)
    label(root, f"{WORD1}01_L", [(0.2, 0.8, "왼쪽")], duration=2)  # whole seconds are rounded ones
    assert scan(root) == {"duration-mismatch": [(path, "states 3.884 s, the video lasts 1.000 s")]}


def test_videos_that_are_cut_off_or_no_videos(root: Path) -> None:
    cut, no_index, empty, text = (root / "video" / f"{WORD1}{rest}.mp4" for rest in ("01_F", "01_L", "17_F", "17_L"))
    write_video(cut, 30, first_number=900, container_options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[:-300])
    no_index.write_bytes(no_index.read_bytes()[:1500])
    empty.write_bytes(b"")
    text.write_bytes(b"<html>404</html>" * 20)
    found = scan(root)
    assert [path for path, _ in found["video-truncated"]] == [f"video/{cut.name}", f"video/{no_index.name}"]
    assert "frames lie behind its end" in found["video-truncated"][0][1]
    assert "no index (moov)" in found["video-truncated"][1][1]
    assert [path for path, _ in found["video-unreadable"]] == [f"video/{empty.name}", f"video/{text.name}"]


def test_a_cut_matroska_file_is_found_without_decoding(root: Path) -> None:
    video = write_video(root / "video" / f"{WORD1}01_F.mkv", 30, first_number=900)
    video.write_bytes(video.read_bytes()[:-300])
    (root / "video" / f"{WORD1}01_F.mp4").unlink()
    assert [path for path, _ in scan(root)["video-truncated"]] == [f"video/{video.name}"]


def test_only_deep_finds_damaged_pictures(root: Path) -> None:
    video = root / "video" / f"{WORD1}01_F.mp4"
    data = bytearray(video.read_bytes())
    middle = data.index(b"mdat") + 1200
    data[middle : middle + 200] = bytes(200)
    video.write_bytes(data)
    assert "video-damaged" not in scan(root)
    [(path, message)] = scan(root, deep=True)["video-damaged"]
    assert path == f"video/{video.name}"
    assert " s" in message and not message.startswith("video/")


def test_twins_are_found_by_content_and_audited_across_splits(root: Path) -> None:
    shutil.copy(root / "video" / f"{WORD1}01_F.mp4", root / "video" / f"{WORD1}17_F.mp4")
    found = scan(root)
    assert found["duplicate-video"] == [(f"video/{WORD1}17_F.mp4", f"has the content of video/{WORD1}01_F.mp4")]
    [(path, message)] = found["leak-content"]
    assert path.startswith(f"video/{WORD1}") and "train 1, val 1" in message
    assert message.endswith("; --duplicates drop leaves out 1, together brings 1 to val")


def test_large_twins_are_told_from_files_with_the_same_head(root: Path) -> None:
    first, *others = sorted((root / "video").glob("*.mp4"))[:3]
    padded = first.read_bytes() + (2**17).to_bytes(4) + b"free"
    for path, last in ((first, b"a"), (others[0], b"a"), (others[1], b"b")):
        path.write_bytes(padded + bytes(2**17 - 9) + last)
    assert [path for path, _ in scan(root)["duplicate-video"]] == [f"video/{others[0].name}"]


def test_folders_that_split_a_take_and_a_signer(root: Path) -> None:
    for name in [*(root / "video").iterdir(), *(root / "label").iterdir()]:
        side = "2.Validation" if f"{WORD1}01_L" in name.name or "REAL17" in name.name else "1.Training"
        target = root / side / "라벨링데이터" / name.name
        target.parent.mkdir(parents=True, exist_ok=True)
        name.rename(target)
    found = scan(root)
    path = f"2.Validation/라벨링데이터/{WORD1}01_L.mp4"
    assert {kind: [path for path, _ in problems] for kind, problems in found.items()} == {
        "leak-take": [f"1.Training/라벨링데이터/{WORD1}01_F.mp4"],
        "leak-signer": [path],
    }
    assert "signer REAL01 has segments in several splits: train 3, val 1" in found["leak-signer"][0][1]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train/a.mp4", "train"),
        ("[라벨]Valid_01.zip!/a.mp4", "val"),
        ("strain/test.mp4", None),
        ("dev/a", "val"),
        ("my_testing/a", "test"),
        ("device/a", None),
    ],
)
def test_the_split_of_a_path(path: str, split: str | None) -> None:
    assert split_of_path(path) == split


def test_glosses_that_are_spelt_in_two_ways(root: Path) -> None:
    first = label(root, f"{WORD1}01_F", [(0.2, 0.8, "왼 쪽")])
    second = label(root, f"{WORD1}01_L", [(0.2, 0.8, unicodedata.normalize("NFD", "왼쪽"))])
    third = label(root, f"{WORD1}17_F", [(0.2, 0.8, " 왼쪽")])
    found = scan(root)
    assert found["gloss-spelling"] == [(first, 'segment 0: "왼 쪽" (1 in all), elsewhere "왼쪽" (3)')]
    assert [path for path, _ in found["gloss-form"]] == [second, third]


def test_homonyms_and_several_glosses_are_notes(root: Path) -> None:
    for view in "FL":
        for signer in ("01", "17"):
            label(root, f"{WORD2}{signer}_{view}", [(0.2, 0.8, "왼쪽")])
    path = root / "label" / f"{WORD1}01_F_morpheme.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["data"][0]["attributes"].append({"name": "위"})
    path.write_text(json.dumps(document), encoding="utf-8")
    found = scan(root)
    assert [message for _, message in found["homonym"]] == ["왼쪽 has 2 ids: WORD0001, WORD0002"]
    assert [path for path, _ in found["several-attributes"]] == [f"label/{path.name}"]
    assert run(root, "--strict").exit_code == 0
    assert "homonym" not in scan(root, source=DatasetOptions(class_by="item"))


def test_signers_with_missing_words(root: Path) -> None:
    for path in [*root.glob(f"*/{WORD2}17_*")]:
        path.unlink()
    told = "is the first video of signer REAL17, who has none of WORD0002"
    assert scan(root)["missing-words"] == [(f"video/{WORD1}17_F.mp4", told)]


def test_variable_rates_turns_and_edit_lists_are_notes(root: Path) -> None:
    times = [number / 30 + (0.2 if number > 10 else 0) for number in range(24)]
    write_video(root / "video" / f"{WORD1}01_F.mp4", 24, timestamps=times, first_number=900)
    write_video(root / "video" / f"{WORD1}01_L.mp4", 30, display_degrees=90, first_number=930)
    write_video(
        root / "video" / f"{WORD1}17_F.mp4",
        30,
        timestamps=[0.5 + number / 30 for number in range(30)],
        first_number=960,
    )
    for deep in (False, True):
        found = scan(root, deep=deep)
        assert [path for path, _ in found["variable-rate"]] == [f"video/{WORD1}01_F.mp4"]
        assert [path for path, _ in found["rotation"]] == [f"video/{WORD1}01_L.mp4"]
        assert [path for path, _ in found["edit-list"]] == [f"video/{WORD1}17_F.mp4"]


def test_the_same_name_twice_unknown_names_and_leftovers(root: Path) -> None:
    again = root / "zopy" / f"{WORD1}01_F.mp4"
    write_video(again, 30, first_number=900)
    (root / "원천.zip.part0").write_bytes(b"PK")
    for name in ("라벨.tar.gz", "라벨.7z.001", "원천.tgz.part0", "원천.z01"):
        (root / name).write_bytes(b"")
    write_video(root / "video" / "me.mp4", 30, first_number=930)
    label(root, "me", [(0.2, 0.8, "왼쪽")])
    found = scan(root)
    assert found["same-name"] == [
        (f"zopy/{again.name}", f"has the base name of video/{again.name}, which is taken"),
    ]
    assert [path for path, _ in found["partial-download"]] == ["원천.zip.part0"]
    told = "is an archive that is not looked into; unpack it"
    unread = ["라벨.7z.001", "라벨.tar.gz", "원천.tgz.part0", "원천.z01"]
    assert found["unread-archive"] == [(name, told) for name in unread]
    assert [path for path, _ in found["unknown-name"]] == ["video/me.mp4"]


def test_links_to_folders_are_followed(clean_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "linked"
    root.mkdir()
    for folder in ("video", "label"):
        (root / folder).symlink_to(clean_root / folder)
    (root / "loop").symlink_to(tmp_path)
    assert scan(root) == {}
    (root / "video").unlink()
    (root / "video").symlink_to(tmp_path / "not mounted")
    found = scan(root)
    assert [path for path, _ in found["unreadable"]] == ["video"] and len(found["label-without-video"]) == 8


def test_videos_of_cameras_are_read_and_archives_in_archives_named(root: Path) -> None:
    video = root / "video" / f"{WORD1}01_F.mp4"
    write_video(video.with_suffix(".MTS"), 30, first_number=900, container_format="mpegts")
    video.unlink()
    with zipfile.ZipFile(root / "more.zip", "w") as archive:
        archive.writestr("01/원천.zip", b"PK")
    found = scan(root)
    assert sorted(found) == ["edit-list", "unread-archive"]  # transport streams begin late
    assert [path for path, _ in found["unread-archive"]] == ["more.zip!/01/원천.zip"]
    shutil.copy(root / "video" / f"{WORD1}01_L.mp4", video)
    twins = scan(root)["same-name"]
    assert twins == [(f"video/{WORD1}01_F.MTS", f"has the base name of video/{WORD1}01_F.mp4, which is taken")]


def test_class_folders_name_archives_too(root: Path) -> None:
    (root / "video").rename(root / "왼쪽")
    (root / "왼쪽" / "more.tar.gz").write_bytes(b"")
    found = scan(root, source=DatasetOptions(layout="classes"))
    assert [path for path, _ in found["unread-archive"]] == ["왼쪽/more.tar.gz"]


def test_zips_are_read_in_place_and_broken_ones_named(clean_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "zips"
    root.mkdir()
    for folder in ("video", "label"):
        with zipfile.ZipFile(root / f"{folder}.zip", "w") as archive:
            for path in (clean_root / folder).iterdir():
                # As Korean Windows writes names: cp949 without the UTF-8 flag.
                info = zipfile.ZipInfo(f"수어/{path.name}".encode("cp949").decode("cp437"))
                archive.writestr(info, path.read_bytes())
    assert scan(root, deep=True) == {}
    with zipfile.ZipFile(root / "label2.zip", "w") as archive:
        archive.writestr("수어/x_morpheme.json", "{")
    (root / "라벨.zip").write_bytes(b"PK\x03\x04 cut off")
    found = scan(root)
    assert [path for path, _ in found["label-unreadable"]] == ["label2.zip!/수어/x_morpheme.json"]
    assert [path for path, _ in found["unreadable"]] == ["라벨.zip"]


def test_a_table_and_its_own_splits(clean_root: Path, root: Path) -> None:
    rows = ["video,start,end,gloss,signer,split"]
    rows += [f"video/{WORD1}01_F.mp4,0.2,0.8,왼쪽,a,train", f"video/{WORD1}01_L.mp4,0.2,1.9,왼쪽,a,val"]
    rows += [f"video/{WORD1}17_L.mp4,,,왼쪽,b,val", f"video/{WORD1}17_F.mp4,2,1,왼쪽,b,val"]
    (root / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    found = scan(root / "table.csv")
    assert {kind: [path for path, _ in problems] for kind, problems in found.items()} == {
        "leak-signer": [f"video/{WORD1}01_F.mp4"],
        "row-unusable": ["table.csv"],
        "segment-past-end": [f"video/{WORD1}01_L.mp4"],
    }


def test_class_folders(root: Path) -> None:
    (root / "video").rename(root / "왼쪽")
    (root / "왼쪽" / f"{WORD1}01_F.mp4").write_bytes(b"")
    found = scan(root, source=DatasetOptions(layout="classes"))
    assert [path for path, _ in found["video-unreadable"]] == [f"왼쪽/{WORD1}01_F.mp4"]


def test_filters_by_name_and_by_gloss(root: Path) -> None:
    (root / "video" / f"{WORD1}01_F.mp4").write_bytes(b"")
    assert "video-unreadable" in scan(root, source=DatasetOptions(views=frozenset("F")))
    assert scan(root, source=DatasetOptions(views=frozenset("L"))) == {}
    assert scan(root, source=DatasetOptions(glosses=frozenset(["오른쪽"]))) == {}


def test_without_opening_videos_labels_are_still_checked(root: Path) -> None:
    path = label(root, f"{WORD1}01_F", [(1.5, 1.9, "왼쪽")], duration=1.0)
    (root / "video" / f"{WORD1}17_F.mp4").write_bytes(b"x")
    found = scan(root, probe="none")
    assert list(found) == ["segment-outside"] and found["segment-outside"][0][0] == path
    assert "the label states 1.000 s" in found["segment-outside"][0][1]


def test_processes_find_what_one_process_finds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signprep.pipeline.scan.run.VIDEOS_A_CHUNK", 3)
    (root / "video" / f"{WORD1}17_F.mp4").write_bytes(b"x")
    with scanned(root, DatasetOptions(), ScanOptions(workers=2)) as found:
        assert found.database.value("SELECT COUNT(*) FROM videos WHERE probed") == 8
        assert found.num_failing == 1


def test_times_that_were_copied_from_another_signer_are_found(tmp_path: Path) -> None:
    for signer, item, view in itertools.product((1, 2, 3, 4), range(4), "FL"):
        name = f"NIA_SL_WORD{item:04}_REAL{signer:02}_{view}"
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
        start = 0.5 + item / 7 if signer in (1, 3) and item else 0.2 + signer / 9 + item / 7
        label(tmp_path, name, [(start, start + 0.25, "위")])
    sentences = {5: [(0.1, 0.2), (0.4, 0.6), (0.7, 0.8)], 6: [(0.1, 0.2), (0.4, 0.61), (0.7, 0.8)]}
    for signer, times in (sentences | {7: sentences[5]}).items():
        name = f"NIA_SL_SEN0001_REAL{signer:02}_F"
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
        label(tmp_path, name, [(start, end, "위") for start, end in times])
    found = scan(tmp_path, probe="none")["times-of-another-signer"]
    assert found == [
        (
            "label/NIA_SL_SEN0001_REAL07_F_morpheme.json",
            "is the first label of signer REAL07, who has the times of signer REAL05 in 1 of the 1 items of both",
        ),
        (
            "label/NIA_SL_WORD0000_REAL03_F_morpheme.json",
            "is the first label of signer REAL03, who has the times of signer REAL01 in 3 of the 4 items of both",
        ),
    ]


def test_signers_with_labels_and_no_video_are_named(root: Path) -> None:
    for item, view in itertools.product((1, 2), "FL"):
        label(root, f"NIA_SL_WORD{item:04}_REAL05_{view}", [(0.1, 0.4, "위")])
    found = scan(root)
    assert found["missing-signers"] == [
        (
            "label/NIA_SL_WORD0001_REAL05_F_morpheme.json",
            "is the first of 4 labels of signer REAL05, of whom there is no video",
        )
    ]
    assert len(found["label-without-video"]) == 4


@pytest.mark.parametrize("chosen", [{"views": "Z"}, {"glosses": "없는 말"}, {"kinds": "SEN"}])
def test_filters_that_leave_nothing_are_told_as_by_a_build(root: Path, chosen: dict[str, str]) -> None:
    source = DatasetOptions(**{name: frozenset([value]) for name, value in chosen.items()})  # type: ignore[arg-type]
    with pytest.raises(AnnotationError) as of_build:
        read_data_root(root, source)
    with pytest.raises(AnnotationError) as of_scan:
        scan(root, source=source)
    assert str(of_scan.value) == str(of_build.value)
    told = run(root, "--view", "Z")
    assert told.exit_code == 1 and "--view asks for Z, and there is F, L" in str(told.exception)
