"""One function from (video, span, ClipSpec) to a clip. The cache build and inference both call it.

In: a video and spans of it, overlapping or not. Out: for each span its clip, or the reason why there is none. Every
frame of the video is decoded and scaled at most once, however many spans show it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import SEGMENT_SPAN, SIGNER, WHOLE_VIDEO_END, ClipSpec, CropBox, LabelBox
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.options import require_type
from signprep.pipeline.runtime.paths import StrPath
from signprep.pipeline.video.frame_times import MissingFrame, sample_times, span_of_segment
from signprep.pipeline.video.image_sequence import ImageSequence
from signprep.pipeline.video.preprocess import FramePreprocessor
from signprep.pipeline.video.pyav_reader import VideoReader, open_video

_BEFORE_THE_END_SECONDS = 1e-6
"""So long before the video's end its last frame is certainly shown."""


class Span(NamedTuple):
    """[start_seconds, end_seconds) of a video, from its first presented frame."""

    start_seconds: float
    end_seconds: float


class MiddleWindow(NamedTuple):
    """So many seconds around the middle of what a video has of a span, whose end nobody knows before it is opened."""

    within: Span
    seconds: float

    def span(self, end_seconds: float) -> Span:
        """Return the window in a video that ends at `end_seconds`.

        >>> MiddleWindow(Span(0.0, 86400.0), 2.0).span(10.0)
        Span(start_seconds=4.0, end_seconds=6.0)
        """
        middle, half = (self.within.start_seconds + min(self.within.end_seconds, end_seconds)) / 2, self.seconds / 2
        return Span(middle - half, middle + half)


def span_to_cut(start_seconds: float, end_seconds: float, spec: ClipSpec) -> Span | MiddleWindow:
    """Return the span that a segment's clip covers, before clipping to the video.

    Where a segment ends with its video, a window of a certain length is around the middle of what the video has.
    """
    if spec.span != SEGMENT_SPAN and end_seconds >= WHOLE_VIDEO_END:
        return MiddleWindow(Span(start_seconds, end_seconds), float(spec.span))
    return Span(*span_of_segment(start_seconds, end_seconds, spec))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A fixed-length sample of a video."""

    frames: NDArray[Any]
    """Of shape `ClipSpec.clip_shape` and type `ClipSpec.dtype`."""
    span: Span
    """The sampled span, after clipping to the video."""
    sampled_seconds: NDArray[np.float64]
    """Timestamps of the T frames, float64."""
    crop_box: CropBox | None = None
    """What the clip shows, where each clip shows a part of its own: `ClipSpec.crop` is `signer`."""


class MadeClip(NamedTuple):
    """What a `ClipMaker` makes: `Clip.frames` and `Clip.crop_box`."""

    frames: Any
    crop_box: CropBox | None = None


class ClipMaker(Protocol):
    """Makes clips of one video's frames."""

    def frame(self, frame: VideoFrame) -> Any:
        """Return what is kept of a decoded frame until its clip is whole."""

    def clip(self, frames: Sequence[Any], box: LabelBox | None = None) -> MadeClip:
        """Return a clip, of shape `ClipSpec.clip_shape` and type `ClipSpec.dtype`.

        Args:
            frames: what was kept of each of its frames.
            box: where its label says that the signer is.

        Raises DecodeError if it cannot be made, which costs no other clip.
        """


MakeClips = Callable[[ClipSpec, Fraction], ClipMaker]
"""Makes a `ClipMaker` for a video, by its spec and its pixels' width by their height."""


class PixelClips:
    """Clips of pixels: see `ClipMaker`."""

    def __init__(self, spec: ClipSpec, pixel_aspect: Fraction) -> None:
        """Prepare for the frames of one video. Raises ValueError for clips of landmarks or cropped to the signer."""
        if spec.content != "pixels" or spec.crop == SIGNER:
            what = "cropped to the signer" if spec.content == "pixels" else f"of {spec.content}"
            raise ValueError(f"clips {what} need a maker: make=signprep.pipeline.landmarks.maker.makes_clips(spec)")
        self.frame = FramePreprocessor(spec, pixel_aspect)

    def clip(self, frames: Sequence[NDArray[np.uint8]], box: LabelBox | None = None) -> MadeClip:
        """Return the frames as one array, uint8; the spec says what they show, and no box."""
        return MadeClip(np.stack(frames))


def clipped_span(span: Span, reader: VideoReader) -> Span:
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
    source: StrPath | BinaryIO | ImageSequence,
    spans: Sequence[Span | MiddleWindow | tuple[float, float]],
    spec: ClipSpec,
    *,
    boxes: Sequence[LabelBox | None] | None = None,
    name: str | None = None,
    decoder: str = "pyav",
    fps: float | None = None,
    make: MakeClips = PixelClips,
) -> list[Clip | DecodeError]:
    """Return for each span of the video its clip, or the DecodeError that tells why there is none.

    One bad span never costs a good one: spans outside the video fail alone, and damage fails the spans it reaches.

    Args:
        source: a path, of a folder of pictures, too, or a seekable binary file, which is read from its start and left
            there.
        spans: in any order.
        spec: the shape of the clips and the way to cut and scale them.
        boxes: where the label of each span says that the signer is, if the spec crops to the signer; found without.
        name: the video's name in errors; the path by default.
        decoder: as in `open_video`.
        fps: pictures of a folder that are shown in a second.
        make: makes clips of frames; `landmarks.maker.makes_clips(spec)` gives the one of any spec.

    Raises TypeError if an argument is something else.
    """
    require_type("spec", spec, ClipSpec)
    named = [_span(given) for given in spans]
    try:
        reader = open_video(source, name=name, decoder=decoder, fps=fps)
    except DecodeError as error:
        return [error] * len(named)
    with reader:
        return read_clips(reader, named, spec, boxes=boxes, make=make)


