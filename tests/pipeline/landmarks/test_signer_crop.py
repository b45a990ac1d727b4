"""`--crop signer`: each clip shows the square around its signer, the same in a build and in inference."""

import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks._signing import render_small_signers
from signprep.cache_builder import open_cache
from signprep.inference.options import InferOptions, WindowOptions
from signprep.inference.videos.window_predictions import Video, predict_videos
from signprep.pipeline.clip_spec import ClipSpec, CropBox
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.landmarks import crop
from signprep.pipeline.landmarks.crop import in_crop, moving_box, signer_box, square_around
from signprep.pipeline.landmarks.maker import makes_clips
from signprep.pipeline.landmarks.points import PARTS, SIGNER75
from signprep.pipeline.options import SampleSpec
from tests.generated_videos import write_video
from tests.mutations.command import run_command

SIZE = (640, 360)
SPEC = ClipSpec(num_frames=8, size=96, crop="signer")
BUILD = ("--num-frames", "8", "--size", "96", "--crop", "signer", "--workers", "1")
KEYPOINTS = ("--landmarks", "aihub", "--keypoint-size", "640x360")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small") / "data"
    render_small_signers(SampleSpec(words=4, signers=4, frame_size=SIZE, keypoints=True), root)
    return root


def built(data: Path, out: Path, *options: str) -> list[dict[str, Any]]:
    """Rows of the index of a cache that is made or updated."""
    code, _, errors = run_command("build-cache", "--data-root", str(data), "--out", str(out), *BUILD, *options)
    assert code == 0, errors
    return open_cache(out).index.to_pylist()


def boxes(rows: list[dict[str, Any]]) -> dict[str, CropBox]:
    return {row["segment_id"]: tuple(row["crop_box"]) for row in rows}


def overlap(one: CropBox, other: CropBox) -> float:
    """Intersection over union."""
    both = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(both.clip(0)))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def test_motion_finds_the_signer_that_keypoints_tell_of(data: Path, tmp_path: Path) -> None:
    found = boxes(built(data, tmp_path / "pixels.zarr"))
    true = boxes(built(data, tmp_path / "landmarks.zarr", *KEYPOINTS))
    assert found.keys() == true.keys() and len(found) == 16
    overlaps = [overlap(found[name], box) for name, box in true.items()]
    assert np.mean(overlaps) > 0.85 and min(overlaps) > 0.6, overlaps
    in_the_middle = square_around(None, SIZE, margin=1)
    assert np.mean([overlap(in_the_middle, box) for box in true.values()]) < 0.4
    for box in found.values():
        assert (box[2] - box[0]) * SIZE[0] == pytest.approx((box[3] - box[1]) * SIZE[1]), "square, as the clip is"


def test_a_window_of_inference_is_the_clip_of_the_build(data: Path, tmp_path: Path) -> None:
    rows = built(data, tmp_path / "a.zarr")
    cache = open_cache(tmp_path / "a.zarr")
    for row in rows[::5]:
        length = row["end_seconds"] - row["start_seconds"]
        window = WindowOptions(start_seconds=row["start_seconds"], clip_duration=length)
        [answer] = predict_videos(seeing := Recognizer(), [Video.at(data / row["video"])], InferOptions(windows=window))
        assert len(answer.predictions) == 1
        assert np.array_equal(seeing.clips[0], cache.read([row["position"]])[0])


class Recognizer(SimpleNamespace):
    """Keeps the clips that it is asked about."""

    def __init__(self) -> None:
        super().__init__(clip_specs=(SPEC,), glosses=("a", "b"), clips=[])

    def window_probabilities(self, windows: list[list[np.ndarray]]) -> np.ndarray:
        self.clips += [clip for clips in windows for clip in clips]
        return np.full((len(windows), 2), 0.5, np.float32)


def cut(video: Path, *spans: Span, spec: ClipSpec = SPEC) -> list[Clip]:
    found = extract_clips(video, spans, spec, make=makes_clips(spec))
    clips = [clip for clip in found if isinstance(clip, Clip)]
    assert len(clips) == len(spans), found
    return clips


