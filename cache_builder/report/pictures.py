"""Stored clips as pictures: animated WebP for pages, MP4 for players, contact sheets; and the pictures of a report.

In: clips as the cache stores them. Out: bytes of files, played at the speed of signing. PyAV writes all: I420 goes to
the encoder as it is, since WebP and H.264 store the same kind of pixels. Of 16 generated frames of 160 x 160 a WebP is
9 KB, of 8 frames of 96 x 96 it is 3 KB and takes 6 ms; Pillow's, from RGB, was a quarter larger.
"""

import base64
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, cast

import av
import numpy as np
from av.codec import codecs_available
from av.video.reformatter import Colorspace, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signprep.cache_builder.format.codec import StoredClip
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import ClipTable
from signprep.cache_builder.report.overlay import Overlay
from signprep.pipeline.errors import CacheCorruptError, SignprepError
from signprep.pipeline.landmarks.draw import draw_over, drawn
from signprep.pipeline.runtime.installation import install_packages

STILL_CODECS: Mapping[str, tuple[str, str]] = {
    ".png": ("png", "rgb24"),
    ".jpg": ("mjpeg", "yuvj420p"),
    ".jpeg": ("mjpeg", "yuvj420p"),
    ".webp": ("libwebp", "yuv420p"),
}
"""FFmpeg's encoder and pixels by the suffix of a file."""
FRAME_GAP = 2
"""Pixels between frames."""
TRIED_CLIPS = 12
"""The size of a report's pictures is estimated from so many."""
_ROOM = 1.05
"""Pictures of all clips may be so much larger than those of the few that were tried."""

_MILLISECOND = Fraction(1, 1000)
_NO_X264: tuple[str, dict[str, str]] = "mpeg4", {"qscale": "2", "flags": "+qscale"}
"""Name and options of the encoder in place of x264's."""
LIKE_THE_CLIP, LOSSLESS = 16, 0
"""Constant rate factors of H.264."""


def clip_seconds(cache: Cache, position: int) -> float:
    """Return how long the clip at a position lasts, or 1 if the index does not tell."""
    row = cache.index.slice(position, 1).select(["clip_start_seconds", "clip_end_seconds"]).to_pylist()[0]
    start, end = row["clip_start_seconds"], row["clip_end_seconds"]
    return end - start if start is not None and end is not None and end > start else 1.0


def clip_frames(
    cache: Cache,
    clip: StoredClip,
    *,
    most: int | None = None,
    side: int | None = None,
    points: NDArray[np.floating] | None = None,
) -> list[av.VideoFrame]:
    """Return frames of a stored clip as I420, landmarks as a drawing.

    They are `most` of them, evenly spread, or all; larger ones are scaled down to `side` pixels. `points`, landmarks of
    the clip's frames [T, 75, 3], x and y in sides of the picture, are drawn over them.
    """
    shown = np.linspace(0, len(clip) - 1, min(most or len(clip), len(clip))).round().astype(int)
    side = min(side or cache.clip_spec.size, cache.clip_spec.size)
    frames = []
    pictures, pixels = clip[shown], cache.clip_spec.pixels
    if cache.clip_spec.content == "landmarks":
        pictures, pixels = drawn(pictures, side), "rgb24"
    for number, picture in zip(shown, pictures, strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format=pixels)
        if frame.format.name != "yuv420p" or frame.width != side:
            frame = _scaled(frame, side, "yuv420p")
        if points is not None:
            rgb = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            draw_over(rgb, points[number], border=True)
            frame = _scaled(av.VideoFrame.from_ndarray(rgb, format="rgb24"), side, "yuv420p")
        frames.append(frame)
    return frames


def _scaled(frame: av.VideoFrame, side: int, pixels: str) -> av.VideoFrame:
    matrix, area = Colorspace.ITU601, Interpolation.AREA
    return frame.reformat(side, side, pixels, dst_colorspace=matrix, interpolation=area)


