"""Landmark files of other programs: their points, their frames' times, and one line for those that are none."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.landmarks.crop import in_crop
from signprep.pipeline.landmarks.files import clips_of_landmark_file
from signprep.pipeline.landmarks.points import SIGNER75, Points, from_mediapipe, from_openpose
from tests.landmark_files import MEDIAPIPE, OPENPOSE, pose_bytes, write_parquet

SPEC = ClipSpec(num_frames=5, landmarks="files", keypoint_size="640x480")
SIZE = (640, 480)
NUM_FRAMES = 40


def random_points(*shape: int) -> NDArray[np.float64]:
    """x and y in pixels of the picture, and confidence."""
    points = np.random.default_rng(5).uniform(1, 470, (*shape, 3))
    points[..., 2] = np.random.default_rng(6).uniform(0.2, 1, shape)
    return points


def clips(path: Path, *spans: tuple[float, float], spec: ClipSpec = SPEC) -> list[Clip]:
    found = clips_of_landmark_file(path, [Span(*span) for span in spans], spec, str(path))
    assert all(isinstance(clip, Clip) for clip in found), found
    return found  # type: ignore[return-value]


def reason(path: Path, span: tuple[float, float] = (0.0, 1.0)) -> str:
    [error] = clips_of_landmark_file(path, [Span(*span)], SPEC, str(path))
    assert isinstance(error, DecodeError) and str(error).startswith(f"{path}: ") and "\n" not in str(error)
    return str(error).removeprefix(f"{path}: ")


def stored(landmarks: Points) -> NDArray[np.float16]:
    return in_crop(landmarks, SIZE, SPEC).astype(np.float16)


@pytest.mark.parametrize("version", [0.1, 0.2])
def test_openpose_in_a_pose_file_becomes_what_its_keypoints_become(tmp_path: Path, version: float) -> None:
    points = random_points(NUM_FRAMES, 137)
    points[3, 7, 2] = 0
    data = pose_bytes(OPENPOSE, points[:, None, :, :2], points[:, None, :, 2], size=SIZE, version=version)
    (tmp_path / "a.pose").write_bytes(data)
    [clip] = clips(tmp_path / "a.pose", (0.0, 10 / 30))
    frames = points[[1, 3, 5, 7, 9]].astype(np.float32)
    body, left, right, face = np.split(frames, [25, 46, 67], axis=1)
    assert np.array_equal(clip.frames, stored(from_openpose(body, left, right, face, size=SIZE)), equal_nan=True)
    assert clip.sampled_seconds.tolist() == [frame / 30 for frame in (1, 3, 5, 7, 9)]
    assert clip.span == (0.0, 10 / 30)


def test_mediapipe_in_a_pose_file_becomes_what_its_landmarks_become(tmp_path: Path) -> None:
    points = random_points(NUM_FRAMES, 576)
    depth = np.concatenate([points[:, None, :, :2], points[:, None, :, :1]], axis=-1)
    (tmp_path / "a.pose").write_bytes(pose_bytes(MEDIAPIPE, depth, points[:, None, :, 2], size=SIZE, fps=25))
    [clip] = clips(tmp_path / "a.pose", (0.4, 0.8))
    frames = points[[11, 13, 15, 17, 19]].astype(np.float32)
    body, face, left, right, _ = np.split(frames, [33, 501, 522, 543], axis=1)
    assert np.array_equal(clip.frames, stored(from_mediapipe(body, left, right, face, size=SIZE)), equal_nan=True)


def test_parts_that_a_pose_file_leaves_out_are_not_seen(tmp_path: Path) -> None:
    components = {"POSE_LANDMARKS": MEDIAPIPE["POSE_LANDMARKS"][:17], "FACE_LANDMARKS": ["0", "13", "70"]}
    points = random_points(NUM_FRAMES, 20)
    (tmp_path / "a.pose").write_bytes(pose_bytes(components, points[:, None, :, :2], points[:, None, :, 2], size=SIZE))
    [clip] = clips(tmp_path / "a.pose", (0.0, 1.0))
    seen = {SIGNER75[place] for place in np.flatnonzero(clip.frames[0, :, 2] > 0)}
    assert seen == {*SIGNER75[:11], "upper_lip", "upper_lip_inside", "right_brow_1"}


def test_of_several_people_the_surest_is_taken_in_each_frame(tmp_path: Path) -> None:
    points = random_points(NUM_FRAMES, 2, 137)
    points[:20, 0, :, 2], points[20:, 1, :, 2] = 0.1, 0.1
    (tmp_path / "a.pose").write_bytes(pose_bytes(OPENPOSE, points[..., :2], points[..., 2], size=SIZE))
    [clip] = clips(tmp_path / "a.pose", (0.0, 40 / 30))
    assert (clip.frames[..., 2] > 0.15).all()


def test_a_pose_file_of_an_hour_passes_the_16_bits_of_version_one(tmp_path: Path) -> None:
    num_frames = 2**16 + 30
    points = np.tile(np.float32([320, 240]), (num_frames, 1, 1, 1))
    confidence = np.full((num_frames, 1, 1), 0.5)
    data = pose_bytes({"POSE_LANDMARKS": ["NOSE"]}, points, confidence, size=SIZE, version=0.1)
    (tmp_path / "a.pose").write_bytes(data)
    [clip] = clips(tmp_path / "a.pose", (2184.0, 2186.0))
    assert clip.span.end_seconds == num_frames / 30
    assert np.array_equal(clip.frames[:, 0], np.tile(np.float16([0.5, 0.5, 0.5]), (5, 1)))


def whole_pose() -> bytes:
    points = random_points(NUM_FRAMES, 1, 137)
    return pose_bytes(OPENPOSE, points[..., :2], points[..., 2], size=SIZE)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is cut off in its header"),
        (whole_pose()[:400], "is cut off in its header"),
        (whole_pose()[:-1], "is cut off: it has 40 frames of 1 people, and the bytes of 39"),
        (b"<html>404</html>" * 99, "no .pose file; expected 0.1 or 0.2"),
        (pose_bytes({}, np.zeros((1, 1, 0, 2)), np.zeros((1, 1, 0)), size=SIZE), "has the components none"),
        (pose_bytes({"AlphaPose": ["a"]}, np.zeros((1, 1, 1, 2)), np.zeros((1, 1, 1)), size=SIZE), "AlphaPose"),
        (pose_bytes(OPENPOSE, np.zeros((0, 1, 137, 2)), np.zeros((0, 1, 137)), size=SIZE), "holds no frame"),
        (pose_bytes(OPENPOSE, np.zeros((1, 0, 137, 2)), np.zeros((1, 0, 137)), size=SIZE), "0 people"),
        (pose_bytes(OPENPOSE, np.zeros((1, 1, 137, 2)), np.zeros((1, 1, 137)), size=(0, 0)), "0 x 0 pixels"),
        (pose_bytes(OPENPOSE, np.zeros((1, 1, 137, 2)), np.zeros((1, 1, 137)), size=SIZE, fps=0), "0 frames/s"),
        (pose_bytes(OPENPOSE, np.zeros((1, 1, 137, 2)), np.zeros((1, 1, 137)), size=SIZE, form="ABC"), "form ABC"),
        (
            pose_bytes({"LEFT_HAND_LANDMARKS": ["a"]}, np.zeros((1, 1, 1, 2)), np.zeros((1, 1, 1)), size=SIZE),
            "1 points, expected 21",
        ),
    ],
)  # fmt: skip
def test_pose_files_that_are_none_are_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.pose").write_bytes(data)
    assert words in reason(tmp_path / "a.pose")


def parts(num_frames: int = NUM_FRAMES) -> Points:
    """Landmarks in parts of the picture, some of which were not seen."""
    points = random_points(num_frames, 75) / (640, 480, 1)
    points[3, 7] = np.nan
    points[5, 20, 2] = 0
    return points.astype(np.float32)


def expected(places: list[int]) -> NDArray[np.float16]:
    points = parts()[places]
    points[np.isnan(points[..., 0]) | (points[..., 2] == 0)] = (np.nan, np.nan, 0)
    return stored(points)


@pytest.mark.parametrize(
    "arrays",
    [
        {"fps": 30.0},
        {"fps": np.array([30])},
        {"seconds": np.arange(NUM_FRAMES) / 30},
        {"fps": 30, "size": np.array([640, 480])},
    ],
)
def test_an_npz_file_has_landmarks_and_times(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez_compressed(tmp_path / "a.npz", landmarks=parts(), **arrays)
    [clip, late] = clips(tmp_path / "a.npz", (0.0, 10 / 30), (1.2, 9.0))
    assert np.array_equal(clip.frames, expected([1, 3, 5, 7, 9]), equal_nan=True)
    assert late.span.end_seconds == pytest.approx(40 / 30)


def test_the_size_of_the_picture_is_that_of_the_file_or_of_the_option(tmp_path: Path) -> None:
    points = np.full((10, 75, 3), 0.25, np.float32)
    np.savez(tmp_path / "a.npz", landmarks=points, fps=30, size=(200, 100))
    np.savez(tmp_path / "b.npz", landmarks=points, fps=30)
    [wide], [option] = (clips(tmp_path / name, (0.0, 0.3)) for name in ("a.npz", "b.npz"))
    assert wide.frames[0, 0].tolist() == [0.0, 0.25, 0.25]  # 50 of 200 pixels are the left edge of the middle 100
    assert option.frames[0, 0, 0] == np.float16(1 / 6)


@pytest.mark.parametrize(
    ("columns", "tags"),
    [
        ({"frame": np.arange(NUM_FRAMES)}, {}),
        ({"frame": np.arange(NUM_FRAMES)}, {"fps": 30, "width": 640, "height": 480}),
        ({"seconds": np.arange(NUM_FRAMES) / 30}, {}),
    ],
)
@pytest.mark.parametrize("form", ["flat", "fixed", "nested"])
def test_a_parquet_file_has_a_row_for_each_frame(
    tmp_path: Path, columns: dict[str, Any], tags: dict[str, int], form: str
) -> None:
    rows = [None if number == 30 else row for number, row in enumerate(parts().reshape(NUM_FRAMES, -1).tolist())]
    types = {"flat": pa.list_(pa.float32()), "fixed": pa.list_(pa.float32(), 225)}
    landmarks = (
        pa.array([row and np.reshape(row, (75, 3)).tolist() for row in rows])
        if form == "nested"
        else pa.array(rows, types[form])
    )
    table = pa.table(columns | {"landmarks": landmarks}).take(np.random.default_rng(1).permutation(NUM_FRAMES))
    write_parquet(tmp_path / "a.parquet", {name: table[name] for name in table.column_names}, tags)
    [clip, nobody] = clips(tmp_path / "a.parquet", (0.0, 10 / 30), (30 / 30, 31 / 30))
    assert np.array_equal(clip.frames, expected([1, 3, 5, 7, 9]), equal_nan=True)
    assert np.isnan(nobody.frames[..., :2]).all() and not nobody.frames[..., 2].any()


def test_a_frame_that_is_missing_in_a_parquet_file_shows_the_one_before(tmp_path: Path) -> None:
    numbers = [0, 1, 2, 7, 8, 9]
    rows = pa.array(parts().reshape(NUM_FRAMES, -1)[numbers].tolist())
    write_parquet(tmp_path / "a.parquet", {"frame": numbers, "landmarks": rows})
    [clip] = clips(tmp_path / "a.parquet", (0.0, 10 / 30))
    assert [round(seconds * 30) for seconds in clip.sampled_seconds] == [1, 2, 2, 7, 9]


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def bomb() -> bytes:
    """An NPZ file whose array claims to have a terabyte."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 75, 3), }".ljust(117) + b"\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("landmarks.npy", b"\x93NUMPY\x01\x00v\x00" + header + b"\0" * 99)
        archive.writestr("fps.npy", b"")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read as landmarks"),
        (npz(landmarks=parts(), fps=30)[:-50], "cannot be read as landmarks"),
        (npz(landmarks=parts(), fps=30).replace(b"NUMPY", b"NUMPX"), "cannot be read as landmarks"),
        (npz(points=parts()), "has points; expected landmarks, and fps or seconds"),
        (npz(landmarks=parts()), "has landmarks; expected landmarks, and fps or seconds"),
        (npz(landmarks=parts()[:, :50], fps=30), "shape (40, 50, 3), expected (N, 75, 3)"),
        (npz(landmarks=np.zeros(225), fps=30), "shape (225,), expected (N, 75, 3)"),
        (npz(landmarks=np.array(["a"]), fps=30), "expected numbers"),
        (npz(landmarks=np.array([{}]), fps=30), "expected numbers"),
        (npz(landmarks=parts(), fps=0), "its fps are [0.0], expected one number above 0"),
        (npz(landmarks=parts(), fps=[30, 30]), "expected one number above 0"),
        (npz(landmarks=parts(), seconds=np.arange(9)), "times of the shape (9,) for 40 frames"),
        (npz(landmarks=parts(), seconds=np.zeros(40)), "its frames' times do not ascend"),
        (npz(landmarks=parts(), seconds=np.full(40, np.nan)), "its frames' times do not ascend"),
        (npz(landmarks=parts(), fps=30, size=[0, 9]), "its picture has the size [0, 9]"),
        (npz(landmarks=parts()[:0], fps=30), "holds no frame"),
        (npz(landmarks=parts()[:0], seconds=[]), "holds no frame"),
        (bomb(), "expected numbers"),
    ],
)
def test_npz_files_that_are_none_are_one_line(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    assert words in reason(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("columns", "tags", "words"),
    [
        ({"a": [1]}, {}, "has a; expected landmarks, and seconds or frame"),
        ({"landmarks": [[1.0]]}, {}, "has landmarks; expected"),
        ({"frame": [0], "landmarks": [[1.0] * 224]}, {}, "lists of [224], expected 225 numbers in each row"),
        ({"frame": [0, 1], "landmarks": [[1.0] * 224, [1.0] * 226]}, {}, "expected 225 numbers in each row"),
        ({"frame": [0], "landmarks": [1.0]}, {}, "expected 225 numbers in each row"),
        ({"frame": [0], "landmarks": [["x"] * 225]}, {}, "cannot be read as landmarks"),
        ({"frame": ["x"], "landmarks": [[1.0] * 225]}, {}, "cannot be read as landmarks"),
        ({"frame": [3, 3], "landmarks": [[1.0] * 225] * 2}, {}, "times do not ascend"),
        ({"frame": [0, None], "landmarks": [[1.0] * 225] * 2}, {}, "times do not ascend"),
        ({"frame": [0, 1], "landmarks": [[1.0] * 225] * 2}, {"fps": 0}, "times do not ascend"),
        ({"frame": [0], "landmarks": [[1.0] * 225]}, {"fps": "x"}, "cannot be read as landmarks"),
        ({"frame": [0], "landmarks": [[1.0] * 225]}, {"width": -1, "height": 4}, "its picture has the size"),
        ({"frame": pa.array([], pa.int64()), "landmarks": pa.array([], pa.list_(pa.float32()))}, {}, "holds no frame"),
    ],
)
def test_parquet_files_that_are_none_are_one_line(
    tmp_path: Path, columns: dict[str, Any], tags: dict[str, object], words: str
) -> None:
    write_parquet(tmp_path / "a.parquet", columns, tags)
    assert words in reason(tmp_path / "a.parquet")


def test_a_parquet_file_that_is_cut_off_is_one_line(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"frame": [0], "landmarks": [[1.0] * 225]})
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    assert "cannot be read as landmarks" in reason(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", [".pose", ".npz", ".parquet"])
def test_files_with_single_bytes_changed_never_end_in_a_traceback(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".pose":
        path.write_bytes(whole_pose())
    elif suffix == ".npz":
        np.savez_compressed(path, landmarks=parts(), fps=30)
    else:
        write_parquet(path, {"frame": range(NUM_FRAMES), "landmarks": parts().reshape(NUM_FRAMES, -1).tolist()})
    data, draws = path.read_bytes(), np.random.default_rng(3)
    ends = np.concatenate([draws.integers(0, 600, 60), len(data) - 1 - draws.integers(0, 600, 60)])
    for place in ends.tolist():
        changed = bytearray(data)
        changed[place] ^= 1 << int(draws.integers(8))
        path.write_bytes(changed)
        [found] = clips_of_landmark_file(path, [Span(0.0, 1.0)], SPEC, str(path))
        assert isinstance(found, Clip | DecodeError)


def test_spans_outside_the_file_fail_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", landmarks=parts(), seconds=np.arange(NUM_FRAMES) / 30 + 0.5)
    spans = [Span(0.0, 1.0), Span(0.6, 1.0), Span(5.0, 6.0)]
    early, good, late = clips_of_landmark_file(tmp_path / "a.npz", spans, SPEC, "a.npz")
    assert isinstance(good, Clip)
    assert str(early) == "a.npz: there are no landmarks at 0.000 s; they begin at 0.500 s"
    assert "from 5.000 to 6.000 s lies outside the landmarks, which end at 1.833 s" in str(late)
