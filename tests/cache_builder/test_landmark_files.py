"""Caches of landmark files: .pose, NPZ and Parquet are paired as videos are, and give the clips that keypoints give."""

import csv
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import main
from signprep.pipeline.datasets.files.frame_files import open_frames
from signprep.pipeline.datasets.synthetic.dataset import render_dataset
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.landmarks.keypoints import landmarks_of, points_of_frame
from signprep.pipeline.options import SampleSpec
from tests.landmark_files import OPENPOSE, pose_bytes, write_parquet

SIZE = (128, 96)
SAMPLE = SampleSpec(words=2, signers=3, frame_size=SIZE, keypoints=True)
CLIPS = ("--num-frames", "4", "--workers", "1", "--keypoint-size", "128x96")


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as end:
        main([*map(str, arguments)])
    assert not end.value.code


def built(data: Path, out: Path, *options: object) -> Cache:
    run("build-cache", "--data-root", data, "--out", out, *CLIPS, "--landmarks", "files", *options)
    return open_cache(out)


def clips(cache: Cache) -> dict[str, bytes]:
    """The bytes of all clips by segment."""
    names = cache.index["segment_id"].to_pylist()
    return {names[position]: cache.read([position]).tobytes() for position in cache.positions().tolist()}


def write_landmarks(keypoints: Path, path: Path) -> None:
    """Write the keypoints of a folder as a landmark file, whose suffix tells the form."""
    files = open_frames(keypoints / f"{keypoints.name}_*_keypoints.json", None)
    numbers = np.arange(len(files.frames.numbers))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".pose":
        points = np.stack([points_of_frame(files.read(number), "") for number in numbers.tolist()])[:, None]
        path.write_bytes(pose_bytes(OPENPOSE, points[..., :2], points[..., 2], size=SIZE))
        return
    landmarks = landmarks_of(files, numbers, SIZE)
    if path.suffix == ".npz":
        np.savez_compressed(path, landmarks=landmarks, fps=30, size=SIZE)
    else:
        rows = pa.array(landmarks.reshape(len(numbers), -1).tolist(), pa.list_(pa.float32()))
        write_parquet(path, {"frame": numbers, "landmarks": rows})


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "수어"
    render_dataset(SAMPLE, root, workers=1)
    return root