def test_a_clip_shows_what_its_box_says_whatever_else_is_cut(data: Path) -> None:
    video = sorted((data / "video").iterdir())[0]
    [alone] = cut(video, Span(1.0, 1.8))
    among = cut(video, Span(0.5, 2.0), Span(1.0, 1.8), Span(1.01, 1.81))[1]
    assert np.array_equal(alone.frames, among.frames) and alone.crop_box == among.crop_box
    fixed = ClipSpec(num_frames=8, size=96, crop=",".join(map(repr, alone.crop_box or ())))
    assert np.array_equal(alone.frames, cut(video, Span(1.0, 1.8), spec=fixed)[0].frames)


@pytest.mark.parametrize("kind", [{"display_degrees": 90}, {"pixel_aspect": Fraction(4, 3)}, {"codec": "mpeg4"}])
def test_the_box_is_one_of_the_upright_picture(tmp_path: Path, kind: dict[str, Any]) -> None:
    [clip] = cut(write_video(tmp_path / "video.mkv" if "codec" in kind else tmp_path / "video.mp4", **kind), Span(0, 2))
    x0, y0, x1, y1 = clip.crop_box or (0, 0, 0, 0)
    is_turned = "display_degrees" in kind
    width, height = (96, 160) if is_turned else (160 * float(kind.get("pixel_aspect", 1)), 96)
    assert (x1 - x0) * width == pytest.approx((y1 - y0) * height, abs=1.5)
    # The bits that change are the lowest: left, or below in a picture that was turned counter-clockwise.
    assert 0.5 < (y0 + y1) / 2 < 0.75 if is_turned else 0.25 < (x0 + x1) / 2 < 0.5
    assert x0 <= 0.5 <= x1 and y0 <= 0.5 <= y1


