"""One function from (video, span, ClipSpec) to a clip. The cache build and inference both call it.

In: a video and spans of it, overlapping or not. Out: for each span its clip, or the reason why there is none. Every
frame of the video is decoded and scaled at most once, however many spans show it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.options import require_type
from signprep.pipeline.runtime.paths import StrPath
from signprep.pipeline.video.frame_times import sample_times
from signprep.pipeline.video.preprocess import FramePreprocessor
from signprep.pipeline.video.presentation_order import MissingFrame
from signprep.pipeline.video.pyav_reader import VideoReader, open_video

_BEFORE_THE_END_SECONDS = 1e-6
"""So long before the video's end its last frame is certainly shown."""


class Span(NamedTuple):
    """[start_seconds, end_seconds) of a video, from its first presented frame."""

    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A fixed-length sample of a video."""

    frames: NDArray[np.uint8]
    """uint8 of shape `ClipSpec.clip_shape`."""
    span: Span
    """The sampled span, after clipping to the video."""
    sampled_seconds: NDArray[np.float64]
    """Timestamps of the T frames, float64."""


def _clipped_span(span: Span, reader: VideoReader) -> Span:
    """Return the part of a span that lies in the video. Raises DecodeError if none does."""
    start_seconds, end_seconds = max(span.start_seconds, 0.0), span.end_seconds  # in this order NaN stays NaN
    if not reader.ends_after(end_seconds):
        end_seconds = min(end_seconds, reader.duration_seconds)
    if not start_seconds < end_seconds:
        why = f"; {reader.ends_early}" if reader.ends_early else ""
        raise DecodeError(
            f"{reader.name}: the span from {span.start_seconds:.3f} to {span.end_seconds:.3f} s lies outside the "
            f"video, which ends at {reader.duration_seconds:.3f} s{why}"
        )
    return Span(start_seconds, end_seconds)


def extract_clips(
    source: StrPath | BinaryIO,
    spans: Sequence[Span | tuple[float, float]],
    spec: ClipSpec,
    *,
    name: str | None = None,
    decoder: str = "pyav",
) -> list[Clip | DecodeError]:
    """Return for each span of the video its clip, or the DecodeError that tells why there is none.

    One bad span never costs a good one: spans outside the video fail alone, and damage fails the spans it reaches.

    Args:
        source: a path, or a seekable binary file, which is read from its start and left there.
        spans: in any order.
        spec: the shape of the clips and the way to cut and scale them.
        name: the video's name in errors; the path by default.
        decoder: as in `open_video`.

    Raises TypeError if an argument is something else.
    """
    require_type("spec", spec, ClipSpec)
    named = [_span(given) for given in spans]
    try:
        reader = open_video(source, name=name, decoder=decoder)
    except DecodeError as error:
        return [error] * len(named)
    with reader:
        return read_clips(reader, named, spec)


def _span(given: Any) -> Span:
    """Return a span, for which two numbers may stand. Raises TypeError for anything else."""
    try:
        start, end = given
        if not isinstance(given, str | bytes):
            return Span(float(start), float(end))
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{given!r:.60} is no span; expected (start_seconds, end_seconds) for each clip")


def read_clips(reader: VideoReader, spans: Sequence[Span], spec: ClipSpec) -> list[Clip | DecodeError]:
    """Do as `extract_clips` on an open video."""
    results = dict(iterate_clips(reader, spans, spec))
    return [results[number] for number in range(len(spans))]


def iterate_clips(
    reader: VideoReader, spans: Sequence[Span], spec: ClipSpec, *, hold_last_frame: bool = False
) -> Iterator[tuple[int, Clip | DecodeError]]:
    """Yield the number of each span with its clip, or why there is none, as soon as its last frame was decoded.

    In memory are the clips of the spans that the present frame lies in, however long the video is.

    Args:
        reader: an open video.
        spans: in any order.
        spec: the shape of the clips and the way to cut and scale them.
        hold_last_frame: show the last frame for times after the video's end, instead of clipping spans to it.

    Raises DecodeError with `hold_last_frame` if the end of the video is not known.
    """
    clipped: dict[int, Span] = {}
    for number, span in enumerate(spans):
        try:
            clipped[number] = _clipped_span(span, reader)
        except DecodeError as error:
            yield number, error
    if clipped:
        latest = reader.duration_seconds - _BEFORE_THE_END_SECONDS if hold_last_frame else np.inf
        shown = {number: Span(span.start_seconds, spans[number].end_seconds) for number, span in clipped.items()}
        yield from _sampled(reader, clipped, spec, shown if hold_last_frame else clipped, latest)


def _sampled(
    reader: VideoReader, spans: dict[int, Span], spec: ClipSpec, shown_spans: dict[int, Span], latest: float
) -> Iterator[tuple[int, Clip | DecodeError]]:
    """Yield the clips of spans from one pass over the video; times after `latest` show the frame that it shows."""
    times = np.concatenate([sample_times(*span, spec.num_frames) for span in shown_spans.values()]).clip(max=latest)
    owners = np.repeat(list(spans), spec.num_frames)
    frame_numbers = np.tile(np.arange(spec.num_frames), len(spans))
    order = np.argsort(times, kind="stable")
    waiting = dict(spans)
    begun: dict[int, _UnfinishedClip] = {}
    failed: set[int] = set()
    preprocess = FramePreprocessor(spec, reader.pixel_aspect)
    last: tuple[object, NDArray[np.uint8]] = (None, np.empty(0, np.uint8))
    failure: DecodeError | None = None
    try:
        for shown in reader.answers_at(times[order]):
            which = order[shown.time_index]
            number, frame_number = int(owners[which]), frame_numbers[which]
            if number in failed:
                continue
            if isinstance(shown, MissingFrame):
                failed.add(number)
                begun.pop(number, None)
                del waiting[number]
                yield number, shown.error
                continue
            # Neighbouring times often show the same frame, which is preprocessed once.
            if shown.frame is not last[0]:
                last = (shown.frame, preprocess(shown.frame))
            if number not in begun:
                begun[number] = _UnfinishedClip(spec)
            clip = begun[number]
            clip.frames[frame_number] = last[1]
            clip.seconds[frame_number] = shown.timestamp_seconds
            clip.num_missing -= 1
            if not clip.num_missing:
                del begun[number]
                span = waiting.pop(number)
                yield number, Clip(frames=clip.frames, span=span, sampled_seconds=clip.seconds)
    except DecodeError as error:
        failure = error if reader.name in str(error) else DecodeError(f"{reader.name}: {error}")
    if waiting:
        assert failure is not None
        yield from ((number, failure) for number in waiting)


class _UnfinishedClip:
    """A clip of which some frames are still missing."""

    def __init__(self, spec: ClipSpec) -> None:
        self.frames, self.seconds = np.empty(spec.clip_shape, np.uint8), np.empty(spec.num_frames, np.float64)
        self.num_missing = spec.num_frames
