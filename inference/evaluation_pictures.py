"""Stored clips as small moving pictures, inside a page.

In: a cache and a position. Out: an animated WebP as a data URI, played at the speed of signing. Of 16 generated frames
of 128 x 128 that is 9 KB; a strip of JPEGs was 23, a GIF of 256 colours 141, and a strip of PNGs 159 KB.
"""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from signprep.cache_builder.reader import Cache

SIDE = 160
"""Largest side of a picture in pixels."""

MAX_FRAMES = 16
QUALITY = 55
SHORTEST_MILLISECONDS = 20
"""That browsers show a frame for; shorter ones are slowed down to a tenth of a second."""


def moving_picture(cache: Cache, position: int) -> str:
    """Return a clip as the data URI of a WebP that repeats without end."""
    frames = cache.rgb(position)
    shown = np.linspace(0, len(frames) - 1, min(MAX_FRAMES, len(frames))).round().astype(int)
    data = animated_webp(frames[shown], _seconds(cache, position) / len(shown))
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def _seconds(cache: Cache, position: int) -> float:
    """Return how long the clip lasts, 0 if its index does not tell."""
    row = cache.index.slice(position, 1).select(["clip_start_seconds", "clip_end_seconds"]).to_pylist()[0]
    start, end = row["clip_start_seconds"], row["clip_end_seconds"]
    return max(0.0, end - start) if start is not None and end is not None else 0.0


def animated_webp(frames: NDArray[np.uint8], frame_seconds: float) -> bytes:
    """Return RGB frames, uint8 [T, H, W, 3], as an animated WebP, each shown for `frame_seconds`."""
    images = [Image.fromarray(frame) for frame in frames]
    for image in images:
        image.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    images[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=images[1:],
        duration=max(SHORTEST_MILLISECONDS, round(1000 * frame_seconds)),
        loop=0,
        quality=QUALITY,
        method=4,
    )
    return file.getvalue()
