import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from signprep.inference.prediction import predict_window, predict_windows
from signprep.inference.recognizer import Recognizer, load_checkpoint
from signprep.inference.videos import window_predictions
from signprep.inference.videos.windows import windows
from signprep.pipeline.cli import cli
from signprep.pipeline.clips import Span
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.video.pyav_reader import PyAVReader
from tests.generated_videos import write_video

SECONDS = st.integers(1, 4000).map(lambda centiseconds: centiseconds / 100)


@pytest.fixture(scope="module")
def recognizer(checkpoint: Path) -> Recognizer:
    return load_checkpoint(checkpoint)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2.3 s: no multiple of anything below."""
    return write_video(tmp_path_factory.mktemp("long") / "긴 영상.mp4", 69)


@pytest.mark.parametrize(
    ("duration", "clip_duration", "stride", "expected"),
    [
        (3.5, 2.0, 1.0, [(0, 2), (1, 3), (2, 3.5)]),
        (5.0, 2.0, 1.0, [(0, 2), (1, 3), (2, 4), (3, 5)]),
        (5.0005, 2.0, 1.0, [(0, 2), (1, 3), (2, 4), (3, 5)]),  # containers round to milliseconds
        (4.9995, 2.0, 1.0, [(0, 2), (1, 3), (2, 4), (3, 5)]),
        (2.0, 2.0, 1.0, [(0, 2)]),
        (7.0, 2.0, 5.0, [(0, 2), (5, 7)]),
        (10.0, 2.0, 5.0, [(0, 2), (5, 7)]),
        (11.0, 2.0, 5.0, [(0, 2), (5, 7), (10, 11)]),
        (0.45, 0.2, 0.1, [(0, 0.2), (0.1, 0.3), (0.2, 0.4), (0.3, 0.45)]),  # 0.3 is not 0.30000000000000004
        (3.0, 2.0, float("inf"), [(0, 2)]),
    ],
)
def test_windows(duration: float, clip_duration: float, stride: float, expected: list[tuple[float, float]]) -> None:
    assert windows(duration, clip_duration, stride) == [Span(*window) for window in expected]


def test_the_first_window_may_start_later() -> None:
    assert windows(4.0, 1.0, 1.0, start_seconds=1.7) == [Span(1.7, 2.7), Span(2.7, 3.7), Span(3.7, 4.0)]


@given(duration=SECONDS, clip_duration=SECONDS, stride=SECONDS)
def test_windows_show_everything_that_their_stride_lets_them(
    duration: float, clip_duration: float, stride: float
) -> None:
    found = windows(duration, clip_duration, stride)
    assert [span.start_seconds for span in found] == pytest.approx([k * stride for k in range(len(found))])
    for span in found[:-1]:
        assert span.end_seconds - span.start_seconds == pytest.approx(clip_duration)
        assert span.end_seconds < duration
    assert found[-1].end_seconds == pytest.approx(min(duration, found[-1].start_seconds + clip_duration))
    next_start = len(found) * stride
    assert (
        found[-1].end_seconds == pytest.approx(duration)
        or next_start == pytest.approx(duration, abs=1e-3)
        or (next_start > duration)
    )


def infer(checkpoint: Path, video: Path, *more: object) -> Result:
    arguments = ["--checkpoint", checkpoint, "--video_path", video, "--clip_duration", 1.0, *more]
    return CliRunner().invoke(cli, ["infer", *map(str, arguments)])


def test_multiple_clips_are_a_list_of_what_one_clip_gives(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    more = ["--multiple_clips", "--stride", 0.5, "--return_probabilities", "--output_path", out]
    result = infer(checkpoint, video, *more)
    assert result.exit_code == 0, result.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert [(entry["start_time"], entry["end_time"]) for entry in found] == [
        (0.0, 1.0),
        (0.5, 1.5),
        (1.0, 2.0),
        (1.5, 2.3),
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
    for entry in found[:-1]:
        single = json.loads(
            infer(checkpoint, video, "--start-time", entry["start_time"], "--return-probabilities").stdout
        )
        assert list(entry) == list(single)
        assert entry.pop("probabilities") == pytest.approx(single.pop("probabilities"), abs=1e-5)
        assert entry.pop("confidence") == pytest.approx(single.pop("confidence"), abs=1e-5)
        assert entry == single


def test_every_frame_is_decoded_once_and_batches_change_no_answer(
    recognizer: Recognizer, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[PyAVReader] = []
    batches: list[int] = []
    probabilities = Recognizer.probabilities

    def recorded(*arguments: object, **options: object) -> PyAVReader:
        readers.append(PyAVReader(*arguments, **options))  # type: ignore[arg-type]
        return readers[-1]

    def counted_batch(self: Recognizer, clips: list[np.ndarray]) -> np.ndarray:
        batches.append(len(clips))
        return probabilities(self, clips)

    monkeypatch.setattr(window_predictions, "open_video", recorded)
    monkeypatch.setattr(Recognizer, "probabilities", counted_batch)
    options = {"clip_duration": 0.5, "stride": 0.1}
    whole = predict_windows(recognizer, video, batch_size=8, **options)
    assert batches == [8, 8, 3] and len(whole) == 19
    assert len(readers) == 1
    assert readers[0].counts.frames_decoded + readers[0].counts.packets_unwanted <= 69
    one_by_one = predict_windows(recognizer, video, batch_size=1, **options)
    for one, other in zip(whole, one_by_one, strict=True):
        assert (one.start_seconds, one.end_seconds) == (other.start_seconds, other.end_seconds)
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_a_video_shorter_than_a_window_is_the_same_error_as_for_one_clip(recognizer: Recognizer, video: Path) -> None:
    with pytest.raises(DecodeError) as single:
        predict_window(recognizer, video, clip_duration=4.0)
    with pytest.raises(DecodeError) as several:
        predict_windows(recognizer, video, clip_duration=4.0)
    assert "lasts 2.300 s, too short for a clip of 4.000 s" in str(single.value)
    assert str(several.value) == str(single.value)


def test_a_stride_must_be_positive(checkpoint: Path, video: Path) -> None:
    result = infer(checkpoint, video, "--multiple-clips", "--stride", 0)
    assert result.exit_code == 2 and "--stride" in result.output


def test_an_output_that_cannot_be_written_is_found_before_the_work(video: Path, tmp_path: Path) -> None:
    result = infer(tmp_path / "gone.ckpt", video, "--output-path", tmp_path / "missing" / "result.json")
    assert isinstance(result.exception, SignprepError) and "cannot be written" in str(result.exception)
    result = infer(tmp_path / "gone.ckpt", video, "--output-path", tmp_path / "result.json")
    assert isinstance(result.exception, SignprepError) and "no such checkpoint" in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_no_regular_file_is_written_to(checkpoint: Path, video: Path) -> None:
    result = infer(checkpoint, video, "--output-path", "/dev/null")
    assert result.exit_code == 0
    assert not Path("/dev/null").is_file()
