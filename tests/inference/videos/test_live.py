"""Landmarks that are followed through a video or a stream: each frame is looked at once, by windows as of `infer`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from av import VideoFrame

from signprep.inference.open_model import open_models
from signprep.inference.options import InferOptions, WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.videos.live import LiveAnswer, LiveRecognizer
from signprep.inference.videos.results import Prediction
from signprep.inference.videos.window_predictions import Video, predict_videos
from signprep.pipeline.landmarks import maker
from signprep.pipeline.video.frame_times import MissingFrame
from signprep.pipeline.video.pyav_reader import open_video
from tests.generated_videos import write_video

WINDOW, STRIDE = 0.4, 0.1


class Looks:
    """In place of MediaPipe's models: notes each look at a picture, and makes landmarks of how bright it is."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def follow(self, picture: np.ndarray, track: object) -> np.ndarray:
        del track
        self.seen.append(int(picture.astype(np.int64).sum()))
        x, y = picture[:, ::2].mean() / 255, picture[::2].mean() / 255
        spread = np.linspace(0.1, 1, 75)
        return np.stack([x * spread, y * spread[::-1], np.ones(75)], axis=1).astype(np.float32)

    def __call__(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([self.follow(picture, None) for picture in pictures])


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    found = Looks()
    monkeypatch.setattr(maker, "_extractor", lambda: found)
    return found


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("live") / "수어 영상.mp4", 45)


@pytest.fixture(scope="module")
def both(pixel_checkpoint: Path, landmark_checkpoint: Path) -> Recognizer:
    return open_models([pixel_checkpoint, landmark_checkpoint], weights=(1, 2))


def predicted(recognizer: Recognizer, video: Path, tracking: str) -> list[Prediction]:
    windows = WindowOptions(clip_duration=WINDOW, stride=STRIDE, landmark_tracking=tracking)
    options = InferOptions(windows=windows, batch_size=3, with_probabilities=True)
    [found] = predict_videos(recognizer, [Video.at(video)], options)
    assert not found.missing
    return found.predictions


def frames_of(video: Path) -> list[tuple[VideoFrame, float]]:
    with open_video(video) as reader:
        shown = reader.answers_at((np.arange(45) + 0.5) / 30)
        return [(one.frame, one.timestamp_seconds) for one in shown if not isinstance(one, MissingFrame)]


def test_a_video_that_is_followed_has_each_frame_looked_at_once(
    both: Recognizer, video: Path, looks: Looks, landmark_checkpoint: Path
) -> None:
    num_windows = len(predicted(both, video, "video"))
    assert num_windows == 12
    once = looks.seen.copy()
    assert len(once) == len(set(once)) <= 45
    looks.seen.clear()
    predicted(both, video, "clip")
    assert len(looks.seen) == 8 * num_windows and set(looks.seen) == set(once)
    looks.seen.clear()
    predicted(open_models([landmark_checkpoint] * 2), video, "video")
    assert looks.seen == once


def test_where_the_models_answer_as_without_tracking_so_does_every_window(
    both: Recognizer, video: Path, looks: Looks
) -> None:
    alone, followed = predicted(both, video, "clip"), predicted(both, video, "video")
    assert len({one.confidence for one in alone}) > 1
    assert [one.to_dict() for one in alone] == [one.to_dict() for one in followed]


@pytest.mark.parametrize(("tracking", "in_rgb"), [("video", False), ("video", True), ("clip", False)])
def test_a_stream_is_answered_as_the_video_of_its_frames(
    tracking: str, in_rgb: bool, both: Recognizer, video: Path, looks: Looks
) -> None:
    expected = predicted(both, video, tracking)
    looked = looks.seen.copy()
    looks.seen.clear()
    live = LiveRecognizer(both, clip_duration=WINDOW, stride=STRIDE, landmark_tracking=tracking)
    found: list[LiveAnswer] = []
    frames = frames_of(video)
    for frame, seconds in [*frames, (frames[-1][0], 1.5)]:
        new = live.add(frame.to_ndarray(format="rgb24") if in_rgb else frame, seconds)
        assert all(seconds - 1 / 20 < one.span.end_seconds < seconds + 1 / 20 for one in new)
        found += new
    assert [tuple(one.span) for one in found] == [(one.start_seconds, one.end_seconds) for one in expected]
    assert [one.gloss for one in found] == [one.gloss for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert dict(zip(both.glosses, one.probabilities, strict=True)) == pytest.approx(
            other.probabilities,
            abs=1e-2 if in_rgb else 1e-6,  # colours are converted twice
        )
        assert one.confidence == max(one.probabilities)
    assert len(looks.seen) == len(looked)


def test_frames_that_are_left_out_leave_windows_as_they_are(both: Recognizer, looks: Looks) -> None:
    live = LiveRecognizer(both, clip_duration=WINDOW, stride=STRIDE)
    times = [100 + number / 30 for number in range(60) if number % 7 not in (1, 2, 3, 4)]
    picture = np.full((48, 64, 3), 90, np.uint8)
    spans = [one.span for seconds in times for one in live.add(picture, seconds)]
    assert [span.start_seconds for span in spans] == pytest.approx(np.arange(100, 101.5, 0.1).tolist())
    assert all(span.end_seconds - span.start_seconds == pytest.approx(WINDOW) for span in spans)
    assert len(looks.seen) < len(times)


def test_after_a_gap_longer_than_a_window_the_stream_begins_anew(both: Recognizer, looks: Looks) -> None:
    live = LiveRecognizer(both, clip_duration=WINDOW, stride=STRIDE)
    picture = np.full((48, 64, 3), 90, np.uint8)

    def spans(first: float) -> list[float]:
        return [one.span.start_seconds for k in range(15) for one in live.add(picture, first + k / 30)]

    assert spans(0.0) == [0.0] and spans(86400.0) == [86400.0]


def test_what_is_no_next_frame_is_refused(both: Recognizer, looks: Looks) -> None:
    live = LiveRecognizer(both)
    picture = np.zeros((8, 8, 3), np.uint8)
    live.add(picture, 1.0)
    for seconds in (1.0, 0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"expected ascending times"):
            live.add(picture, seconds)
    for other in (picture[..., 0], picture.astype(np.float32), picture[:0], "frame.png"):
        with pytest.raises(ValueError, match=r"expected RGB, uint8 \[H, W, 3\]"):
            live.add(other, 2.0)  # type: ignore[arg-type]
    for options in ({"stride": 0.0}, {"clip_duration": -1.0}, {"landmark_tracking": "frame"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            LiveRecognizer(both, **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="recognizer"):
        LiveRecognizer("best.ckpt")  # type: ignore[arg-type]


def test_the_stream_keeps_only_what_begun_windows_need(both: Recognizer, looks: Looks) -> None:
    live = LiveRecognizer(both, clip_duration=WINDOW, stride=STRIDE)
    picture = np.full((48, 64, 3), 90, np.uint8)
    kept = []
    for number in range(90):
        live.add(picture, number / 30)
        kept.append(len(live._windows))
    assert max(kept) <= WINDOW / STRIDE + 1
