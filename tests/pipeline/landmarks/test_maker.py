"""Clips of landmarks out of videos: found in the clip's own frames, in the coordinates of its pixels."""

import dataclasses
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.datasets.synthetic.dataset import render_dataset
from signprep.pipeline.landmarks import maker
from signprep.pipeline.landmarks.maker import FollowedLandmarks, makes_clips
from signprep.pipeline.landmarks.mediapipe.extract import LandmarkExtractor
from signprep.pipeline.landmarks.points import PARTS
from signprep.pipeline.options import SampleSpec
from signprep.pipeline.video.pyav_reader import VideoReader, open_video
from tests.generated_videos import write_video
from tests.mutations.command import run_command

SPEC = ClipSpec(num_frames=4, landmarks="mediapipe")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample") / "수어"
    render_dataset(SampleSpec(words=2, signers=3, frame_size=(640, 360), keypoints=True), root, workers=1)
    return root


def cut(video: Path, *spans: Span, spec: ClipSpec = SPEC) -> list[np.ndarray]:
    found = extract_clips(video, spans, spec, make=makes_clips(spec))
    clips = [clip for clip in found if isinstance(clip, Clip)]
    assert len(clips) == len(spans), found
    return [clip.frames for clip in clips]


def num_orange(path: Path) -> list[int]:
    """Return how many pixels of each picture have the colour in which left hands are drawn."""
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    return [int((np.abs(one - (255, 150, 60)).max(axis=-1) < 40).sum()) for one in pictures]


def test_points_are_near_the_true_keypoints(extractor: LandmarkExtractor, data: Path, tmp_path: Path) -> None:
    caches = []
    for origin, size in (("mediapipe", "1920x1080"), ("aihub", "640x360")):
        out = tmp_path / f"{origin}.zarr"
        build = ["build-cache", "--data-root", str(data), "--out", str(out), "--num-frames", "4", "--workers", "1"]
        code, _, errors = run_command(*build, "--landmarks", origin, "--keypoint-size", size)
        assert code == 0, errors
        caches.append(open_cache(out))
    found, true = caches
    places = {name: place for place, name in enumerate(true.index["segment_id"].to_pylist())}
    for position, name in enumerate(found.index["segment_id"].to_pylist()):
        one, other = found.read([position])[0].astype(float), true.read([places[name]])[0].astype(float)
        distance = np.abs(one[..., :2] - other[..., :2])
        assert np.nanmedian(distance[:, :11]) < 0.02 and np.nanmedian(distance[:, 13:55]) < 0.03
        seconds = [found.index["sampled_seconds"][position], true.index["sampled_seconds"][places[name]]]
        assert seconds[0].as_py() == pytest.approx(seconds[1].as_py())


def test_a_clip_is_the_same_whatever_else_is_cut(extractor: LandmarkExtractor, data: Path) -> None:
    video = sorted((data / "video").iterdir())[0]
    alone = cut(video, Span(1.2, 2.0))
    among = cut(video, Span(1.0, 2.2), Span(1.2, 2.0), Span(1.21, 2.01))
    assert np.array_equal(alone[0], among[1], equal_nan=True)


def test_points_that_are_followed_through_a_video_are_near_those_of_each_clip(
    extractor: LandmarkExtractor, data: Path
) -> None:
    video = sorted((data / "video").iterdir())[0]
    spans = [Span(1.0, 1.4), Span(1.1, 1.5), Span(1.2, 1.6)]
    followed = extract_clips(video, spans, SPEC, make=FollowedLandmarks())
    for alone, clip in zip(cut(video, *spans), followed, strict=True):
        assert isinstance(clip, Clip) and clip.frames.dtype == alone.dtype and clip.frames.shape == alone.shape
        distance = np.abs(clip.frames.astype(float) - alone.astype(float))[..., :2]
        assert np.nanmedian(distance[:, :11]) < 0.005 and np.nanmedian(distance) < 0.01


def test_points_lie_over_the_pixels_of_every_crop(extractor: LandmarkExtractor, data: Path) -> None:
    video = sorted((data / "video").iterdir())[0]
    [centre] = cut(video, Span(1.2, 2.0))
    [full] = cut(video, Span(1.2, 2.0), spec=dataclasses.replace(SPEC, crop="full"))
    # The square in the middle of 640 x 360 is 360 wide, from 140 on; the whole frame is centred between bars.
    expected = centre.astype(float)
    expected[..., 0] = (expected[..., 0] * 360 + 140) / 640
    expected[..., 1] = (expected[..., 1] * 360 + 140) / 640
    assert np.nanmax(np.abs(expected - full.astype(float))) < 2e-3


def test_nobody_is_no_error(extractor: LandmarkExtractor, tmp_path: Path) -> None:
    [clip] = cut(write_video(tmp_path / "nobody.mp4", 30), Span(0.0, 1.0))
    assert np.isnan(clip[..., :2]).all() and not clip[..., 2].any()