def _span(given: Any) -> Span | MiddleWindow:
    """Return a span, for which two numbers may stand. Raises TypeError for anything else."""
    if isinstance(given, MiddleWindow):
        return given
    try:
        start, end = given
        if not isinstance(given, str | bytes):
            return Span(float(start), float(end))
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{given!r:.60} is no span; expected (start_seconds, end_seconds) for each clip")


def read_clips(
    reader: VideoReader,
    spans: Sequence[Span | MiddleWindow],
    spec: ClipSpec,
    *,
    boxes: Sequence[LabelBox | None] | None = None,
    make: MakeClips = PixelClips,
) -> list[Clip | DecodeError]:
    """Do as `extract_clips` on an open video."""
    results = dict(iterate_clips(reader, spans, spec, boxes=boxes, make=make))
    return [results[number] for number in range(len(spans))]


def iterate_clips(
    reader: VideoReader,
    spans: Sequence[Span | MiddleWindow],
    spec: ClipSpec | Sequence[ClipSpec],
    *,
    boxes: Sequence[LabelBox | None] | None = None,
    hold_last_frame: bool = False,
    make: MakeClips = PixelClips,
) -> Iterator[tuple[int, Clip | DecodeError]]:
    """Yield the number of each span with its clip, or why there is none, as soon as its last frame was decoded.

    In memory are the clips of the spans that the present frame lies in, however long the video is.

    Args:
        reader: an open video.
        spans: in any order.
        spec: the shape of the clips and the way to cut and scale them; one for all, or one for each span.
        boxes: as in `extract_clips`.
        hold_last_frame: show the last frame for times after the video's end, instead of clipping spans to it.
        make: as in `extract_clips`.

    Raises DecodeError with `hold_last_frame` if the end of the video is not known.
    """
    specs = [spec] * len(spans) if isinstance(spec, ClipSpec) else spec
    kinds = list(zip(specs, boxes or [None] * len(spans), strict=True))
    asked: dict[int, Span] = {}
    clipped: dict[int, Span] = {}
    for number, span in enumerate(spans):
        try:
            asked[number] = span.span(reader.duration_seconds) if isinstance(span, MiddleWindow) else span
            clipped[number] = clipped_span(asked[number], reader)
        except DecodeError as error:
            yield number, error
    if clipped:
        latest = reader.duration_seconds - _BEFORE_THE_END_SECONDS if hold_last_frame else np.inf
        shown = {number: Span(span.start_seconds, asked[number].end_seconds) for number, span in clipped.items()}
        makers = {one: make(one, reader.pixel_aspect) for one in set(specs)}
        yield from _sampled(reader, clipped, kinds, makers, shown if hold_last_frame else clipped, latest)


def _sampled(
    reader: VideoReader,
    spans: dict[int, Span],
    kinds: Sequence[tuple[ClipSpec, LabelBox | None]],
    makers: Mapping[ClipSpec, ClipMaker],
    shown_spans: dict[int, Span],
    latest: float,
) -> Iterator[tuple[int, Clip | DecodeError]]:
    """Yield the clips of spans from one pass over the video; times after `latest` show the frame that it shows.

    `kinds` has the spec and the label's box of each number.
    """
    counts = [kinds[number][0].num_frames for number in spans]
    sampled = [sample_times(*span, count) for span, count in zip(shown_spans.values(), counts, strict=True)]
    times = np.concatenate(sampled).clip(max=latest)
    owners = np.repeat(list(spans), counts)
    frame_numbers = np.concatenate([np.arange(count) for count in counts])
    order = np.argsort(times, kind="stable")
    waiting = dict(spans)
    begun: dict[int, _UnfinishedClip] = {}
    failed: set[int] = set()
    frame: object = None
    made: dict[ClipSpec, Any] = {}
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
            if shown.frame is not frame:
                frame, made = shown.frame, {}
            spec, label_box = kinds[number]
            if spec not in made:
                made[spec] = makers[spec].frame(shown.frame)
            if number not in begun:
                begun[number] = _UnfinishedClip(spec.num_frames)
            clip = begun[number]
            clip.frames[frame_number] = made[spec]
            clip.seconds[frame_number] = shown.timestamp_seconds
            clip.num_missing -= 1
            if not clip.num_missing:
                del begun[number]
                span = waiting.pop(number)
                try:
                    whole = makers[spec].clip(clip.frames, label_box)
                except DecodeError as error:
                    yield number, DecodeError(f"{reader.name}: {error}")
                    continue
                seconds, box = clip.seconds, whole.crop_box
                yield number, Clip(frames=whole.frames, span=span, sampled_seconds=seconds, crop_box=box)
    except DecodeError as error:
        failure = error if reader.name in str(error) else DecodeError(f"{reader.name}: {error}")
    if waiting:
        assert failure is not None
        yield from ((number, failure) for number in waiting)


class _UnfinishedClip:
    """A clip of which some frames are still missing."""

    def __init__(self, num_frames: int) -> None:
        self.frames: list[Any] = [None] * num_frames
        self.seconds = np.empty(num_frames, np.float64)
        self.num_missing = num_frames
