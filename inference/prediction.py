"""Predictions for windows of a video, and the JSON that they become."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signprep.inference.checkpoint import Recognizer
from signprep.pipeline.clips import Span, read_clips
from signprep.pipeline.decode import open_video
from signprep.pipeline.errors import DecodeError

DURATION_SLACK_SECONDS = 1e-3
"""A video of 1.9999 s is not shorter than a clip of 2 s: containers round to milliseconds."""


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
    span = Span(start_seconds, start_seconds + clip_duration)
    with open_video(video) as reader:
        if not reader.ends_after(span.end_seconds):
            duration = reader.duration_seconds
            if duration < span.end_seconds - DURATION_SLACK_SECONDS:
                raise DecodeError(
                    f"{video}: lasts {duration:.3f} s, too short for a clip of {clip_duration:.3f} s from "
                    f"{start_seconds:.3f} s; choose a smaller --clip-duration or --start-time"
                )
        [clip] = read_clips(reader, [span], recognizer.card.clip_spec)
    if isinstance(clip, DecodeError):
        raise clip
    [probabilities] = recognizer.probabilities([clip.frames])
    return _prediction(recognizer, video, span, clip_duration, probabilities, return_probabilities)


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
