"""Turned square regions of a picture, cut out and scaled to a model's input: 0.5 ms for 256x256 pixels.

The pixels are those of OpenCV's bilinear warp, which MediaPipe uses: positions are rounded to 1/32 of a pixel, values
to whole numbers. That is worth its pains: the models make steps of some pixels out of values that differ by 1 of 255.

A pixel's three channels lie in one 64-bit number, 21 bits each, and the weights of its four neighbours add up to 1024:
one multiplication weighs all channels of a pixel at once, and no channel overflows into the next. A channel holds twice
its value and one, so that the sum's upper bits are rounded.
"""

import math

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.landmarks.regions import Region

_STEPS_LOG2 = 5
_STEPS = 1 << _STEPS_LOG2
"""Positions between two pixels."""
_FINER_LOG2 = 11
"""Bits by which positions are finer than steps until they are added up."""
_CHANNEL_BITS = 21
_ONES = np.uint64(sum(1 << _CHANNEL_BITS * channel for channel in range(3)))
"""A black pixel."""


class Picture:
    """One upright frame, ready to be cropped many times."""

    def __init__(self, frame: NDArray[np.uint8]) -> None:
        """Take a frame, uint8 [H, W, 3]."""
        self.height, self.width = frame.shape[:2]
        packed = np.zeros((self.height + 2, self.width + 2), np.uint64)
        inner = packed[1:-1, 1:-1]
        for channel in (2, 1, 0):
            np.left_shift(inner, np.uint64(_CHANNEL_BITS), out=inner)
            np.bitwise_or(inner, frame[..., channel], out=inner)
        np.left_shift(packed, np.uint64(1), out=packed)
        self.pixels = np.add(packed, _ONES, out=packed).reshape(-1)
        """Rows of a picture that has one more pixel on each side, black; red in the lowest bits."""

    @property
    def whole(self) -> Region:
        """The smallest square around the picture."""
        return Region(self.width / 2, self.height / 2, max(self.width, self.height), 0.0)


class Cropper:
    """Callable that fills the input of one model; it keeps its working memory."""

    def __init__(self, size: int, *, low: float = 0.0, black_outside: bool = False) -> None:
        """Prepare for a model.

        Args:
            size: pixels of a side.
            low: what black is; white is 1.
            black_outside: whether the picture ends in black; otherwise its outermost pixels go on.
        """
        self._low, self._black_outside = low, black_outside
        self._parts = np.arange(size) / size - 0.5
        self._x, self._y, *self._weights = (np.empty((size, size), np.int32) for _ in range(6))
        self._index = np.empty((size, size), np.intp)
        self._sum, self._neighbour, self._weight = (np.empty((size, size), np.uint64) for _ in range(3))
        self._values = np.empty((size, size), np.uint8)

    def __call__(self, picture: Picture, region: Region, out: NDArray[np.float32]) -> None:
        """Write the pixels of a usable region to `out`, float32 [size, size, 3]."""
        self._locate(picture, region)
        total, neighbour, row = self._sum, self._neighbour, picture.width + 2
        for offset, weight in zip((0, 1, row, row + 1), self._weights, strict=True):
            np.take(picture.pixels[offset:], self._index, out=neighbour, mode="clip")
            np.copyto(self._weight, weight, casting="unsafe")
            np.multiply(neighbour, self._weight, out=neighbour if offset else total)
            if offset:
                np.add(total, neighbour, out=total)
        for channel in range(3):
            np.right_shift(total, np.uint64(2 * _STEPS_LOG2 + 1 + _CHANNEL_BITS * channel), out=neighbour)
            np.copyto(self._values, neighbour, casting="unsafe")
            np.multiply(self._values, np.float32((1 - self._low) / 255), out=out[..., channel])
        if self._low:
            np.add(out, np.float32(self._low), out=out)

    def _locate(self, picture: Picture, region: Region) -> None:
        """Find the pixel up left of each position, and the weights of that and its three neighbours."""
        cosine, sine = (region.size * turned(region.rotation) * self._parts for turned in (math.cos, math.sin))
        x, y, (up_left, up_right, down_left, down_right) = self._x, self._y, self._weights
        first = 0 if self._black_outside else 1
        for positions, down, along, length, rest in (
            (x, region.x - sine, cosine, picture.width, up_right),
            (y, region.y + cosine, sine, picture.height, down_left),
        ):
            np.add(_fine(down + (1 + 0.5 / _STEPS))[:, None], _fine(along), out=positions)
            np.right_shift(positions, _FINER_LOG2, out=positions)
            np.clip(positions, first * _STEPS, (length + 1 - first) * _STEPS, out=positions)
            np.bitwise_and(positions, _STEPS - 1, out=rest)
            np.right_shift(positions, _STEPS_LOG2, out=positions)
        np.multiply(y, picture.width + 2, out=y)
        np.add(x, y, out=self._index)
        np.multiply(up_right, down_left, out=down_right)
        for weight in (up_right, down_left):
            np.left_shift(weight, _STEPS_LOG2, out=weight)
        np.subtract(_STEPS * _STEPS, down_left, out=up_left)
        for weight in (up_right, down_left):
            np.subtract(weight, down_right, out=weight)
        np.subtract(up_left, up_right, out=up_left)


def _fine(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return positions in parts of a step, which no usable region exceeds 2**31 of."""
    return np.rint(pixels * (_STEPS << _FINER_LOG2)).astype(np.int32)