@pytest.fixture(scope="module")
def of_keypoints(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The clips that the keypoints give."""
    out = tmp_path_factory.mktemp("keypoints") / "a.zarr"
    run("build-cache", "--data-root", sample, "--out", out, *CLIPS, "--landmarks", "aihub")
    return clips(open_cache(out))


def aihub_data(sample: Path, data: Path, suffixes: tuple[str, ...]) -> Path:
    """Labels, and landmark files of these forms in turn."""
    shutil.copytree(sample / "label", data / "label")
    for number, keypoints in enumerate(sorted((sample / "keypoint").iterdir())):
        suffix = suffixes[number % len(suffixes)]
        write_landmarks(keypoints, data / "landmarks" / f"{keypoints.name}{suffix}")
    return data


@pytest.mark.parametrize("suffixes", [(".pose",), (".npz",), (".parquet",), (".pose", ".npz", ".parquet")])
def test_files_beside_labels_give_the_clips_of_keypoints(
    sample: Path, of_keypoints: dict[str, bytes], tmp_path: Path, suffixes: tuple[str, ...]
) -> None:
    cache = built(aihub_data(sample, tmp_path / "data", suffixes), tmp_path / "a.zarr")
    assert clips(cache) == of_keypoints
    assert len(set(cache.index["video_hash"].to_pylist())) == 6


def test_files_in_a_zip_give_the_same_cache(sample: Path, of_keypoints: dict[str, bytes], tmp_path: Path) -> None:
    data = aihub_data(sample, tmp_path / "data", (".pose", ".npz", ".parquet"))
    with zipfile.ZipFile(data / "landmarks.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((data / "landmarks").iterdir()):
            archive.write(path, path.name)
    shutil.rmtree(data / "landmarks")
    assert clips(built(data, tmp_path / "a.zarr")) == of_keypoints


def test_a_window_of_a_file_whose_end_the_labels_do_not_tell_lies_around_its_middle(
    sample: Path, tmp_path: Path
) -> None:
    for number, keypoints in enumerate(sorted((sample / "keypoint").iterdir())):
        write_landmarks(keypoints, tmp_path / "data" / f"sign{number % 2}" / f"{number}.npz")
    spans: list[list[tuple[float, float]]] = []
    for options in ((), ("--clip-duration", "0.2")):
        index = built(tmp_path / "data", tmp_path / f"{len(spans)}.zarr", "--layout", "classes", *options).index
        ends = [index[f"clip_{end}_seconds"].to_pylist() for end in ("start", "end")]
        spans.append(list(zip(*ends, strict=True)))
    whole, windows = spans
    assert len(whole) == 6
    for (start, end), window in zip(whole, windows, strict=True):
        middle = (start + end) / 2
        assert start == 0 and window == pytest.approx((middle - 0.1, middle + 0.1))


def test_an_update_cuts_what_has_changed_and_pools_know_the_files(sample: Path, tmp_path: Path) -> None:
    data = aihub_data(sample, tmp_path / "data", (".npz",))
    before = clips(built(data, tmp_path / "a.zarr", "--clip-pool", tmp_path / "pool"))
    assert clips(built(data, tmp_path / "b.zarr", "--clip-pool", tmp_path / "pool")) == before
    first, second, *_ = sorted((data / "landmarks").iterdir())
    first.unlink()
    with np.load(second) as arrays:
        np.savez(second, **{**arrays, "landmarks": arrays["landmarks"] * np.float32([0.5, 1, 1])})
    after = clips(built(data, tmp_path / "a.zarr"))
    assert len(after) == 5 and sum(after[name] != before[name] for name in after) == 1
    run("verify", tmp_path / "a.zarr")


def test_a_bad_file_fails_alone_and_a_missing_one_is_a_problem(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = aihub_data(sample, tmp_path / "data", (".pose",))
    first, second, *_ = sorted((data / "landmarks").iterdir())
    first.unlink()
    second.write_bytes(b"<html>404</html>" * 9)
    cache = built(data, tmp_path / "a.zarr")
    output = capsys.readouterr().out
    assert len(cache.positions()) == 4
    assert "there is no landmark file (.pose, .npz, .parquet) named NIA_SL_WORD0001_REAL01_F" in output
    [error] = [error for error in cache.index["error"].to_pylist() if error]
    assert error.startswith(f"landmarks/{second.name}: is of version") and str(tmp_path) not in error


@pytest.mark.parametrize("named", [".mp4", ".npz"])
def test_a_tables_rows_mean_the_files_beside_their_videos(
    sample: Path, of_keypoints: dict[str, bytes], tmp_path: Path, named: str
) -> None:
    rows = []
    for keypoints in sorted((sample / "keypoint").iterdir()):
        write_landmarks(keypoints, tmp_path / "clips" / f"{keypoints.name}.npz")
        label = json.loads((sample / "label" / f"{keypoints.name}_morpheme.json").read_text(encoding="utf-8"))
        [segment] = label["data"]
        gloss = segment["attributes"][0]["name"]
        rows.append((f"clips/{keypoints.name}{named}", segment["start"], segment["end"], gloss))
    rows.append(("clips/nowhere.mp4", 0, 1, "위"))
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "start", "end", "gloss"), *rows])
    cache = built(tmp_path / "a.csv", tmp_path / "a.zarr")
    assert sorted(clips(cache).values()) == sorted(of_keypoints.values())


def test_class_folders_of_files_are_read(sample: Path, tmp_path: Path) -> None:
    for keypoints in sorted((sample / "keypoint").iterdir()):
        for suffix in (".npz", ".pose"):
            write_landmarks(keypoints, tmp_path / "data" / keypoints.name[7:15] / f"{keypoints.name}{suffix}")
    cache = built(tmp_path / "data", tmp_path / "a.zarr", "--layout", "classes")
    assert sorted(Path(video).suffix for video in cache.index["video"].to_pylist()) == [".npz"] * 6
    assert set(cache.vocabulary.glosses) == {"WORD0001", "WORD0002"}


def test_keypoints_of_a_table_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("video,start,end,gloss\nb.mp4,0,1,c\n")
    with pytest.raises(SystemExit) as end:
        main(["build-cache", "--data-root", str(tmp_path / "a.csv"), "--out", str(tmp_path / "a.zarr"),
              "--landmarks", "aihub"])  # fmt: skip
    assert end.value.code == 1
    assert "--landmarks files" in capsys.readouterr().err


LISTS = {"pose": 25, "hand_left": 21, "hand_right": 21, "face": 70}


@pytest.mark.parametrize("people", [dict, lambda **parts: [parts]])
@pytest.mark.parametrize("missing", [None, *LISTS])
def test_a_frame_means_the_same_however_its_json_is_written(people: Any, missing: str | None) -> None:
    random = np.random.default_rng(0)
    parts = {
        f"{part}_keypoints_2d": random.uniform(-1e-5, 2000, 3 * count).tolist()
        for part, count in LISTS.items()
        if part != missing
    }
    more = {f"{part}_keypoints_3d": [1.5] * 4 * count for part, count in LISTS.items()}
    document = {"version": 1.3, "people": people(**parts, **more), "camparam": {"data": "1 2 3"}}
    plain = points_of_frame(json.dumps(document).encode(), "a")
    spread = json.dumps(document, indent=3, sort_keys=True).encode() + b"\n"
    escaped = json.dumps(document).replace("keypoints", "\\u006beypoints").encode()
    expected = [parts.get(f"{part}_keypoints_2d", [0.0] * 3 * count) for part, count in LISTS.items()]
    for points in (plain, points_of_frame(spread, "a"), points_of_frame(escaped, "a")):
        assert points.dtype == np.float32 and points.shape == (137, 3)
        assert (points.ravel() == np.concatenate(expected).astype(np.float32)).all()


@pytest.mark.parametrize(
    "change",
    [(b"]", b""), (b", ", b" "), (b", ", b", , "), (b'"people"', b'"nobody"'), (b"}}", b"")],
)
def test_a_frame_whose_lists_are_damaged_is_refused(change: tuple[bytes, bytes]) -> None:
    parts = {f"{part}_keypoints_2d": [0.5] * 3 * count for part, count in LISTS.items()}
    data = json.dumps({"people": parts}).encode().replace(*change, 1)
    with pytest.raises(DecodeError, match="is not of the form"):
        points_of_frame(data, "a")
