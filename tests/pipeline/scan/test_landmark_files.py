"""Landmark files of a data root: counted, paired with labels, tables and folders, and what is wrong with them named."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from signprep.pipeline.datasets.annotations import DatasetOptions
from tests.landmark_files import MEDIAPIPE, pose_bytes, write_parquet
from tests.pipeline.scan.scanning import WORD1, WORD2, label, run, scan

Found = dict[str, list[tuple[str, str]]]
FILES = DatasetOptions(landmarks="files")


def points(num_frames: int = 30) -> NDArray[np.float32]:
    """Return frames in which everything is seen."""
    out = np.full((num_frames, 75, 3), 0.9, np.float32)
    out[..., 0] = np.linspace(0.2, 0.8, 75)
    out[..., 1] = np.linspace(0.3, 0.6, num_frames)[:, None]
    return out


def write_npz(path: Path, landmarks: NDArray[Any], **others: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, landmarks=landmarks, **({"fps": 30} | others))


def pose(fps: float = 30, num_frames: int = 30, scale: float = 100) -> bytes:
    """Return a .pose file whose points lie at `scale` pixels of 200."""
    num_points = sum(map(len, MEDIAPIPE.values()))
    placed = np.full((num_frames, 1, num_points, 3), scale)
    confidence = np.ones((num_frames, 1, num_points))
    return pose_bytes(MEDIAPIPE, placed, confidence, size=(200, 200), fps=fps)


@pytest.fixture
def with_files(root: Path) -> Path:
    """The data set with a landmark file for every video, of the three forms."""
    for place, path in enumerate(sorted((root / "video").iterdir())):
        out = root / "점" / path.stem
        out.parent.mkdir(exist_ok=True)
        if place % 3 == 0:
            write_npz(out.with_suffix(".npz"), points(), size=(1920, 1080))
        elif place % 3 == 1:
            out.with_suffix(".pose").write_bytes(pose())
        else:
            rows = [list(map(float, frame.ravel())) for frame in points()]
            write_parquet(out.with_suffix(".parquet"), {"frame": range(30), "landmarks": rows}, {"fps": 30})
    return root


def found(root: Path, **options: Any) -> Found:
    return scan(root, source=FILES, **options)


def test_clean_files_have_no_problems_and_are_counted(with_files: Path) -> None:
    assert found(with_files) == found(with_files, deep=True) == {}
    (with_files / "점" / f"{WORD1}01_F.npz").unlink()
    document = json.loads(run(with_files, "--landmarks", "files", "--json").stdout)
    names = ("landmark_files", "probed_landmark_files", "labels_with_landmark_files", "segments_with_landmark_files")
    assert [document["counts"][name] for name in names] == [7] * 4 and document["counts"]["videos"] == 8
    assert [row["landmark_files"] for row in document["tables"]["coverage"]] == [7]
    assert "keypoints" not in document["counts"]
    text = run(with_files, "--landmarks", "files").stdout
    assert "Landmark files of 7 videos: 7 of 8 labels and 7 of 8 segments have them" in text


def test_files_are_passed_over_without_the_option(with_files: Path) -> None:
    (with_files / "점" / f"{WORD1}01_F.npz").write_bytes(b"damaged")
    assert scan(with_files) == {}
    assert not [name for name in json.loads(run(with_files, "--json").stdout)["counts"] if "landmark" in name]


def test_labels_and_files_without_each_other(with_files: Path) -> None:
    (with_files / "점" / f"{WORD1}01_F.npz").unlink()
    for name in (f"label/{WORD2}01_F_morpheme.json", f"video/{WORD2}01_F.mp4"):
        (with_files / name).unlink()
    problems = found(with_files)
    assert problems.keys() >= {"label-without-landmarks", "landmarks-without-label"}
    assert problems["label-without-landmarks"] == [
        (f"label/{WORD1}01_F_morpheme.json", f"there is no landmark file named {WORD1}01_F")
    ]
    [(path, message)] = problems["landmarks-without-label"]
    assert Path(path).stem == f"{WORD2}01_F" and message == f"there is no label {WORD2}01_F_morpheme.json"


def damaged_npz(path: Path) -> None:
    write_npz(path, points())
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (damaged_npz, "zip"),
        (lambda path: path.write_bytes(b""), "zip"),
        (lambda path: write_npz(path, points()[:, :74]), "(30, 74, 3), expected (N, 75, 3)"),
        (lambda path: write_npz(path, points()[..., :2]), "(30, 75, 2), expected (N, 75, 3)"),
        (lambda path: write_npz(path, points(0)), "holds no frame"),
        (lambda path: write_npz(path, points(), fps=0), "expected one number above 0"),
        (lambda path: write_npz(path, points(), seconds=np.zeros(30)), "do not ascend"),
        (lambda path: write_npz(path, points(), seconds=np.arange(29)), "for 30 frames"),
    ],
)
def test_files_that_cannot_be_read(with_files: Path, spoil: Any, message: str) -> None:
    spoil(with_files / "점" / f"{WORD1}01_F.npz")
    [(path, text)] = found(with_files).pop("landmarks-unreadable")
    assert path == f"점/{WORD1}01_F.npz" and message in text and str(with_files) not in text


def test_a_pose_file_that_is_cut_off(with_files: Path) -> None:
    [path] = list((with_files / "점").glob(f"{WORD1}01_L.pose"))
    path.write_bytes(path.read_bytes()[:-1000])
    [(_, message)] = found(with_files)["landmarks-unreadable"]
    assert "cut off: it has 30 frames" in message


def test_missing_frames_are_gaps_between_times(with_files: Path) -> None:
    seconds = np.arange(30) / 30
    kept = np.r_[3:10, 12:20, 21:30]
    write_npz(with_files / "점" / f"{WORD1}01_F.npz", points()[kept], seconds=seconds[kept])
    assert found(with_files) == {
        "landmarks-missing-frames": [
            (
                f"점/{WORD1}01_F.npz",
                "no frame was found for 0.000 to 0.100, 0.333 to 0.400, 0.667 to 0.700 s: it has 24 of 30",
            )
        ]
    }


def test_frames_that_show_nobody(with_files: Path) -> None:
    landmarks = points()
    landmarks[5], landmarks[11], landmarks[29] = np.nan, (0, 0, 1), (0.5, 0.5, 0)
    write_npz(with_files / "점" / f"{WORD1}01_F.npz", landmarks)
    [(_, message)] = found(with_files)["landmarks-empty"]
    assert message == "frame 29 shows nobody; 1 of the 4 frames that were looked at are like that"
    [(_, message)] = found(with_files, deep=True)["landmarks-empty"]
    assert message == "frame 5 shows nobody; 3 of the 30 frames that were looked at are like that"


def test_points_outside_the_picture_are_in_other_units(with_files: Path) -> None:
    folder = with_files / "점"
    write_npz(folder / f"{WORD1}01_F.npz", points() * (1920, 1080, 1), size=(1920, 1080))
    (folder / f"{WORD1}01_L.pose").write_bytes(pose(scale=-0.4))
    hands_out = points()
    hands_out[:, 13:30, 1] = 1.2
    write_npz(folder / f"{WORD2}01_F.npz", hands_out)
    (folder / f"{WORD2}01_F.parquet").unlink(missing_ok=True)
    assert found(with_files)["landmarks-outside-picture"] == [
        (
            f"점/{WORD1}01_F.npz",
            "100% of the points of the 4 frames that were looked at lie outside the picture of 1920 x 1080 pixels",
        ),
        (
            f"점/{WORD1}01_L.pose",
            "100% of the points of the 4 frames that were looked at lie outside the picture of 200 x 200 pixels",
        ),
    ]


def test_a_wrong_frame_rate_is_told_by_the_length_of_video_or_label(with_files: Path) -> None:
    folder = with_files / "점"
    write_npz(folder / f"{WORD1}01_F.npz", points(), fps=15)
    (folder / f"{WORD1}01_L.pose").write_bytes(pose(fps=1000))
    problems = found(with_files)
    assert problems.pop("landmarks-rate") == [
        (f"점/{WORD1}01_F.npz", "30 frames at 15 frames/s last 2.000 s, the video lasts 1.000 s"),
        (f"점/{WORD1}01_L.pose", "30 frames at 1000 frames/s last 0.030 s, the video lasts 1.000 s"),
    ]
    assert list(problems) == ["segment-outside-landmarks"]
    shutil.rmtree(with_files / "video")
    label(with_files, f"{WORD1}01_F", [(0.2, 0.8, "왼쪽")], duration=0.9)
    [(_, message), _] = found(with_files)["landmarks-rate"]
    assert message == "30 frames at 15 frames/s last 2.000 s, the label states 0.900 s"


def test_label_times_behind_the_files_are_named(with_files: Path) -> None:
    write_npz(with_files / "점" / f"{WORD1}01_F.npz", points(15))
    (with_files / "점" / f"{WORD1}01_L.pose").write_bytes(pose(num_frames=6))
    problems = found(with_files)
    del problems["landmarks-rate"]
    assert problems == {
        "segment-past-landmarks": [
            (f"label/{WORD1}01_F_morpheme.json", "segment 0 runs from 0.200 to 0.800 s, the landmarks end at 0.500 s")
        ],
        "segment-outside-landmarks": [
            (f"label/{WORD1}01_L_morpheme.json", "segment 0 runs from 0.200 to 0.800 s, the landmarks end at 0.200 s")
        ],
    }


def test_a_root_of_files_alone_is_compared_as_one_of_videos_is(with_files: Path) -> None:
    shutil.rmtree(with_files / "video")
    assert found(with_files) == {}
    for name in (f"{WORD1}01_F", f"{WORD1}17_F", f"{WORD1}17_L"):
        next((with_files / "점").glob(f"{name}.*")).unlink()
    assert set(found(with_files)) == {"label-without-landmarks", "missing-views", "missing-words"}
    text = run(with_files, "--landmarks", "files").stdout
    assert "0 videos" in text and "build-cache --landmarks files makes a cache of its landmark files" in text


def test_files_in_a_zip_and_in_a_folder_are_one(with_files: Path) -> None:
    folder = with_files / "점"
    with zipfile.ZipFile(with_files / "a.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    assert {path for path, _ in found(with_files)["same-name"]} == {f"점/{path.name}" for path in folder.iterdir()}
    shutil.rmtree(folder)
    assert found(with_files) == {}


def test_a_table_names_its_files(tmp_path: Path) -> None:
    rows = ["video,start,end,gloss", "가.mp4,0.2,0.8,왼쪽", "나.npz,0.2,1.8,오른쪽", "다.npz,,,오른쪽"]
    (tmp_path / "목록.csv").write_text("\n".join(rows), encoding="utf-8")
    write_npz(tmp_path / "가.npz", points())
    write_npz(tmp_path / "나.npz", points(), fps=3000)
    problems = found(tmp_path / "목록.csv")
    assert set(problems) == {"row-unusable", "landmarks-rate", "segment-outside-landmarks"}
    assert problems["landmarks-rate"] == [("나.npz", "30 frames at 3000 frames/s last 0.010 s")]
    text = run(tmp_path / "목록.csv", "--landmarks", "files").stdout
    assert "Landmark files of 2 videos: 2 of 2 segments have them" in text


def test_class_folders_hold_files(tmp_path: Path) -> None:
    write_npz(tmp_path / "왼쪽" / "a.npz", points())
    write_npz(tmp_path / "오른쪽" / "a.npz", points()[:, :, :2])
    problems = scan(tmp_path, source=DatasetOptions(landmarks="files", layout="classes"))
    assert list(problems) == ["landmarks-unreadable"] and problems["landmarks-unreadable"][0][0] == "오른쪽/a.npz"


def test_missing_keypoints_are_told_where_there_are_none_if_asked(root: Path) -> None:
    problems = scan(root, source=DatasetOptions(landmarks="aihub"))
    assert list(problems) == ["label-without-keypoints"] and len(problems["label-without-keypoints"]) == 8
    (root / "a.csv").write_text("video,start,end,gloss\n", encoding="utf-8")
    result = run(root / "a.csv", "--landmarks", "aihub")
    assert result.exit_code == 1 and "keypoints are paired with AIHub's labels" in str(result.exception)