def test_a_checkpoint_of_landmarks_answers_about_videos_as_about_the_cache(
    extractor: LandmarkExtractor, data: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "a.zarr")
    options = ["--landmarks", "mediapipe", "--num-frames", "4", "--workers", "1"]
    assert run_command("build-cache", "--data-root", str(data), "--out", out, *options)[0] == 0
    train = ["train", out, "--num-frames", "4", "--epochs", "1", "--output-dir", str(tmp_path)]
    assert run_command(*train)[0] == 0
    checkpoint = tmp_path / "sign_language_classification" / "checkpoints" / "best.ckpt"
    recognizer, cache = load_checkpoint(checkpoint), open_cache(out)
    row = cache.index.to_pylist()[0]
    clips = cut(data / row["video"], Span(row["start_seconds"], row["end_seconds"]))
    stored = recognizer.probabilities([cache.read([0])[0]])
    assert np.abs(recognizer.probabilities(clips) - stored).max() < 1e-5
    window = ["--clip-duration", "0.8", "--stride", "0.8"]
    video = str(data / row["video"])
    # Without a sign no font is needed.
    window += ["--timeline", "--min-confidence", "1", "--render", str(tmp_path / "drawn.mp4")]
    code, answer, errors = run_command("infer", video, "--checkpoint", str(checkpoint), *window)
    assert code == 0 and "predicted_class_name" in answer, errors
    orange = num_orange(tmp_path / "drawn.mp4")
    assert max(num_orange(Path(video))) == 0 and np.mean(np.array(orange) > 20) > 0.8


def test_one_decoding_gives_both_caches(extractor: LandmarkExtractor, data: Path, tmp_path: Path) -> None:
    build = ["build-cache", "--data-root", str(data), "--num-frames", "4", "--size", "64", "--workers", "1", "--out"]
    assert run_command(*build, str(tmp_path / "p.zarr"))[0] == 0
    assert run_command(*build, str(tmp_path / "l.zarr"), "--landmarks", "mediapipe")[0] == 0
    both = run_command(*build, str(tmp_path / "p2.zarr"), "--also-landmarks", str(tmp_path / "l2.zarr"))
    assert both[0] == 0, both
    for one, other in (("p", "p2"), ("l", "l2")):
        assert open_cache(tmp_path / f"{one}.zarr").fingerprint == open_cache(tmp_path / f"{other}.zarr").fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["l.zarr", "l2.zarr", "p.zarr", "p2.zarr"]
    code, _, errors = run_command(*build, str(tmp_path / "x"), "--also-landmarks", "y", "--landmarks", "aihub")
    assert code == 2 and "--also-landmarks goes with a cache of pixels" in errors


def test_while_both_caches_are_built_no_video_is_opened_twice(
    extractor: LandmarkExtractor, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def noted(source: Any, *, name: str | None = None, **options: Any) -> VideoReader:
        opened.append(name)
        return open_video(source, name=name, **options)

    monkeypatch.setattr("signprep.pipeline.clips.open_video", noted)
    build = ["build-cache", "--data-root", str(data), "--num-frames", "4", "--size", "64", "--workers", "1"]
    assert run_command(*build, "--out", str(tmp_path / "p"), "--also-landmarks", str(tmp_path / "l"))[0] == 0
    assert len(opened) == len(set(opened)) == 6


def test_without_models_a_build_says_so_before_it_begins(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNPREP_LANDMARK_MODELS", str(tmp_path / "none"))
    monkeypatch.setattr(maker, "require_packages", lambda: None)
    out = tmp_path / "a.zarr"
    code, _, errors = run_command(
        "build-cache", "--data-root", str(data), "--out", str(out), "--landmarks", "mediapipe"
    )
    assert code == 1 and "signprep landmarks --fetch" in errors and not out.exists()


def test_a_spec_of_landmarks_asks_for_its_maker(data: Path) -> None:
    video = sorted((data / "video").iterdir())[0]
    with pytest.raises(ValueError, match="need a maker"):
        extract_clips(video, [Span(0.0, 1.0)], SPEC)


def test_hands_are_seen_where_they_sign(extractor: LandmarkExtractor, data: Path) -> None:
    [clip] = cut(sorted((data / "video").iterdir())[0], Span(1.2, 2.0))
    assert max((clip[:, PARTS[hand], 2] > 0.5).mean() for hand in ("left_hand", "right_hand")) > 0.5


def test_the_models_are_named_in_the_provenance(extractor: LandmarkExtractor, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.zarr"
    options = ["--landmarks", "mediapipe", "--num-frames", "2", "--workers", "1", "--signer", "REAL17"]
    assert run_command("build-cache", "--data-root", str(data), "--out", str(out), *options)[0] == 0
    assert "ai-edge-litert" in open_cache(out).info.provenance["versions"]
