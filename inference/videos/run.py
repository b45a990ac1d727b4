"""The command `infer` on videos: a document for each, and the files that are made of a single video's timeline."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from signprep.inference.options import InferOptions, Outputs, TimelineOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.timeline.segments import TimelineSegment, timeline
from signprep.inference.videos.find import Video
from signprep.inference.videos.window_predictions import VideoPredictions, predict_videos
from signprep.pipeline.clips import Span
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import counted


@dataclass(kw_only=True)
class Outcome:
    """Counts and problems of a run, for the exit code and the lines on stderr."""

    num_videos: int = 0
    num_answers: int = 0
    """Windows that have a prediction."""
    num_signs: int = 0
    """Signs in all timelines."""
    problems: list[str] = field(default_factory=list)
    """Why windows, or whole videos, have no prediction."""
    notes: list[str] = field(default_factory=list)
    """Why timelines are empty."""


def video_documents(
    recognizer: Recognizer, videos: Sequence[Video], options: InferOptions, outcome: Outcome
) -> Iterator[Any]:
    """Yield a document a video, with progress on stderr where there are several.

    Raises:
        DecodeError: there is one video, and not one of its windows has a prediction.
    """
    results = predict_videos(recognizer, videos, options)
    if len(videos) == 1:
        [found] = results
        if not found.predictions and found.missing:
            raise DecodeError(found.missing[0].reason)
        yield _document(recognizer.glosses, found, options, outcome)
        return
    with progress_bar("Answering", len(videos), "videos") as progress:
        for number, found in enumerate(results, start=1):
            yield _document(recognizer.glosses, found, options, outcome)
            progress(number)


def _document(glosses: Sequence[str], found: VideoPredictions, options: InferOptions, outcome: Outcome) -> Any:
    clips = [prediction.to_dict() for prediction in found.predictions]
    outcome.num_videos += 1
    outcome.num_answers += len(clips)
    outcome.problems += [window.reason for window in found.missing]
    errors = [
        ({"start_time": window.span[0], "end_time": window.span[1]} if window.span else {}) | {"error": window.reason}
        for window in found.missing
    ]
    if not errors and options.timeline is None:
        return clips if options.windows.stride is not None else clips[0]
    document: dict[str, Any] = {"video_path": found.video.path, "clips": clips}
    if options.timeline is not None:
        segments = video_timeline(glosses, found, options.timeline)
        document["timeline"] = [segment.to_dict() for segment in segments]
        outcome.num_signs += len(segments)
        if found.predictions and not segments:
            outcome.notes.append(f"{found.video.path}: {why_no_sign(glosses, found, options.timeline)}")
        _write_outputs(options.outputs, found.video, segments)
    return document | ({"errors": errors} if errors else {})


def video_timeline(glosses: Sequence[str], found: VideoPredictions, options: TimelineOptions) -> list[TimelineSegment]:
    """Return the signs of a video, from the class probabilities of its windows."""
    if not found.predictions:
        return []
    spans = [Span(prediction.start_seconds, prediction.end_seconds) for prediction in found.predictions]
    return timeline(spans, np.stack(found.probabilities), glosses, options)


def why_no_sign(glosses: Sequence[str], found: VideoPredictions, options: TimelineOptions) -> str:
    """Return a sentence on an empty timeline: its surest window, and the options that asked for more."""
    scores = np.stack(found.probabilities)
    if options.idle_gloss is not None:
        scores[:, list(glosses).index(options.idle_gloss)] = 0.0
    window, label = np.unravel_index(scores.argmax(), scores.shape)
    surest, score = found.predictions[window], scores[window, label]
    bounds = {"--min-confidence": options.min_confidence, "--min-duration-seconds": options.min_duration_seconds}
    if options.idle_gloss is not None:
        bounds["--idle-weight"] = options.idle_weight
    now = [f"{name} (now {value:g})" for name, value in bounds.items()]
    return (
        f"no sign in {counted(len(scores), 'window')}; the surest is {glosses[int(label)]} with {score:.2f}, "
        f"{surest.start_seconds:.2f} to {surest.end_seconds:.2f} s. More is found with a smaller {' or '.join(now)}"
    )


def _write_outputs(outputs: Outputs, video: Video, segments: Sequence[TimelineSegment]) -> None:
    if outputs.subtitles is not None:
        from signprep.inference.timeline.subtitles import write_subtitles

        write_subtitles(outputs.subtitles, segments, video.path)
    if outputs.render is not None:
        from signprep.inference.timeline.render import render_timeline

        with video.opened() as source, _rendering_progress() as progress:
            made = render_timeline(
                source, segments, outputs.render, name=video.path, font=outputs.font, progress=progress
            )
        if made.sound_was_dropped:
            print(f"{outputs.render}: has no sound; the video's was left out", file=sys.stderr)  # noqa: T201


@contextmanager
def _rendering_progress() -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows progress from the first frame on, when their number is known."""
    with ExitStack() as stack:
        bars: list[Callable[[int], None]] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar("Rendering", total, "frames")))
            bars[0](done)

        yield progress
