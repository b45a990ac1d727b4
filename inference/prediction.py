"""Predictions for windows of a video, and the JSON that they become."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signprep.inference.checkpoint import Recognizer
from signprep.pipeline.clips import Clip, Span, read_clips
from signprep.pipeline.decode import VideoReader, open_video
from signprep.pipeline.errors import DecodeError

DURATION_SLACK_SECONDS = 1e-3
"""A video of 1.9999 s is not shorter than a clip of 2 s: containers round to milliseconds."""

MAX_CLIP_BYTES = 1 << 30
"""Of clips in memory at a time: eleven minutes of video for a default cache's clips, one a second."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one window of one video."""

    video_path: str
    start_seconds: float
    end_seconds: float
    label: int
    gloss: str
    confidence: float
    """Probability of `gloss`, 0 to 1."""
    clip_duration: float
    """The window's length that was asked for, in seconds."""
    probabilities: dict[str, float] | None = None
    """Of every gloss, where asked for."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, by the names that the seed's users know."""
        document: dict[str, Any] = {
            "video_path": self.video_path,
            "start_time": self.start_seconds,
            "end_time": self.end_seconds,
            "predicted_class_idx": self.label,
            "predicted_class_name": self.gloss,
            "confidence": self.confidence,
            "clip_duration": self.clip_duration,
        }
        if self.probabilities is not None:
            document["probabilities"] = self.probabilities
        return document


def windows(duration: float, clip_duration: float, stride: float, *, start_seconds: float = 0.0) -> list[Span]:
    """Return the windows of a video: one every `stride` seconds, up to the first that reaches the end.

    That last one ends where the video ends. A window that shows nothing new is none: after (3.0, 5.0) of a video of
    5 s, (4.0, 5.0) is left out.

    Args:
        duration: of the video, in seconds.
        clip_duration: of a window, in seconds.
        stride: from one window's start to the next one's, in seconds, > 0.
        start_seconds: of the first window.

    >>> [(span.start_seconds, span.end_seconds) for span in windows(3.5, 2.0, 1.0)]
    [(0.0, 2.0), (1.0, 3.0), (2.0, 3.5)]
    """
    found: list[Span] = []
    while True:
        start = _rounded(start_seconds + len(found) * stride) if found else start_seconds
        if not start < duration - DURATION_SLACK_SECONDS:
            return found
        end = _rounded(start + clip_duration)
        whole = end <= duration + DURATION_SLACK_SECONDS
        found.append(Span(start, end if whole else _rounded(duration)))
        if end >= duration - DURATION_SLACK_SECONDS:
            return found


def _rounded(seconds: float) -> float:
    """Return whole nanoseconds, so that 3 * 0.1 is 0.3."""
    return round(seconds, 9)


def predict_window(
    recognizer: Recognizer,
    video: Path,
    *,
    start_seconds: float = 0.0,
    clip_duration: float = 2.0,
    return_probabilities: bool = False,
) -> Prediction:
    """Return the prediction for [start_seconds, start_seconds + clip_duration) of a video.

    Raises:
        DecodeError: the video does not open, is shorter than that, or is damaged there.
    """
    span = Span(start_seconds, _rounded(start_seconds + clip_duration))
    with open_video(video) as reader:
        _require_long_enough(reader, span)
        [(span, probabilities)] = _answers(recognizer, reader, [span], batch_size=1)
    return _prediction(recognizer, video, span, clip_duration, probabilities, return_probabilities)


def predict_windows(
    recognizer: Recognizer,
    video: Path,
    *,
    start_seconds: float = 0.0,
    clip_duration: float = 2.0,
    stride: float = 1.0,
    batch_size: int = 8,
    return_probabilities: bool = False,
) -> list[Prediction]:
    """Return the predictions for all `windows` of a video, in their order.

    Args:
        recognizer: an opened checkpoint.
        video: its path.
        start_seconds: of the first window.
        clip_duration: of a window, in seconds.
        stride: from one window's start to the next one's, in seconds.
        batch_size: windows that go through the model together.
        return_probabilities: whether predictions hold the probability of every gloss.

    Raises:
        DecodeError: the video does not open, is shorter than one window, or is damaged.
    """
    with open_video(video) as reader:
        _require_long_enough(reader, Span(start_seconds, _rounded(start_seconds + clip_duration)))
        spans = windows(reader.duration_seconds, clip_duration, stride, start_seconds=start_seconds)
        return [
            _prediction(recognizer, video, span, clip_duration, probabilities, return_probabilities)
            for span, probabilities in _answers(recognizer, reader, spans, batch_size=batch_size)
        ]


def _require_long_enough(reader: VideoReader, span: Span) -> None:
    if reader.ends_after(span.end_seconds):
        return
    duration = reader.duration_seconds
    if duration < span.end_seconds - DURATION_SLACK_SECONDS:
        raise DecodeError(
            f"{reader.name}: lasts {duration:.3f} s, too short for a clip of "
            f"{span.end_seconds - span.start_seconds:.3f} s from {span.start_seconds:.3f} s; choose a smaller "
            "--clip-duration or --start-time"
        )


def _answers(
    recognizer: Recognizer, reader: VideoReader, spans: Sequence[Span], *, batch_size: int
) -> Iterator[tuple[Span, NDArray[np.float32]]]:
    """Yield each span with its class probabilities, float32 [classes].

    Clips are cut and answered in groups of at most `MAX_CLIP_BYTES`. One pass over the video gives all clips of a
    group, so only a video of more than one group is read more than once.
    """
    spec = recognizer.card.clip_spec
    group_size = max(batch_size, MAX_CLIP_BYTES // math.prod(spec.clip_shape))
    for start in range(0, len(spans), group_size):
        group = spans[start : start + group_size]
        clips = read_clips(reader, group, spec)
        for first in range(0, len(group), batch_size):
            batch = [_frames(clip) for clip in clips[first : first + batch_size]]
            yield from zip(group[first : first + batch_size], recognizer.probabilities(batch), strict=True)


def _frames(clip: Clip | DecodeError) -> NDArray[np.uint8]:
    if isinstance(clip, DecodeError):
        raise clip
    return clip.frames


def _prediction(
    recognizer: Recognizer,
    video: Path,
    span: Span,
    clip_duration: float,
    probabilities: NDArray[np.float32],
    return_probabilities: bool,
) -> Prediction:
    label = int(probabilities.argmax())
    glosses = recognizer.card.vocabulary.glosses
    return Prediction(
        video_path=str(video),
        start_seconds=span.start_seconds,
        end_seconds=span.end_seconds,
        label=label,
        gloss=glosses[label],
        confidence=float(probabilities[label]),
        clip_duration=clip_duration,
        probabilities=dict(zip(glosses, probabilities.tolist(), strict=True)) if return_probabilities else None,
    )
