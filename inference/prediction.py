"""Predictions for windows of a video, and the JSON that they become."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signprep.inference.options import WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.videos.find import Video
from signprep.inference.videos.window_predictions import Probabilities, VideoAnswers, answer_videos
from signprep.pipeline.clips import Span
from signprep.pipeline.errors import DecodeError


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One gloss and its probability."""

    label: int
    gloss: str
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "predicted_class_idx": self.label,
            "predicted_class_name": self.gloss,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer for one window of one video."""

    video_path: str
    start_seconds: float
    end_seconds: float
    choices: tuple[Choice, ...]
    """The most probable first; one unless more were asked for."""
    clip_duration: float
    """The window's length that was asked for, in seconds."""
    probabilities: dict[str, float] | None = None
    """Of every gloss, where asked for."""
    segment_id: str | None = None
    """Of the clip, where it is one of a cache."""

    @property
    def label(self) -> int:
        """Of the most probable gloss."""
        return self.choices[0].label

    @property
    def gloss(self) -> str:
        """The most probable one."""
        return self.choices[0].gloss

    @property
    def confidence(self) -> float:
        """Probability of `gloss`, 0 to 1."""
        return self.choices[0].confidence

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, by the names that the seed's users know."""
        document: dict[str, Any] = {
            "video_path": self.video_path,
            "start_time": self.start_seconds,
            "end_time": self.end_seconds,
            **self.choices[0].to_dict(),
            "clip_duration": self.clip_duration,
        }
        if self.segment_id is not None:
            document["segment_id"] = self.segment_id
        if len(self.choices) > 1:
            document["top_k"] = [choice.to_dict() for choice in self.choices]
        if self.probabilities is not None:
            document["probabilities"] = self.probabilities
        return document


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of a window's probabilities."""

    choices: tuple[Choice, ...]
    probabilities: Probabilities | None
    """float32 [classes]."""


def keeper(recognizer: Recognizer, *, top_k: int = 1, probabilities: bool = False) -> Callable[[Probabilities], Kept]:
    """Return what keeps the `top_k` most probable glosses, and all probabilities if asked for."""
    glosses = recognizer.card.vocabulary.glosses

    def keep(row: Probabilities) -> Kept:
        best = sorted(range(len(row)), key=lambda label: -row[label])[:top_k] if top_k > 1 else [int(row.argmax())]
        choices = tuple(Choice(label=label, gloss=glosses[label], confidence=float(row[label])) for label in best)
        return Kept(choices=choices, probabilities=row.copy() if probabilities else None)

    return keep


def predictions_of(
    recognizer: Recognizer, found: VideoAnswers[Kept], options: WindowOptions, *, with_probabilities: bool
) -> list[Prediction]:
    """Return the predictions for the answered windows of a video, in their order."""
    return [
        prediction(
            recognizer,
            found.video.path,
            answer.span,
            answer.kept,
            clip_duration=options.clip_duration,
            with_probabilities=with_probabilities,
        )
        for answer in found.answers
    ]


def prediction(
    recognizer: Recognizer, path: str, span: Span, kept: Kept, *, clip_duration: float, with_probabilities: bool
) -> Prediction:
    """Return one prediction from what was kept."""
    probabilities = None
    if with_probabilities and kept.probabilities is not None:
        probabilities = dict(zip(recognizer.card.vocabulary.glosses, kept.probabilities.tolist(), strict=True))
    return Prediction(
        video_path=path,
        start_seconds=span.start_seconds,
        end_seconds=span.end_seconds,
        choices=kept.choices,
        clip_duration=clip_duration,
        probabilities=probabilities,
    )


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
    options = WindowOptions(start_seconds=start_seconds, clip_duration=clip_duration)
    [found] = _predictions(recognizer, video, options, 1, return_probabilities)
    return found


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
    """Return the predictions for all windows of a video, in their order.

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
    options = WindowOptions(start_seconds=start_seconds, clip_duration=clip_duration, stride=stride)
    return _predictions(recognizer, video, options, batch_size, return_probabilities)


def _predictions(
    recognizer: Recognizer, path: Path, options: WindowOptions, batch_size: int, with_probabilities: bool
) -> list[Prediction]:
    video = Video.at(path)
    keep = keeper(recognizer, probabilities=with_probabilities)
    [found] = answer_videos(recognizer, [video], options, keep, batch_size=batch_size)
    if found.unanswered:
        raise DecodeError(found.unanswered[0].reason)
    return predictions_of(recognizer, found, options, with_probabilities=with_probabilities)
