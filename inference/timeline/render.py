"""A video with its timeline under it, as a new MP4.

In: a video and the segments of its timeline. Out: an MP4 of the same frames at the same times, upright, with a strip
under the picture that shows the running sign and a bar of all signs; the strip covers nothing of the signing.
Landmarks, where a model reads them, are drawn over the signer. Sound is not copied. The trade-off: one pass, a frame
at a time, so that hours of video need no more memory than seconds, and the encoder's fast settings: the file is for
looking at, the original stays what it was.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import av
import numpy as np
from av.codec import codecs_available
from av.error import FFmpegError
from av.filter import Graph
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signprep.inference.timeline.overlay import LandmarkTrack, draw_landmarks
from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.timeline.strip import TimelineStrip, split_planes
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.video.demux import (
    SQUARE,
    open_stream,
    packet_times,
    pixel_aspect_of,
    video_name,
    whole_duration_seconds,
)
from signprep.pipeline.video.frame_times import ShownFrame
from signprep.pipeline.video.image_sequence import ImageSequence, ImageSequenceReader
from signprep.pipeline.video.preprocess import (
    DisplayMatrices,
    clear_unknown_tags,
    filter_graph,
    orientation_filters,
)
from signprep.pipeline.video.pyav_reader import open_video

ENCODERS: tuple[tuple[str, dict[str, str], int], ...] = (
    ("libx264", {"preset": "veryfast", "crf": "20"}, 2**31 - 1),
    ("mpeg4", {"b": "8M"}, 60_000),
)
"""Name, options and finest time base. The first that PyAV has is taken: H.264, or MPEG-4, which every FFmpeg has."""


SAME_COLOURS = "in_range=limited:out_range=limited:in_color_matrix=bt709:out_color_matrix=bt709"
"""Has FFmpeg scale planes of any range and matrix without a conversion."""


@dataclass(frozen=True, kw_only=True)
class RenderedVideo:
    """Facts about a rendered video."""

    num_frames: int
    sound_was_dropped: bool
    """The original has sound, which a rendered video never has."""


class _Original(NamedTuple):
    name: str
    time_base: Fraction
    frame_rate: Fraction
    pixel_aspect: Fraction
    has_sound: bool
    starts_seconds: NDArray[np.float64]
    """When each frame starts to be shown."""
    duration_seconds: float


def render_timeline(
    video: Path | BinaryIO | ImageSequence,
    segments: Sequence[TimelineSegment],
    out: Path,
    *,
    name: str | None = None,
    font: Path | None = None,
    landmarks: LandmarkTrack | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RenderedVideo:
    """Write a video with its timeline under it.

    Args:
        video: a path, a seekable binary file, which is read from its start, or pictures.
        segments: the signs of the video, in their order.
        out: path of the new .mp4, which is there whole or not at all.
        name: the video's name in errors; its path by default.
        font: a font file that has all characters of the glosses; without it a Korean font of the system.
        landmarks: the signer's landmarks, to be drawn over the picture.
        progress: called with the number of frames done, and of all.

    Raises:
        DecodeError: the video does not open, or is damaged.
        SignprepError: `out` does not end in .mp4, is the video itself or cannot be written, or no font has all
            characters of the glosses.
    """
    require_render_path(out, video)
    name = video_name(video, name)
    original = _original(video, name)
    total = len(original.starts_seconds)
    upright = _UprightFrames(name, original.pixel_aspect)
    with closing(_frames(video, name, original.starts_seconds)) as frames:
        first = next(frames)
        picture = upright(first.frame)
        strip = TimelineStrip(
            segments,
            duration_seconds=original.duration_seconds,
            width=picture.shape[1],
            picture_height=picture.shape[0] * 2 // 3,
            font=font,
        )
        with (
            atomic_write(out) as beside,
            closing(_Encoder(beside, original, first.frame, strip, landmarks)) as encoder,
        ):
            for num_frames, shown in enumerate(chain([first], frames), start=1):
                encoder.add(upright(shown.frame), shown)
                progress(num_frames, total)
            encoder.finish()
    progress(total, total)
    return RenderedVideo(num_frames=num_frames, sound_was_dropped=original.has_sound)


def require_render_path(out: Path, video: Path | BinaryIO | ImageSequence) -> None:
    """Raise SignprepError unless a rendered video may be written there."""
    if out.suffix.lower() != ".mp4":
        raise SignprepError(f"{out}: a rendered video ends in .mp4, not in {out.suffix or 'nothing'!r}")
    if isinstance(video, Path) and video.exists() and out.exists() and out.samefile(video):
        raise SignprepError(f"{out}: is the video itself; choose another path for the rendered one")


def _original(video: Path | BinaryIO | ImageSequence, name: str) -> _Original:
    if isinstance(video, ImageSequence):
        reader = ImageSequenceReader(video, name=name)
        return _Original(
            name=name,
            time_base=1 / video.fps,
            frame_rate=video.fps,
            pixel_aspect=reader.pixel_aspect,
            has_sound=False,
            starts_seconds=reader.starts_seconds,
            duration_seconds=reader.duration_seconds,
        )
    if isinstance(video, Path) and not video.is_file():
        raise DecodeError(f"{name}: there is no such video file")
    times = packet_times(video, name)
    container, stream = open_stream(video, name, decodes=False)
    with container:
        return _Original(
            name=name,
            time_base=stream.time_base or Fraction(1, 90_000),
            frame_rate=stream.average_rate or stream.guessed_rate or Fraction(30),
            pixel_aspect=pixel_aspect_of(stream),
            has_sound=bool(container.streams.audio),
            starts_seconds=times.starts_ns / 1e9,
            duration_seconds=whole_duration_seconds(times, name),
        )


def _frames(video: Path | BinaryIO | ImageSequence, name: str, times: NDArray[np.float64]) -> Generator[ShownFrame]:
    """Yield every frame that the video shows, once."""
    last: av.VideoFrame | None = None
    with open_video(video, name=name) as reader:
        for shown in reader.frames_at(times):
            # VP9 has packets without a frame of their own, which show the one before.
            if shown.frame is not last:
                yield shown
            last = shown.frame


class _UprightFrames:
    """Callable that turns decoded frames upright, with square pixels; keeps a filter graph for each kind of frame."""

    def __init__(self, video_name: str, pixel_aspect: Fraction) -> None:
        self._video_name, self._pixel_aspect = video_name, pixel_aspect
        self._graphs: dict[tuple[object, ...], Graph | None] = {}
        self._display_matrices = DisplayMatrices()

    def __call__(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """Return the picture, uint8 I420 [3H/2, W] with H and W even; no side is smaller than it was."""
        clear_unknown_tags(frame)
        try:
            steps = orientation_filters(self._display_matrices(frame))
        except DecodeError as error:
            raise DecodeError(f"{self._video_name}: {error}") from error
        if self._pixel_aspect != SQUARE:
            wider, higher = max(self._pixel_aspect, SQUARE), max(1 / self._pixel_aspect, SQUARE)
            width, height = (round(side / 2) * 2 for side in (frame.width * wider, frame.height * higher))
            steps.insert(0, f"scale={width}:{height}:flags=bicubic:{SAME_COLOURS}")
        kind = (frame.width, frame.height, frame.colorspace, frame.color_range, *steps)
        if frame.width % 2 or frame.height % 2:
            steps.append("pad=ceil(iw/2)*2:ceil(ih/2)*2")  # H.264 takes even sides only
        try:
            plain = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
            if kind not in self._graphs:
                self._graphs[kind] = filter_graph(plain, steps) if steps else None
            graph = self._graphs[kind]
            if graph is not None:
                graph.push(plain)
                plain = graph.vpull()
        except (FFmpegError, ValueError, OSError) as error:
            raise DecodeError(
                f"{self._video_name}: a frame of {frame.width}x{frame.height} {frame.format.name} cannot be drawn "
                f"({error})"
            ) from error
        return np.asarray(plain.to_ndarray(), np.uint8)


class _Encoder:
    """Writes pictures with a strip under them to an MP4 without sound."""

    def __init__(
        self,
        path: Path,
        original: _Original,
        frame: av.VideoFrame,
        strip: TimelineStrip,
        landmarks: LandmarkTrack | None,
    ) -> None:
        codec, options, finest = next(known for known in ENCODERS if known[0] in codecs_available)
        self._name, self._strip, self._landmarks = original.name, strip, landmarks
        self._picture_height = strip.picture_height
        self._time_base = original.time_base if original.time_base.denominator <= finest else Fraction(1, finest)
        # The index in front lets a browser start at once.
        self._container = av.open(str(path.absolute()), "w", format="mp4", options={"movflags": "+faststart"})
        rate = original.frame_rate.limit_denominator(1001)
        self._stream = cast(VideoStream, self._container.add_stream(codec, rate=rate, options=options))
        context = self._stream.codec_context
        context.width, context.height = strip.width, self._picture_height + strip.height
        context.pix_fmt, context.time_base = "yuv420p", self._time_base
        if not frame.format.is_rgb:
            # The picture's numbers are copied from the video, so its colour space is copied too.
            context.colorspace, context.color_primaries = frame.colorspace, frame.color_primaries
            context.color_trc, context.color_range = frame.color_trc, frame.color_range

    def add(self, picture: NDArray[np.uint8], shown: ShownFrame) -> None:
        """Encode a picture, uint8 I420 [3H/2, W], at the time that its frame is shown."""
        if picture.shape != (self._picture_height * 3 // 2, self._strip.width):
            raise DecodeError(
                f"{self._name}: the picture changes its size at {shown.timestamp_seconds:.3f} s; cut the video there"
            )
        whole = np.empty(((self._picture_height + self._strip.height) * 3 // 2, self._strip.width), np.uint8)
        strip = self._strip.planes(shown.timestamp_seconds)
        for plane, above, below in zip(split_planes(whole), split_planes(picture), strip, strict=True):
            plane[: above.shape[0]] = above
            plane[above.shape[0] :] = below
        size = self._strip.width, self._picture_height
        if self._landmarks is not None and (points := self._landmarks.at(shown.timestamp_seconds, size)) is not None:
            pictures = zip(split_planes(whole), split_planes(picture), strict=True)
            draw_landmarks([plane[: above.shape[0]] for plane, above in pictures], points)
        frame = av.VideoFrame.from_ndarray(whole, format="yuv420p")
        context = self._stream.codec_context
        # A frame whose colours are tagged otherwise would be converted.
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        nanoseconds = Fraction(round(shown.timestamp_seconds * 1e9), 10**9)
        frame.pts, frame.time_base = round(nanoseconds / self._time_base), self._time_base
        base = shown.frame.time_base
        if shown.frame.duration and base:
            frame.duration = round(shown.frame.duration * base / self._time_base)
        self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write the frames that the encoder holds back."""
        self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        self._container.close()
