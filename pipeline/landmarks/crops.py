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
_CHANNEL, _ONE = np.uint64(_CHANNEL_BITS), np.uint64(1)
_SHIFTS_OF_PIXELS = [np.uint64(1 + _CHANNEL_BITS * channel) for channel in range(3)]
_SHIFTS_OF_SUMS = [np.uint64(2 * _STEPS_LOG2) + shift for shift in _SHIFTS_OF_PIXELS]
_STRIP = 16384
"""Pixels that are worked on at a time: the memory for so many fits into a core's second cache."""
_ONES = np.uint64(sum(1 << _CHANNEL_BITS * channel for channel in range(3)))
"""A black pixel."""


class Picture:
    """An upright frame, ready to be cropped many times; it keeps its memory from frame to frame."""

    def __init__(self, height: int, width: int) -> None:
        """Make a black picture of a size in pixels."""
        self.height, self.width = height, width
        self._packed = np.full((height + 2, width + 2), _ONES)
        self._working = np.empty((2, max(_STRIP, width)), np.uint64)
        self.pixels = self._packed.reshape(-1)
        """Rows of the picture with one more pixel on each side, black; red in the lowest bits."""

    def show(self, frame: NDArray[np.uint8]) -> None:
        """Take a frame, uint8 [H, W, 3]."""
        strip = max(1, _STRIP // self.width)
        for top in range(0, self.height, strip):
            pixels = frame[top : top + strip]
            packed, values = (one[: pixels.shape[0] * self.width].reshape(-1, self.width) for one in self._working)
            np.copyto(packed, pixels[..., 2])
            for channel in (1, 0):
                np.copyto(values, pixels[..., channel])
                np.left_shift(packed, _CHANNEL, out=packed)
                np.bitwise_or(packed, values, out=packed)
            np.left_shift(packed, _ONE, out=packed)
            np.add(packed, _ONES, out=self._packed[1 + top : 1 + top + len(pixels), 1:-1])

    @property
    def whole(self) -> Region:
        """The smallest square around the picture."""
        return Region(self.width / 2, self.height / 2, max(self.width, self.height), 0.0)


class Cropper:
    """Callable that fills the inputs of models, strip by strip, so that its working memory stays in the cache."""

    def __init__(self) -> None:
        self._positions = np.empty((6, _STRIP), np.int32)
        self._index = np.empty(_STRIP, np.intp)
        self._packed = np.empty((3, _STRIP), np.uint64)
        self._values = np.empty(_STRIP, np.uint8)

    def __call__(
        self,
        picture: Picture,
        region: Region,
        out: NDArray[np.float32],
        *,
        low: float = 0.0,
        black_outside: bool = False,
        nearest: bool = False,
    ) -> None:
        """Write the pixels of a usable region to `out`, float32 [size, size, 3].

        Args:
            picture: the frame.
            region: what to cut out.
            out: the input of a model.
            low: what black is; white is 1.
            black_outside: whether the picture ends in black; otherwise its outermost pixels go on.
            nearest: take the nearest pixel at each position, in half the time, for models that say where to look.
        """
        parts = np.arange(len(out)) / len(out) - 0.5
        cosine, sine = (region.size * turned(region.rotation) * parts for turned in (math.cos, math.sin))
        half = 1.5 if nearest else 1 + 0.5 / _STEPS
        down = _fine(region.x + half - sine)[:, None], _fine(region.y + half + cosine)[:, None]
        along, scale = (_fine(cosine), _fine(sine)), np.float32((1 - low) / 255)
        rows = _STRIP // len(out)
        for top in range(0, len(out), rows):
            strip = out[top : top + rows]
            shape, count = strip.shape[:2], strip.shape[0] * strip.shape[1]
            positions = [one[:count].reshape(shape) for one in self._positions]
            for position, first, second in zip(positions, down, along, strict=False):
                np.add(first[top : top + rows], second, out=position)
            index = self._index[:count].reshape(shape)
            total, neighbour, factor = (one[:count].reshape(shape) for one in self._packed)
            _locate(picture, positions, index, first=0 if black_outside else 1, nearest=nearest)
            if nearest:
                picture.pixels.take(index, out=total, mode="clip")
            else:
                _weigh(picture, index, positions[2:], total, neighbour, factor)
            values = self._values[:count].reshape(shape)
            for channel, bits in enumerate(_SHIFTS_OF_PIXELS if nearest else _SHIFTS_OF_SUMS):
                np.right_shift(total, bits, out=neighbour)
                np.copyto(values, neighbour, casting="unsafe")
                np.copyto(strip[..., channel], values)
            np.multiply(strip, scale, out=strip)
            if low:
                np.add(strip, np.float32(low), out=strip)


def _fine(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return positions in parts of a step, which no usable region exceeds 2**31 of."""
    return np.rint(pixels * (_STEPS << _FINER_LOG2)).astype(np.int32)


def _locate(
    picture: Picture, positions: list[NDArray[np.int32]], index: NDArray[np.intp], *, first: int, nearest: bool
) -> None:
    """Turn positions into the pixels at them, or up left of them with the weights of those and three neighbours.

    Args:
        picture: the frame.
        positions: x and y in parts of a step, and four arrays for the weights, int32 [rows, columns].
        index: gets the pixels' places in `Picture.pixels`.
        first: column and row of the first pixel to use.
        nearest: whether the weights are left out.
    """
    x, y, up_left, up_right, down_left, down_right = positions
    for position, length, rest in ((x, picture.width, up_right), (y, picture.height, down_left)):
        last = length + 1 - first
        if nearest:
            np.right_shift(position, _FINER_LOG2 + _STEPS_LOG2, out=position)
            np.clip(position, first, last, out=position)
        else:
            np.right_shift(position, _FINER_LOG2, out=position)
            np.clip(position, first * _STEPS, last * _STEPS, out=position)
            np.bitwise_and(position, _STEPS - 1, out=rest)
            np.right_shift(position, _STEPS_LOG2, out=position)
    np.multiply(y, picture.width + 2, out=y)
    np.add(x, y, out=x)
    np.copyto(index, x)
    if nearest:
        return
    np.multiply(up_right, down_left, out=down_right)
    for weight in (up_right, down_left):
        np.left_shift(weight, _STEPS_LOG2, out=weight)
    np.subtract(_STEPS * _STEPS, down_left, out=up_left)
    for weight in (up_right, down_left):
        np.subtract(weight, down_right, out=weight)
    np.subtract(up_left, up_right, out=up_left)


def _weigh(
    picture: Picture,
    index: NDArray[np.intp],
    weights: list[NDArray[np.int32]],
    total: NDArray[np.uint64],
    neighbour: NDArray[np.uint64],
    factor: NDArray[np.uint64],
) -> None:
    """Add up the weighted pixels at the index, right of it, below it, and both; the last two are working memory."""
    row = picture.width + 2
    for offset, weight in zip((0, 1, row, row + 1), weights, strict=True):
        np.copyto(factor, weight, casting="unsafe")
        picture.pixels[offset:].take(index, out=neighbour, mode="clip")
        np.multiply(neighbour, factor, out=neighbour if offset else total)
        if offset:
            np.add(total, neighbour, out=total)