def test_of_many_large_frames_smaller_ones_wait(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = sorted((data / "video").iterdir())[0]
    [whole] = cut(video, Span(1.0, 1.8))
    monkeypatch.setattr(crop, "MOST_PIXELS", 8 * 320 * 180)
    [smaller] = cut(video, Span(1.0, 1.8))
    assert whole.crop_box and smaller.crop_box and overlap(whole.crop_box, smaller.crop_box) > 0.9
    assert 0 < np.abs(whole.frames.astype(int) - smaller.frames).mean() < 6


def write_still(path: Path, i420: np.ndarray) -> Path:
    """Write 20 frames of one picture, without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = i420.shape[1], i420.shape[0] * 2 // 3, "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(i420, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("size", [(160, 96), (96, 160)])
def test_a_still_picture_shows_the_centred_square(tmp_path: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    video = write_still(tmp_path / "still.mkv", rng.integers(16, 235, (size[1] * 3 // 2, size[0]), dtype=np.uint8))
    for num_frames in (8, 1):
        [clip] = cut(video, Span(0.1, 0.6), spec=ClipSpec(num_frames=num_frames, size=96, crop="signer"))
        [expected] = cut(video, Span(0.1, 0.6), spec=ClipSpec(num_frames=num_frames, size=96))
        assert clip.crop_box == square_around(None, size, margin=1)
        assert np.array_equal(clip.frames, expected.frames)
    noise = [rng.normal(100, 3, (90, 160)).round().astype(np.uint8) for _ in range(16)]
    assert moving_box(noise) is None


def test_a_light_that_flickers_is_no_motion() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(60, 200, (90, 160))
    pictures = [(scene + level).astype(np.uint8) for level in (0, 12, 3, 20, 5, 0, 16, 8)]
    assert moving_box(pictures) is None
    for number, picture in enumerate(pictures):
        picture[30:50, 100 + number : 115 + number] = 30
    box = moving_box(pictures)
    assert box and box[0] > 0.5 and box[2] < 0.85


def test_clips_of_landmarks_show_the_square_around_their_points(data: Path, tmp_path: Path) -> None:
    rows = built(data, tmp_path / "a.zarr", *KEYPOINTS)
    clips = open_cache(tmp_path / "a.zarr").read(range(len(rows)))
    hands = clips[:, :, PARTS["left_hand"].start : PARTS["right_hand"].stop]
    inside = (hands[..., :2] > 0).all(axis=-1) & (hands[..., :2] < 1).all(axis=-1)
    hanging = hands[..., 1] > 1
    assert (inside | hanging).all() and inside.mean() > 0.4
    nose = clips[:, :, SIGNER75.index("nose"), :2]
    assert (nose > 0).all() and (nose < 1).all()


def test_the_box_of_landmarks_leaves_out_a_hand_at_rest_and_single_errors() -> None:
    landmarks = np.full((20, 75, 3), (np.nan, np.nan, 0), np.float32)
    points = {
        "nose": (0.5, 0.2), "left_elbow": (0.6, 0.5), "right_elbow": (0.4, 0.5), "right_wrist": (0.45, 0.4),
        "left_wrist": (0.6, 0.8), "left_hand_wrist": (0.6, 0.82), "right_hand_wrist": (0.45, 0.4),
    }  # fmt: skip
    for name, place in points.items():
        landmarks[:, SIGNER75.index(name)] = (*place, 1)
    landmarks[3, SIGNER75.index("right_hand_wrist"), :2] = 0.99
    box = signer_box(landmarks, (1000, 1000))
    assert box == pytest.approx((0.305, 0.155, 0.695, 0.545), abs=0.003)
    moved = in_crop(landmarks, (1000, 1000), ClipSpec(crop=",".join(map(repr, box))))
    assert 0 < moved[0, SIGNER75.index("nose"), 1] < 0.2
    assert signer_box(landmarks * np.nan, (640, 360)) == square_around(None, (640, 360), margin=1)


def test_the_square_stays_in_the_picture_and_begins_at_even_pixels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        width, height = (int(side) for side in rng.integers(16, 2000, 2))
        x0, x1, y0, y1 = (*np.sort(rng.random(2)), *np.sort(rng.random(2)))
        box = np.array(square_around((x0, y0, x1, y1), (width, height), margin=1.3)) * (width, height, width, height)
        left, top, right, bottom = box.round().astype(int)
        assert np.allclose(box, box.round()) and 0 <= left < right <= width and 0 <= top < bottom <= height
        assert left % 2 == top % 2 == 0 and right - left == bottom - top


def test_every_command_keeps_the_boxes(data: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.zarr", tmp_path / "two.zarr"
    first = boxes(built(data, one, "--signer", "REAL01", "--signer", "REAL02"))
    both = boxes(built(data, one))
    assert len(both) == 16 and first.items() < both.items(), "an update keeps them, and adds others"
    built(data, two, "--signer", "REAL17", "--clip-pool", str(tmp_path / "pool"))
    pooled = built(data, tmp_path / "pooled.zarr", "--signer", "REAL17", "--clip-pool", str(tmp_path / "pool"))
    assert boxes(pooled).items() < both.items()
    commands = (
        ("merge", two, one, "--out", tmp_path / "merged.zarr"),
        ("forget", one, "--signer", "REAL02", "--yes"),
        ("compact", tmp_path / "merged.zarr"),
        ("push", one, tmp_path / "team" / "one.zarr"),
        ("pull", tmp_path / "team" / "one.zarr", tmp_path / "part.zarr", "--split", "val"),
        ("verify", tmp_path / "merged.zarr"),
        ("verify", one),
    )
    for command in commands:
        code, _, errors = run_command(*map(str, command))
        assert code == 0, (command, errors)
    for name, count in (("merged", 16), ("one", 12), ("part", None)):
        kept = boxes(open_cache(tmp_path / f"{name}.zarr").index.to_pylist())
        assert kept.items() <= both.items() and len(kept) == (count or len(kept)) > 0


def test_other_caches_are_written_without_boxes(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    code, _, errors = run_command("build-cache", "--data-root", str(data), "--out", str(out), *BUILD, "--crop", "full")
    assert code == 0, errors
    assert "crop_box" not in pq.read_schema(out / "index.parquet").names
    assert open_cache(out).index["crop_box"].null_count == 16
    assert json.loads((out / "zarr.json").read_text())["attributes"]["signprep"]["clip_spec"]["crop"] == "full"
