"""Keypoints of a data root: counted, paired with labels, and what is wrong with them named with its file."""

import json
import os
import shutil
import tracemalloc
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from signprep.pipeline.datasets.annotations import DatasetOptions
from signprep.pipeline.datasets.files.frame_files import frames_in_zip, open_frames
from tests.pipeline.scan.scanning import WORD1, WORD2, label, run, scan

PERSON = {"pose_keypoints_2d": [600.0, 400.0, 0.9] * 25}
NOBODY = {"pose_keypoints_2d": [0.0] * 75}


def write_frames(folder: Path, base: str, numbers: Iterable[int], people: Any = PERSON) -> str:
    """Write a clip's keypoints and return the name that a scan has for them."""
    folder = folder / base
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{base}_{number:012d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    return f"keypoint/{base}/{base}_*_keypoints.json"


@pytest.fixture
def with_keypoints(root: Path) -> Path:
    """The data set with keypoints of every video, as an object of one person or as a list."""
    for place, path in enumerate(sorted((root / "video").iterdir())):
        write_frames(root / "keypoint", path.stem, range(30), [PERSON] if place % 2 else PERSON)
    return root


def test_clean_keypoints_have_no_problems(with_keypoints: Path) -> None:
    assert scan(with_keypoints) == scan(with_keypoints, deep=True) == {}


def test_clips_with_and_without_keypoints_are_counted(with_keypoints: Path) -> None:
    shutil.rmtree(with_keypoints / "keypoint" / f"{WORD1}01_F")
    document = json.loads(run(with_keypoints, "--json").stdout)
    counts = document["counts"]
    assert (counts["keypoints"], counts["labels_with_keypoints"], counts["segments_with_keypoints"]) == (7, 7, 7)
    assert counts["probed_keypoints"] == 7 and counts["videos"] == 8
    assert [row["keypoints"] for row in document["tables"]["coverage"]] == [7]
    assert "Keypoints of 7 videos: 7 of 8 labels and 7 of 8 segments have them" in run(with_keypoints).stdout


def test_labels_and_keypoints_without_each_other(with_keypoints: Path) -> None:
    shutil.rmtree(with_keypoints / "keypoint" / f"{WORD1}01_F")
    for name in (f"label/{WORD2}01_F_morpheme.json", f"video/{WORD2}01_F.mp4"):
        (with_keypoints / name).unlink()
    found = scan(with_keypoints)
    assert found["label-without-keypoints"] == [
        (f"label/{WORD1}01_F_morpheme.json", f"there are no keypoints named {WORD1}01_F")
    ]
    [(path, message)] = found["keypoints-without-label"]
    assert path == f"keypoint/{WORD2}01_F/{WORD2}01_F_*_keypoints.json" and f"{WORD2}01_F_morpheme.json" in message


def test_a_data_set_without_keypoints_misses_none(root: Path) -> None:
    assert scan(root) == {}


def test_missing_frames_are_numbers_with_holes(with_keypoints: Path) -> None:
    folder = with_keypoints / "keypoint" / f"{WORD1}01_F"
    for number in (0, 11, 12, 20):
        (folder / f"{WORD1}01_F_{number:012d}_keypoints.json").unlink()
    [(path, message)] = scan(with_keypoints)["keypoints-missing-frames"]
    assert path == f"keypoint/{WORD1}01_F/{WORD1}01_F_*_keypoints.json"
    assert message == "frames 0, 11 to 12, 20 are missing: it has 26 of 30"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"\xff\xfe", b"{}", b"[]", b'{"people": 3}', b'{"people": [{"pose_keypoints_2d": [1, 2]}]}',
     b'{"people": {"pose_keypoints_2d": "x"}}', b'{"people": {"pose_keypoints_2d": [[1]]}}',
     b'{"people": [[1, 2]]}',
     b'{"people": {"face_keypoints_2d": [' + b"9" * 400 + b", 0, 0" * 70 + b"]}}",
     b'{"people": {"face_keypoints_2d": {"a": 1}}}'],
)  # fmt: skip
def test_frames_of_another_form(with_keypoints: Path, data: bytes) -> None:
    folder = with_keypoints / "keypoint" / f"{WORD1}01_F"
    (folder / f"{WORD1}01_F_{0:012d}_keypoints.json").write_bytes(data)
    found = scan(with_keypoints)
    assert list(found) == ["keypoints-unreadable"]
    [(path, message)] = found["keypoints-unreadable"]
    assert path == f"keypoint/{WORD1}01_F/{WORD1}01_F_*_keypoints.json"
    assert message.startswith("frame 0: ") and "1 of the 4 frames that were looked at" in message


