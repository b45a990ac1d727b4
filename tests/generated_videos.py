"""Tiny videos whose frames tell their own number, for tests: each frame shows it as 8 black or white blocks."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 10

X264 = "scenecut=0:keyint=250:bframes=3:b-pyramid="
GOPS: dict[str, tuple[str, dict[str, str], str]] = {
    "h264 B-pyramid": ("libx264", {"x264-params": X264 + "normal", "crf": "18"}, ".mp4"),
    "h264 plain B": ("libx264", {"x264-params": X264 + "none", "crf": "18"}, ".mp4"),
    "h264 open GOP": ("libx264", {"x264-params": "keyint=12:bframes=3:open-gop=1", "crf": "18"}, ".mp4"),
    "h264 closed GOPs": ("libx264", {"x264-params": "keyint=8:bframes=2", "crf": "18"}, ".mkv"),
    "h264 no B": ("libx264", {"x264-params": "keyint=250:bframes=0:scenecut=0", "crf": "18"}, ".mp4"),
    "h264 intra only": ("libx264", {"x264-params": "keyint=1", "crf": "18"}, ".mp4"),
    "h264 16 references": ("libx264", {"x264-params": "keyint=250:bframes=8:b-pyramid=normal:ref=16"}, ".mp4"),
    "h264 slices": ("libx264", {"x264-params": "slices=4:bframes=3:cabac=0", "crf": "18"}, ".mp4"),
    "hevc B-pyramid": ("libx265", {"x265-params": "log-level=none:keyint=250:bframes=4", "crf": "18"}, ".mp4"),
    "hevc open GOP": ("libx265", {"x265-params": "log-level=none:keyint=10:open-gop=1", "crf": "18"}, ".mkv"),
    "hevc intra only": ("libx265", {"x265-params": "log-level=none:keyint=1", "crf": "18"}, ".mp4"),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}, ".webm"),
    "vp9 alternate references": ("libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}, ".webm"),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "1M"}, ".webm"),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "keyint=250"}, ".mkv"),
    "mpeg4 B": ("mpeg4", {"bf": "2", "g": "250", "b": "2M"}, ".mp4"),
    "mpeg4 in AVI": ("mpeg4", {"bf": "0", "g": "12", "b": "2M"}, ".avi"),
    "mpeg2 B": ("mpeg2video", {"bf": "2", "g": "12", "b": "2M"}, ".mkv"),
}
"""Every shape of a group of pictures that an encoder of PyAV makes: codec, options, file suffix."""


def numbered_frame(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """Return an I420 frame [3H/2, W], uint8, that shows `number` in binary, lowest bit left."""
    frame = np.full((height * 3 // 2, width), 128, np.uint8)
    frame[:height] = 60 + (np.arange(height) * 40 // height)[:, None]
    side = min(width, height)
    left, block = (width - side) // 2, side / BITS
    for bit in range(BITS):
        value = 235 if number >> bit & 1 else 16
        columns = slice(left + round(bit * block), left + round((bit + 1) * block))
        frame[height // 4 : height * 3 // 4, columns] = value
    return frame


def number_of(frame: np.ndarray) -> int:
    """Return the number that a stored I420 frame [3S/2, S] of a centre crop shows."""
    size = frame.shape[1]
    row, block = frame[size // 2].astype(int), size / BITS
    return sum(1 << bit for bit in range(BITS) if row[int((bit + 0.5) * block)] > 125)


@contextmanager
def ordinary_priority() -> Iterator[None]:
    """Give this thread its priority back: SVT-AV1 takes, as root, one before which all other programs wait."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


@ordinary_priority()
def write_video(
    path: Path,
    num_frames: int = 60,
    *,
    rate: int = 30,
    codec: str = "libx264",
    options: Mapping[str, str] | None = None,
    timestamps: Sequence[float] | None = None,
    width: int = 160,
    height: int = 96,
    first_number: int = 0,
    container_options: Mapping[str, str] | None = None,
    container_format: str | None = None,
    pixel_format: str = "yuv420p",
    display_degrees: int = 0,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Write numbered frames; by default as AIHub's encoder does: one keyframe, B-pyramids."""
    if options is None:
        options = {"x264-params": "keyint=250:bframes=3:b-pyramid=normal:scenecut=0", "crf": "18"}
    path.parent.mkdir(parents=True, exist_ok=True)
    # MPEG's own encoders take no finer time base than the frame rate.
    time_base = Fraction(1, rate if codec.startswith("mpeg") else 90_000)
    with av.open(str(path), "w", options=dict(container_options or {}), format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if display_degrees:
            stream.set_display_rotation(display_degrees)
        stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        for number in range(num_frames):
            image = numbered_frame(first_number + number, width, height)
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p").reformat(format=pixel_format)
            seconds = timestamps[number] if timestamps is not None else number / rate
            frame.pts, frame.time_base = round(seconds / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_gop(folder: Path, shape: str, num_frames: int = 60) -> Path:
    """Write numbered frames in one of the `GOPS`."""
    codec, options, suffix = GOPS[shape]
    return write_video(folder / f"video{suffix}", num_frames, codec=codec, options=options)
