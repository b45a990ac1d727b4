"""One function from (video, span, ClipSpec) to a clip. The cache build and inference both call it.

In: a video and spans of it, overlapping or not. Out: for each span its clip or the reason why there is none. Every
frame of the video is decoded at most once and scaled at most once, however many spans show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.decode import VideoReader, open_video
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.geometry import FramePreprocessor
from signprep.pipeline.sampling import sample_times


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
    """What was sampled, after clipping to the video."""
    sampled_seconds: NDArray[np.float64]
    """Timestamps of the T frames, float64."""


def clipped_span(span: Span, reader: VideoReader) -> Span:
    """Return the part of a span that lies in the video. Raises DecodeError if none does."""
    start_seconds, end_seconds = max(0.0, span.start_seconds), span.end_seconds
    if not reader.ends_after(end_seconds):
        end_seconds = min(end_seconds, reader.duration_seconds)
    if not start_seconds < end_seconds:
        raise DecodeError(
            f"{reader.name}: the span from {span.start_seconds:.3f} to {span.end_seconds:.3f} s lies outside the "
            f"video, which ends at {reader.duration_seconds:.3f} s"
        )
    return Span(start_seconds, end_seconds)


def extract_clips(
    source: Path | BinaryIO, spans: Sequence[Span], spec: ClipSpec, *, name: str | None = None, decoder: str = "pyav"
) -> list[Clip | DecodeError]:
    """Return for each span of the video its clip, or the DecodeError that tells why there is none.

    One bad span never costs a good one: spans outside the video fail alone, and damage fails the spans it reaches.

    Args:
        source: a path, or a seekable binary file, which is read from its start and left there.
        spans: in any order.
        spec: how to cut and scale.
        name: what errors call the video; the path by default.
        decoder: as in `open_video`.
    """
    try:
        reader = open_video(source, name=name, decoder=decoder)
    except DecodeError as error:
        return [error] * len(spans)
    with reader:
        return read_clips(reader, spans, spec)


def read_clips(reader: VideoReader, spans: Sequence[Span], spec: ClipSpec) -> list[Clip | DecodeError]:
    """`extract_clips` on an open video."""
    results: list[Clip | DecodeError | None] = [None] * len(spans)
    clipped: dict[int, Span] = {}
    for number, span in enumerate(spans):
        try:
            clipped[number] = clipped_span(span, reader)
        except DecodeError as error:
            results[number] = error
    if clipped:
        _sample(reader, clipped, spec, results)
    assert all(result is not None for result in results)
    return [result for result in results if result is not None]


def _sample(
    reader: VideoReader, spans: dict[int, Span], spec: ClipSpec, results: list[Clip | DecodeError | None]
) -> None:
    """Fill in the results of the given spans from one pass over the video."""
    times = np.concatenate([sample_times(*span, spec.num_frames) for span in spans.values()])
    owners = np.repeat(list(spans), spec.num_frames)
    places = np.tile(np.arange(spec.num_frames), len(spans))
    order = np.argsort(times, kind="stable")
    frames = {number: np.empty(spec.clip_shape, np.uint8) for number in spans}
    seconds = {number: np.empty(spec.num_frames, np.float64) for number in spans}
    missing = dict.fromkeys(spans, spec.num_frames)
    preprocess = FramePreprocessor(spec)
    last: tuple[object, NDArray[np.uint8]] = (None, np.empty(0, np.uint8))
    failure: DecodeError | None = None
    try:
        for shown in reader.frames_at(times[order]):
            number, place = int(owners[order[shown.time_index]]), places[order[shown.time_index]]
            if shown.frame is not last[0]:
                last = (shown.frame, preprocess(shown.frame))
            frames[number][place] = last[1]
            seconds[number][place] = shown.timestamp_seconds
            missing[number] -= 1
            if not missing[number]:
                results[number] = Clip(
                    frames=frames.pop(number), span=spans[number], sampled_seconds=seconds.pop(number)
                )
    except DecodeError as error:
        failure = error if reader.name in str(error) else DecodeError(f"{reader.name}: {error}")
    for number in frames:
        results[number] = failure