@pytest.mark.parametrize("people", [NOBODY, [], [NOBODY], {}])
def test_frames_that_show_nobody(with_keypoints: Path, people: Any) -> None:
    write_frames(with_keypoints / "keypoint", f"{WORD1}01_F", [29], people)
    [(_, message)] = scan(with_keypoints)["keypoints-empty"]
    assert message == "frame 29 shows nobody; 1 of the 4 frames that were looked at are like that"
    write_frames(with_keypoints / "keypoint", f"{WORD1}01_F", [5, 29], people)
    [(_, message)] = scan(with_keypoints, deep=True)["keypoints-empty"]
    assert message == "frame 5 shows nobody; 2 of the 30 frames that were looked at are like that"


def test_label_times_behind_the_keypoints_are_named(with_keypoints: Path) -> None:
    for name in (f"{WORD1}01_F", f"{WORD1}01_L"):
        shutil.rmtree(with_keypoints / "keypoint" / name)
    write_frames(with_keypoints / "keypoint", f"{WORD1}01_F", range(15))
    write_frames(with_keypoints / "keypoint", f"{WORD1}01_L", range(6))
    label(with_keypoints, f"{WORD1}17_F", [(0.2, 1.02, "왼쪽")])  # rounded up
    found = scan(with_keypoints)
    assert found == {
        "segment-past-keypoints": [
            (
                f"label/{WORD1}01_F_morpheme.json",
                "segment 0 runs from 0.200 to 0.800 s, the keypoints end at 0.500 s",
            )
        ],
        "segment-outside-keypoints": [
            (
                f"label/{WORD1}01_L_morpheme.json",
                "segment 0 runs from 0.200 to 0.800 s, the keypoints end at 0.200 s",
            )
        ],
    }


def test_a_root_of_keypoints_alone_is_compared_as_one_of_videos_is(with_keypoints: Path) -> None:
    shutil.rmtree(with_keypoints / "video")
    assert scan(with_keypoints) == {}
    shutil.rmtree(with_keypoints / "keypoint" / f"{WORD1}01_F")
    shutil.rmtree(with_keypoints / "keypoint" / f"{WORD1}17_F")
    shutil.rmtree(with_keypoints / "keypoint" / f"{WORD1}17_L")
    found = scan(with_keypoints)
    assert set(found) == {"label-without-keypoints", "missing-views", "missing-words"}
    text = run(with_keypoints).stdout
    assert "0 videos" in text and "build-cache --landmarks aihub" in text
    document = json.loads(run(with_keypoints, "--json").stdout)
    [coverage] = document["tables"]["coverage"]
    assert (coverage["videos"], coverage["keypoints"], coverage["signers"]) == (0, 5, 2)


def test_filters_choose_keypoints_too(with_keypoints: Path) -> None:
    write_frames(with_keypoints / "keypoint", f"{WORD1}01_L", [0], [])
    assert scan(with_keypoints, source=DatasetOptions(views=frozenset("F"))) == {}
    assert set(scan(with_keypoints, source=DatasetOptions(glosses=frozenset({"왼쪽"})))) == {"keypoints-empty"}
    assert scan(with_keypoints, source=DatasetOptions(glosses=frozenset({"오른쪽"}))) == {}


