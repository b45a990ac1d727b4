"""What augmentation does to a clip, decided by numbers that the loader drew for it.

In: `Augmentation`, the limits, and uniform draws [B, num_draws] of the clips of a batch. Out: tensors of parameters,
one row a clip, for `training.transforms`. Nothing is random here: the same draws give the same clip, whatever the
batch, the rank or the number of threads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from signprep.training.config import Augmentation

TEMPO, START, SCALE, ASPECT, TOP, LEFT, ANGLE, BRIGHTNESS, CONTRAST, SATURATION, FLIP, ERASE, *ERASED = range(16)
"""Columns of the draws; a column for each frame of the model follows."""

NUM_FIXED_DRAWS = 16


def num_draws(num_frames: int) -> int:
    """Return how many random numbers a clip needs for a model of `num_frames`."""
    return NUM_FIXED_DRAWS + num_frames


def frame_positions(num_stored: int, num_frames: int) -> list[int]:
    """Return the middles of equal parts of the stored frames: which ones a model of fewer frames sees.

    >>> frame_positions(16, 4)
    [2, 6, 10, 14]
    """
    return [(2 * k + 1) * num_stored // (2 * num_frames) for k in range(num_frames)]


def jittered_frame_positions(draws: Tensor, num_stored: int, num_frames: int, tempo: float) -> Tensor:
    """Return which stored frames are shown, int64 [B, t]: one at random from each equal part of a random stretch."""
    stretch = 1 - (1 - tempo) * draws[:, TEMPO]
    start = (1 - stretch) * draws[:, START]
    jitter = draws[:, NUM_FIXED_DRAWS : NUM_FIXED_DRAWS + num_frames]
    parts = (torch.arange(num_frames) + jitter) / num_frames
    fractions = start[:, None] + stretch[:, None] * parts
    return (fractions * num_stored).long().clamp(max=num_stored - 1)


def sampling_matrices(draws: Tensor, limits: Augmentation) -> Tensor:
    """Return affine maps from output to source, float32 [B, 2, 3], in torch's coordinates of -1 to 1."""
    scale = limits.crop_scale + (1 - limits.crop_scale) * draws[:, SCALE]
    stretch = torch.exp(_signed(draws[:, ASPECT]) * (math.log(limits.aspect) / 2))
    width, height = (scale * stretch).clamp(max=1), (scale / stretch).clamp(max=1)
    centre_x, centre_y = (1 - width) * _signed(draws[:, LEFT]), (1 - height) * _signed(draws[:, TOP])
    angle = _signed(draws[:, ANGLE]) * math.radians(limits.rotation_degrees)
    mirrored = torch.where(flipped(draws, limits), -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [cos * width * mirrored, -sin * height, centre_x, sin * width * mirrored, cos * height, centre_y]
    return torch.stack(rows, dim=1).reshape(-1, 2, 3)


def flipped(draws: Tensor, limits: Augmentation) -> Tensor:
    """Return which clips are mirrored, bool [B]."""
    return draws[:, FLIP] < limits.flip_probability


@dataclass(frozen=True, kw_only=True)
class Tones:
    """Changes of tone, float32 [B] each: contrast * (grey + saturation * (rgb - grey) - 1/2) + 1/2 + brightness."""

    contrast: Tensor
    saturation: Tensor
    brightness: Tensor

    def of(self, clips: slice) -> "Tones":
        """Return those of some clips."""
        return Tones(
            contrast=self.contrast[clips], saturation=self.saturation[clips], brightness=self.brightness[clips]
        )


def tones(draws: Tensor, limits: Augmentation) -> Tones:
    """Return the clips' changes of tone."""
    return Tones(
        contrast=1 + limits.contrast * _signed(draws[:, CONTRAST]),
        saturation=1 + limits.saturation * _signed(draws[:, SATURATION]),
        brightness=limits.brightness * _signed(draws[:, BRIGHTNESS]),
    )


def erased_boxes(draws: Tensor, limits: Augmentation, size: int) -> list[tuple[int, slice, slice]]:
    """Return, for each clip that loses a rectangle, its place in the batch and the rectangle's rows and columns."""
    boxes = []
    for place in (draws[:, ERASE] < limits.erase_probability).nonzero()[:, 0].tolist():
        area, aspect, top, left = draws[place, list(ERASED)].tolist()
        side = size * math.sqrt(0.02 + 0.13 * area)
        shape = math.exp((2 * aspect - 1) * math.log(2))
        height, width = min(size, round(side * shape)), min(size, round(side / shape))
        row, column = round(top * (size - height)), round(left * (size - width))
        boxes.append((place, slice(row, row + height), slice(column, column + width)))
    return boxes


LossFunction = Callable[[Tensor, Tensor], Tensor]
"""From logits [B, classes] and labels [B] to the mean loss."""


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Clips, and how much of each is its own."""

    clips: Tensor
    """float [B, 3, t, C, C]."""
    own_part: float = 1.0
    """Of the clip that gave its label; the rest is the neighbour's."""

    def loss(self, function: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss against both labels, weighted by their parts."""
        if self.own_part == 1.0:
            return function(logits, labels)
        own, other = function(logits, labels), function(logits, labels.roll(1))
        return self.own_part * own + (1 - self.own_part) * other


def mix(clips: Tensor, *, mixup: float, cutmix: float, seed: int) -> Mixed:
    """Mix the clips of a batch; with both kinds asked for, each batch takes one of them by chance.

    Args:
        clips: float [B, 3, t, C, C].
        mixup: both parameters of the beta distribution of the own part; 0 for none.
        cutmix: the same for the area that stays.
        seed: of this batch.
    """
    if len(clips) < 2 or not (mixup or cutmix):
        return Mixed(clips=clips)
    generator = np.random.default_rng(seed)
    if mixup and (not cutmix or generator.random() < 0.5):
        own_part = float(generator.beta(mixup, mixup))
        return Mixed(clips=torch.lerp(clips.roll(1, 0), clips, own_part), own_part=own_part)
    size = clips.shape[-1]
    side = round(size * math.sqrt(1 - generator.beta(cutmix, cutmix)))
    top, left = (int(generator.integers(size - side + 1)) for _ in range(2))
    box = (..., slice(top, top + side), slice(left, left + side))
    mixed = clips.clone()
    mixed[box] = clips.roll(1, 0)[box]
    return Mixed(clips=mixed, own_part=1 - (side / size) ** 2)


def _signed(draw: Tensor) -> Tensor:
    """Return numbers in -1 to 1 of numbers in 0 to 1."""
    return 2 * draw - 1
