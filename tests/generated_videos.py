"""Tiny videos whose frames tell their own number, for tests: each frame shows it as 8 black or white blocks."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 10


def numbered_frame(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """Return an I420 frame [3H/2, W], uint8, that shows `number` in binary, lowest bit left."""
    frame = np.full((height * 3 // 2, width), 128, np.uint8)
    frame[:height] = 60 + (np.arange(height) * 40 // height)[:, None]
    side = min(width, height)
    left, block = (width - side) // 2, side // BITS
    for bit in range(BITS):
        value = 235 if number >> bit & 1 else 16
        frame[height // 4 : height * 3 // 4, left + bit * block : left + (bit + 1) * block] = value
    return frame


def number_of(frame: np.ndarray) -> int:
    """Return the number that a stored I420 frame [3S/2, S] of a centre crop shows."""
    size = frame.shape[1]
    row, block = frame[size // 2].astype(int), size / BITS
    return sum(1 << bit for bit in range(BITS) if row[int((bit + 0.5) * block)] > 125)


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
) -> Path:
    """Write numbered frames; by default as AIHub's encoder does: one keyframe, B-pyramids."""
    if options is None:
        options = {"x264-params": "keyint=250:bframes=3:b-pyramid=normal:scenecut=0", "crf": "18"}
    path.parent.mkdir(parents=True, exist_ok=True)
    time_base = Fraction(1, 90_000)
    with av.open(str(path), "w", options=dict(container_options or {}), format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        for number in range(num_frames):
            image = numbered_frame(first_number + number, width, height)
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            seconds = timestamps[number] if timestamps is not None else number / rate
            frame.pts, frame.time_base = round(seconds * 90_000), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
