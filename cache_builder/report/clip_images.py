"""A stored clip as a picture: animated WebP for pages, MP4 for players, or a contact sheet. PyAV writes all; no Pillow.

In: a clip as the cache stores it. Out: the bytes of a file, played at the speed of signing. I420 goes to the encoder as
it is: WebP and H.264 store the same kind of pixels. Of 16 generated frames of 160 x 160 a WebP is 9 KB, of 8 frames of
96 x 96 it is 3 KB and takes 6 ms; Pillow's, from RGB, was a quarter larger.
"""

import io
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.codec import codecs_available
from av.video.reformatter import Colorspace, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import SignprepError

SHORTEST_MILLISECONDS = 20
"""Browsers slow a frame that is shown for less down to a tenth of a second."""
SECONDS_UNKNOWN = 1.0
"""A clip whose index does not tell its length plays for so long."""

STILL_CODECS: Mapping[str, tuple[str, str]] = {
    ".png": ("png", "rgb24"),
    ".jpg": ("mjpeg", "yuvj420p"),
    ".jpeg": ("mjpeg", "yuvj420p"),
    ".webp": ("libwebp", "yuv420p"),
}
"""FFmpeg's encoder and pixels by the suffix of a file."""
FRAME_GAP = 2
"""Pixels between frames."""

_MILLISECOND = Fraction(1, 1000)
_VIDEO_CODECS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"preset": "medium", "crf": "16"}),
    ("mpeg4", {"qscale": "2", "flags": "+qscale"}),
)
"""Names and options of encoders; the first that PyAV has is taken."""
_BT601, _LIMITED = 6, 1
"""FFmpeg's numbers of a cache's matrix and range."""


def clip_seconds(cache: Cache, position: int) -> float:
    """Return how long the clip at a position lasts."""
    row = cache.index.slice(position, 1).select(["clip_start_seconds", "clip_end_seconds"]).to_pylist()[0]
    start, end = row["clip_start_seconds"], row["clip_end_seconds"]
    return end - start if start is not None and end is not None and end > start else SECONDS_UNKNOWN


def clip_frames(
    cache: Cache, clip: NDArray[np.uint8], *, most: int | None = None, side: int | None = None
) -> list[av.VideoFrame]:
    """Return frames of a stored clip as I420.

    Args:
        cache: stores the clip.
        clip: uint8 [T, 3S/2, S] or [T, S, S, 3].
        most: frames, evenly spread; all by default.
        side: in pixels; larger frames are scaled down to it.
    """
    shown = np.linspace(0, len(clip) - 1, min(most or len(clip), len(clip))).round().astype(int)
    side = min(side or cache.clip_spec.size, cache.clip_spec.size)
    frames = []
    for number in shown:
        frame = av.VideoFrame.from_ndarray(clip[number], format=cache.clip_spec.pixels)
        if frame.format.name != "yuv420p" or frame.width != side:
            matrix, area = Colorspace.ITU601, Interpolation.AREA
            frame = frame.reformat(side, side, "yuv420p", dst_colorspace=matrix, interpolation=area)
        frames.append(frame)
    return frames


def animated_webp(frames: Sequence[av.VideoFrame], seconds: float, quality: int) -> bytes:
    """Return I420 frames as a WebP that plays for `seconds` and repeats without end.

    Raises SignprepError if this PyAV cannot write it.
    """
    if "libwebp_anim" not in codecs_available:
        raise SignprepError("this PyAV was built without libwebp, which moving pictures need; `pip install av` has it")
    file = io.BytesIO()
    with av.open(file, "w", format="webp", options={"loop": "0"}) as container:
        stream = container.add_stream("libwebp_anim", rate=1000, options={"quality": str(quality)})
        _encode(container, stream, frames, max(SHORTEST_MILLISECONDS, round(1000 * seconds / len(frames))))
    return file.getvalue()


def mp4(frames: Sequence[av.VideoFrame], seconds: float) -> bytes:
    """Return I420 frames as an MP4 that plays for `seconds`: H.264, or MPEG-4 where there is no x264."""
    codec, options = next(known for known in _VIDEO_CODECS if known[0] in codecs_available)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = cast(VideoStream, container.add_stream(codec, rate=1000, options=options))
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT601
        context.color_range = _LIMITED
        _encode(container, stream, frames, max(1, round(1000 * seconds / len(frames))))
    return file.getvalue()


def contact_sheet(frames: Sequence[av.VideoFrame], columns: int) -> NDArray[np.uint8]:
    """Return frames in rows, from left to right, uint8 [H, W, 3], on black."""
    side = frames[0].width
    rows = math.ceil(len(frames) / columns)
    shape = (rows * (side + FRAME_GAP) - FRAME_GAP, columns * (side + FRAME_GAP) - FRAME_GAP, 3)
    whole = np.zeros(shape, np.uint8)
    for number, frame in enumerate(frames):
        row, column = divmod(number, columns)
        top, left = row * (side + FRAME_GAP), column * (side + FRAME_GAP)
        whole[top : top + side, left : left + side] = frame.to_ndarray(format="rgb24")
    return whole


def picture_file(picture: NDArray[np.uint8], suffix: str) -> bytes:
    """Return a picture, uint8 [H, W, 3], as a file of a suffix of `STILL_CODECS`."""
    codec, pixels = STILL_CODECS[suffix]
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
    context = cast(av.VideoCodecContext, av.CodecContext.create(codec, "w"))
    context.width, context.height, context.pix_fmt = frame.width, frame.height, pixels
    context.time_base = Fraction(1)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _encode(
    container: av.container.OutputContainer,
    stream: VideoStream,
    frames: Sequence[av.VideoFrame],
    frame_milliseconds: int,
) -> None:
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
    context.time_base = _MILLISECOND
    packets = []
    for number, frame in enumerate(frames):
        # A frame that says otherwise would be converted.
        frame.colorspace, frame.color_range = context.colorspace, context.color_range
        frame.pts, frame.duration, frame.time_base = number * frame_milliseconds, frame_milliseconds, _MILLISECOND
        packets += stream.encode(frame)
    packets += stream.encode(None)
    for packet in packets:
        packet.duration = frame_milliseconds  # encoders leave it open, and the last frame would be over at once
        container.mux(packet)