def test_none_and_a_sample_open_less(with_keypoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_frames(with_keypoints / "keypoint", f"{WORD1}01_L", [0], [])
    assert scan(with_keypoints, probe="none") == {}
    monkeypatch.setattr("signprep.pipeline.scan.landmarks.SAMPLED_VIDEOS", 2)
    text = run(with_keypoints, "--probe", "sample").stdout
    assert "; 2 were opened (--probe sample)" in text


def test_keypoints_in_a_zip_and_in_a_folder_are_one(with_keypoints: Path) -> None:
    folder = with_keypoints / "keypoint" / f"{WORD1}01_F"
    with zipfile.ZipFile(with_keypoints / "01_real_word_keypoint.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir())[:20]:
            archive.write(path, f"01/{folder.name}/{path.name}")
    [(path, message)] = scan(with_keypoints)["same-name"]
    assert path.startswith("keypoint/") and "01_real_word_keypoint.zip!/01/" in message
    shutil.rmtree(folder)
    assert list(scan(with_keypoints)) == ["segment-past-keypoints"]


def test_keypoints_in_a_zip_with_other_files_are_found(with_keypoints: Path) -> None:
    with zipfile.ZipFile(with_keypoints / "all.zip", "w") as archive:
        for part in ("keypoint", "label", "video"):
            for path in sorted((with_keypoints / part).rglob("*.*")):
                archive.write(path, path.relative_to(with_keypoints))
            shutil.rmtree(with_keypoints / part)
        archive.writestr("__MACOSX/keypoint/._x_000000000000_keypoints.json", "")
        archive.writestr("keypoint/readme.txt", "")
    assert scan(with_keypoints) == {}
    counts = json.loads(run(with_keypoints, "--json").stdout)["counts"]
    assert (counts["videos"], counts["labels_with_keypoints"], counts["keypoints"]) == (8, 8, 8)


def test_a_zip_of_very_many_frames_is_listed_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for clip in range(100):
            for number in range(300):
                info = zipfile.ZipInfo(f"01/{WORD1}01_F{clip}/{WORD1}01_F{clip}_{number:012d}_keypoints.json")
                archive.writestr(info, b"{}")
    tracemalloc.start()
    try:
        assert len(frames_in_zip(path)[0]) == 100
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000  # some numbers for each of 30,000 files would be more than a million
    files = open_frames(path, f"01/{WORD1}01_F7/{WORD1}01_F7_*_keypoints.json")
    assert list(files.frames.numbers) == list(range(300)) and files.read(299) == b"{}"


def test_a_folder_of_many_clips_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{clip}_{number:012d}_keypoints.json" for number in range(3) for clip in "abc"]
    for name in names:
        (tmp_path / name).write_text(name[0])
    os.utime(tmp_path, (1, 1))
    listings = []
    scandir = os.scandir
    monkeypatch.setattr("os.scandir", lambda folder: [*map(listings.append, [folder]), scandir(folder)][-1])
    for clip in "abc":
        files = open_frames(tmp_path / f"{clip}_*_keypoints.json", None)
        assert [files.read(place) for place in range(3)] == [clip.encode()] * 3
    assert listings == [tmp_path]
    (tmp_path / names[0]).unlink()  # the folder has another time now
    assert list(open_frames(tmp_path / "a_*_keypoints.json", None).frames.numbers) == [1, 2]


def test_frames_of_clips_that_lie_mixed_in_a_zip_are_found(tmp_path: Path) -> None:
    path = tmp_path / "mixed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in (3, 1, 2, 0):
            for clip in "ab":
                archive.writestr(f"{clip}_{number:012d}_keypoints.json", f"{clip}{number}")
    assert frames_in_zip(path) == ({"a": 8, "b": 8}, False)
    files = open_frames(path, "b_*_keypoints.json")
    assert [files.read(place) for place in range(4)] == [b"b0", b"b1", b"b2", b"b3"]