def animated_webp(frames: Sequence[av.VideoFrame], seconds: float, quality: int) -> bytes:
    """Return I420 frames as a WebP that plays for `seconds` and repeats without end.

    Raises SignprepError if this PyAV cannot write it.
    """
    if "libwebp_anim" not in codecs_available:
        again = install_packages("--force-reinstall", "av")
        raise SignprepError(f"this PyAV was built without libwebp, which moving pictures need; its own wheels: {again}")
    file = io.BytesIO()
    with av.open(file, "w", format="webp", options={"loop": "0"}) as container:
        stream = container.add_stream("libwebp_anim", rate=1000, options={"quality": str(quality)})
        # Browsers slow a frame that is shown for less than 20 ms down to a tenth of a second.
        _encode(container, stream, frames, max(20, round(1000 * seconds / len(frames))))
    return file.getvalue()


def mp4(frames: Sequence[av.VideoFrame], seconds: float, crf: int = LIKE_THE_CLIP) -> bytes:
    """Return frames as an MP4 that plays for `seconds`: H.264, or MPEG-4 where there is no x264.

    Frames are I420 or RGB, and come back bit for bit by H.264 with a `crf` of `LOSSLESS`.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = h264_stream(container, frames[0], 1000, crf)
        _encode(container, stream, frames, max(1, round(1000 * seconds / len(frames))))
    return file.getvalue()


def has_h264() -> bool:
    """Return whether this PyAV writes H.264, of I420 and of RGB."""
    return {"libx264", "libx264rgb"} <= codecs_available


def h264_stream(
    container: av.container.OutputContainer, like: av.VideoFrame, rate: int | Fraction, crf: int, **options: str
) -> VideoStream:
    """Add a stream for frames of one size and format: H.264 as `mp4` writes it, or MPEG-4 where there is no x264."""
    is_rgb = like.format.name == "rgb24"
    codec = "libx264rgb" if is_rgb else "libx264"
    # One thread: clips are short, and several are written at a time.
    h264 = codec, {"preset": "medium", "crf": str(crf), "threads": "1"} | options
    found = h264 if codec in codecs_available else _NO_X264
    stream = cast(VideoStream, container.add_stream(found[0], rate=rate, options=found[1]))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = like.width, like.height, like.format.name
    if not is_rgb:
        # FFmpeg's numbers of a cache's matrix and range: BT.601, limited.
        context.colorspace = context.color_primaries = context.color_trc = 6
        context.color_range = 1
    return stream


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
    context.width, context.height, context.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
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


class Quality(NamedTuple):
    """The size of a picture: pixels a side, frames, and quality of the encoder."""

    side: int
    frames: int
    webp: int


LARGE, MEDIUM, SMALL, SMALLEST = Quality(128, 12, 50), Quality(96, 8, 45), Quality(80, 6, 40), Quality(64, 6, 35)


def moving_picture(
    cache: Cache, position: int, seconds: float, quality: Quality, overlay: Overlay | None = None
) -> str:
    """Return a clip as an animated WebP in base64. Raises CacheCorruptError if it is damaged."""
    points = None if overlay is None else overlay.points(position)
    clip = cache.read([position])[0]
    frames = clip_frames(cache, clip, most=quality.frames, side=quality.side, points=points)
    return base64.b64encode(animated_webp(frames, seconds, quality.webp)).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class PicturePlan:
    """A choice of clips, and the size of their pictures."""

    quality: Quality
    rows: tuple[int, ...]
    """Rows of the clip table, the most important first."""
    num_asked: int
    """Clips that would be shown if there were room for all."""


def plan_pictures(
    table: ClipTable,
    classes: Sequence[Sequence[int]],
    max_bytes: int,
    *,
    always: Sequence[int] = (),
    overlay: Overlay | None = None,
) -> PicturePlan:
    """Return the largest set of pictures that fits into `max_bytes` of base64.

    `classes` are rows of each class, the most telling first; rows of `always` are shown whatever their number. A few
    clips are tried first. Four clips a class are better than one, and small pictures better than none: of 3,000 classes
    in 15 MB that is one of 96 pixels each.
    """
    firsts = [rows[0] for rows in classes if rows]
    tried = [firsts[place] for place in np.linspace(0, len(firsts) - 1, min(TRIED_CLIPS, len(firsts))).astype(int)]
    most = max((len(rows) for rows in classes), default=0)
    quality, number = SMALLEST, 1
    sizes: dict[Quality, float] = {}
    for quality, number in [*((q, n) for n in range(most, 0, -1) for q in (LARGE, MEDIUM)), (SMALL, 1), (SMALLEST, 1)]:
        if quality not in sizes:
            made = [len(data) for row in tried if (data := _picture(table, row, quality, overlay))]
            sizes[quality] = _ROOM * sum(made) / max(1, len(made))
        num_pictures = len(always) + sum(min(number, len(rows)) for rows in classes)
        if num_pictures * sizes[quality] <= max_bytes:
            break
    rounds = [row for place in range(number) for rows in classes for row in rows[place : place + 1]]
    return PicturePlan(
        quality=quality._replace(side=min(quality.side, table.cache.clip_spec.size)),
        rows=tuple(dict.fromkeys([*always, *rounds])),
        num_asked=len({*always, *(row for rows in classes for row in rows)}),
    )


def make_pictures(
    table: ClipTable,
    plan: PicturePlan,
    max_bytes: int,
    *,
    threads: int = 1,
    overlay: Overlay | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[int, str]:
    """Return WebP pictures in base64 by row of the clip table, as far as there is room; damaged clips have none."""
    made: dict[int, str | None] = {}
    ordered = sorted(plan.rows)  # as clips lie in the shards
    with ThreadPoolExecutor(threads, thread_name_prefix="signprep-pictures") as pool:
        pictures = pool.map(lambda row: _picture(table, row, plan.quality, overlay), ordered)
        for row, picture in zip(ordered, pictures, strict=True):
            made[row] = picture
            progress(len(made))
    by_row, num_bytes = {}, 0
    for row in plan.rows:
        picture = made[row]
        if picture is not None and num_bytes + len(picture) <= max_bytes:
            by_row[row] = picture
            num_bytes += len(picture)
    return by_row


def _picture(table: ClipTable, row: int, quality: Quality, overlay: Overlay | None) -> str | None:
    """Return a picture in base64, or None if the clip is damaged."""
    try:
        position, seconds = int(table.positions[row]), float(table.durations_seconds[row])
        return moving_picture(table.cache, position, seconds, quality, overlay)
    except CacheCorruptError:
        return None


def shown_rows(table: ClipTable, classes: NDArray[np.int64], most: int) -> list[list[int]]:
    """Return rows to show of each class, `most` at most and the most telling first; int64 places among the glosses."""
    ok_rows = np.flatnonzero(table.is_ok)
    order = ok_rows[np.argsort(table.gloss.codes[ok_rows], kind="stable")]
    bounds = np.searchsorted(table.gloss.codes[order], np.arange(len(table.gloss.names) + 1))
    return [_spread(table, order[bounds[code] : bounds[code + 1]].tolist(), most) for code in classes.tolist()]


def _spread(table: ClipTable, rows: list[int], most: int) -> list[int]:
    """Return rows in an order in which each has the signer, the view and the split that were shown least before."""
    to_spread = (table.signer, table.view, table.split)
    times: tuple[Counter[int], ...] = (Counter(), Counter(), Counter())
    left = {row: tuple(int(column.codes[row]) for column in to_spread) for row in rows}
    shown: list[int] = []
    while left and len(shown) < most:
        row = min(left, key=lambda row: (sum(map(Counter.__getitem__, times, left[row])), times[0][left[row][0]], row))
        for counter, code in zip(times, left.pop(row), strict=True):
            counter[code] += 1
        shown.append(row)
    return shown
