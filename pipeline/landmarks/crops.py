"""Turned square regions of a picture, cut out and scaled to a model's input by OpenCV's bilinear warp.

MediaPipe uses the same warp, and no other will do: the models make steps of some pixels out of values that differ by 1
of 255. OpenCV makes up to 256 x 256 pixels, which no model's input exceeds, in the calling thread alone.
"""

import math

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.landmarks.mediapipe.regions import Region


def crop(
    picture: NDArray[np.uint8],
    region: Region,
    out: NDArray[np.float32],
    *,
    low: float = 0.0,
    black_outside: bool = False,
    nearest: bool = False,
) -> None:
    """Write the pixels of a usable region to `out`, float32 [size, size, 3].

    Args:
        picture: uint8 [H, W, 3].
        region: what to cut out.
        out: the input of a model.
        low: what black is; white is 1.
        black_outside: whether the picture ends in black; otherwise its outermost pixels go on.
        nearest: take the nearest pixel at each position, in half the time, for models that say where to look.
    """
    import cv2

    size = len(out)
    cosine, sine = region.size * math.cos(region.rotation), region.size * math.sin(region.rotation)
    left, top = region.x - (cosine - sine) / 2, region.y - (cosine + sine) / 2
    pixels = cv2.warpAffine(
        picture,
        np.array([[cosine / size, -sine / size, left], [sine / size, cosine / size, top]]),
        (size, size),
        flags=(cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT if black_outside else cv2.BORDER_REPLICATE,
    )
    np.multiply(pixels, np.float32((1 - low) / 255), out=out)
    if low:
        np.add(out, np.float32(low), out=out)
