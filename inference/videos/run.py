"""What `signprep infer` does: documents of videos, one after the other, as results.py writes them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from signprep.inference.options import InferOptions, Outputs, TimelineOptions
from signprep.inference.prediction import Kept, keeper, predictions_of
from signprep.inference.recognizer import Recognizer
from signprep.inference.timeline.segments import TimelineSegment, timeline
from signprep.inference.videos.find import Video
from signprep.inference.videos.window_predictions import VideoAnswers, answer_videos
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import counted


@dataclass(kw_only=True)
class Outcome:
    """What came of it, for the exit code and the lines on stderr."""

    num_videos: int = 0
    num_answers: int = 0
    """Windows that have an answer."""
    num_signs: int = 0
    """In all timelines."""
    problems: list[str] = field(default_factory=list)
    """Why windows, or whole videos, have no answer."""
    notes: list[str] = field(default_factory=list)
    """Why timelines are empty."""


def video_documents(
    recognizer: Recognizer, videos: Sequence[Video], options: InferOptions, outcome: Outcome
) -> Iterator[Any]:
    """Yield a document a video, with progress on stderr where there are several.

    Raises:
        DecodeError: there is one video, and not one of its windows has an answer.
    """
    keep = keeper(
        recognizer, top_k=options.top_k, probabilities=options.with_probabilities or options.timeline is not None
    )
    found = answer_videos(
        recognizer, videos, options.windows, keep, batch_size=options.batch_size, decoders=options.decoders
    )
    if len(videos) == 1:
        [answers] = found
        if not answers.answers and answers.unanswered:
            raise DecodeError(answers.unanswered[0].reason)
        yield _document(recognizer, answers, options, outcome)
        return
    with progress_bar("Answering", len(videos), "videos") as progress:
        for number, answers in enumerate(found, start=1):
            yield _document(recognizer, answers, options, outcome)
            progress(number)


def _document(recognizer: Recognizer, found: VideoAnswers[Kept], options: InferOptions, outcome: Outcome) -> Any:
    predictions = predictions_of(recognizer, found, options.windows, with_probabilities=options.with_probabilities)
    clips = [prediction.to_dict() for prediction in predictions]
    outcome.num_videos += 1
    outcome.num_answers += len(clips)
    outcome.problems += [unanswered.reason for unanswered in found.unanswered]
    errors = [
        ({"start_time": unanswered.span[0], "end_time": unanswered.span[1]} if unanswered.span else {})
        | {"error": unanswered.reason}
        for unanswered in found.unanswered
    ]
    if errors or options.timeline is not None:
        document: dict[str, Any] = {"video_path": found.video.path, "clips": clips}
        if options.timeline is not None:
            segments = segments_of(recognizer, found, options.timeline)
            document["timeline"] = [segment.to_dict() for segment in segments]
            outcome.num_signs += len(segments)
            if found.answers and not segments:
                outcome.notes.append(f"{found.video.path}: {why_no_sign(recognizer, found, options.timeline)}")
            _make(options.outputs, found.video, segments)
        return document | ({"errors": errors} if errors else {})
    return clips if options.windows.stride is not None else clips[0]


def segments_of(recognizer: Recognizer, found: VideoAnswers[Kept], options: TimelineOptions) -> list[TimelineSegment]:
    """Return the signs of a video, from the answers for its windows."""
    rows = [answer.kept.probabilities for answer in found.answers if answer.kept.probabilities is not None]
    if not rows:
        return []
    spans = [answer.span for answer in found.answers]
    return timeline(spans, np.stack(rows), recognizer.card.vocabulary.glosses, options)


def why_no_sign(recognizer: Recognizer, found: VideoAnswers[Kept], options: TimelineOptions) -> str:
    """Return what an empty timeline is of: its surest window, and what asked for more."""
    glosses = recognizer.card.vocabulary.glosses
    scores = np.stack([answer.kept.probabilities for answer in found.answers if answer.kept.probabilities is not None])
    if options.idle_gloss is not None:
        scores[:, list(glosses).index(options.idle_gloss)] = 0.0
    window, label = np.unravel_index(scores.argmax(), scores.shape)
    span, score = found.answers[window].span, scores[window, label]
    bounds = {"--min-confidence": options.min_confidence, "--min-duration-seconds": options.min_duration_seconds}
    if options.idle_gloss is not None:
        bounds["--idle-weight"] = options.idle_weight
    now = [f"{name} (now {value:g})" for name, value in bounds.items()]
    return (
        f"no sign in {counted(len(scores), 'window')}; the surest is {glosses[label]} with {score:.2f}, "
        f"{span.start_seconds:.2f} to {span.end_seconds:.2f} s. More is found with a smaller {' or '.join(now)}"
    )


def _make(outputs: Outputs, video: Video, segments: Sequence[TimelineSegment]) -> None:
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
    """Yield what shows progress from the first frame on, when their number is known."""
    with ExitStack() as stack:
        bars: list[Callable[[int], None]] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_bar("Rendering", total, "frames")))
            bars[0](done)

        yield progress
