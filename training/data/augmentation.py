"""Augmentation of clips, decided by numbers that the loader has drawn for each of them.

In: `Augmentation`, the limits, and uniform draws [B, num_draws] of the clips of a batch. Out: tensors of parameters,
one row a clip, for `training.transforms`; and batches mixed by mixup or CutMix. Only mixing draws numbers of its own,
from the batch's seed: the same draws give the same clip, whatever the batch, the rank or the number of threads.
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

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Function of logits [B, classes] and labels [B] that returns the mean loss."""


def num_draws(num_frames: int) -> int:
    """Return how many random numbers a clip needs for a model of `num_frames`."""
    return NUM_FIXED_DRAWS + num_frames


def frame_positions(num_stored: int, num_frames: int) -> list[int]:
    """Return the stored frames that a model of fewer frames sees: the middles of equal stretches.

    >>> frame_positions(16, 4)
    [2, 6, 10, 14]
    """
    return [(2 * k + 1) * num_stored // (2 * num_frames) for k in range(num_frames)]


def jittered_frame_positions(draws: Tensor, num_stored: int, num_frames: int, tempo: float) -> Tensor:
    """Return the stored frames that are shown, int64 [B, t]: a random one from each equal part of a random stretch."""
    stretch = 1 - (1 - tempo) * draws[:, TEMPO]
    start = (1 - stretch) * draws[:, START]
    jitter = draws[:, NUM_FIXED_DRAWS : NUM_FIXED_DRAWS + num_frames]
    parts = (torch.arange(num_frames) + jitter) / num_frames
    fractions = start[:, None] + stretch[:, None] * parts
    return (fractions * num_stored).long().clamp(max=num_stored - 1)


def sampling_matrices(draws: Tensor, limits: Augmentation) -> Tensor:
    """Return affine maps from output to stored frame, float32 [B, 2, 3], in torch's coordinates of -1 to 1."""
    scale = limits.crop_scale + (1 - limits.crop_scale) * draws[:, SCALE]
    stretch = torch.exp(_signed(draws[:, ASPECT]) * (math.log(limits.aspect) / 2))
    width, height = (scale * stretch).clamp(max=1), (scale / stretch).clamp(max=1)
    # The crop stays within the stored frame: its centre moves by no more than the margin that is left.
    centre_x, centre_y = (1 - width) * _signed(draws[:, LEFT]), (1 - height) * _signed(draws[:, TOP])
    angle = _signed(draws[:, ANGLE]) * math.radians(limits.rotation_degrees)
    mirrored = torch.where(flipped(draws, limits), -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [cos * width * mirrored, -sin * height, centre_x, sin * width * mirrored, cos * height, centre_y]
    return torch.stack(rows, dim=1).reshape(-1, 2, 3)


def flipped(draws: Tensor, limits: Augmentation) -> Tensor:
    """Return True for the clips that are mirrored, bool [B]."""
    return draws[:, FLIP] < limits.flip_probability


def tones(draws: Tensor, limits: Augmentation) -> Tensor:
    """Return each clip's contrast, saturation and brightness, float32 [3, B].

    They turn rgb in 0..1 into contrast * (grey + saturation * (rgb - grey) - 1/2) + 1/2 + brightness.
    """
    contrast = 1 + limits.contrast * _signed(draws[:, CONTRAST])
    saturation = 1 + limits.saturation * _signed(draws[:, SATURATION])
    return torch.stack([contrast, saturation, limits.brightness * _signed(draws[:, BRIGHTNESS])])


def erased_boxes(draws: Tensor, limits: Augmentation, size: int) -> list[tuple[int, slice, slice]]:
    """Return, for each clip that loses a rectangle, its place in the batch and the rectangle's rows and columns."""
    boxes = []
    for place in (draws[:, ERASE] < limits.erase_probability).nonzero()[:, 0].tolist():
        area, aspect, top, left = draws[place, list(ERASED)].tolist()
        side = size * math.sqrt(0.02 + 0.13 * area)  # 2 to 15 % of the picture
        shape = math.exp((2 * aspect - 1) * math.log(2))
        height, width = min(size, round(side * shape)), min(size, round(side / shape))
        row, column = round(top * (size - height)), round(left * (size - width))
        boxes.append((place, slice(row, row + height), slice(column, column + width)))
    return boxes


def _signed(draw: Tensor) -> Tensor:
    """Return numbers in -1 to 1 of numbers in 0 to 1."""
    return 2 * draw - 1


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Clips, each mixed with its neighbour in the batch."""

    clips: Tensor
    """float [B, 3, t, C, C]."""
    own_fraction: float = 1.0
    """Share of the clip that gave the label; the rest is the neighbour's."""

    def loss(self, function: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss against both labels, weighted by their shares."""
        if self.own_fraction == 1.0:
            return function(logits, labels)
        own, other = function(logits, labels), function(logits, labels.roll(1))
        return self.own_fraction * own + (1 - self.own_fraction) * other


def mix(clips: Tensor, *, mixup: float, cutmix: float, seed: int) -> Mixed:
    """Mix each clip with its neighbour in the batch, whose order is random already.

    With both kinds asked for, each batch takes one of them by chance. Sources: Zhang et al., "mixup: Beyond Empirical
    Risk Minimization" (2018); Yun et al., "CutMix" (2019).

    Args:
        clips: float [B, 3, t, C, C].
        mixup: both parameters of the beta distribution of a clip's own share; 0 for none.
        cutmix: the same for the area that stays a clip's own.
        seed: differs from batch to batch.
    """
    if len(clips) < 2 or not (mixup or cutmix):
        return Mixed(clips=clips)
    generator = np.random.default_rng(seed)
    if mixup and (not cutmix or generator.random() < 0.5):
        own_fraction = float(generator.beta(mixup, mixup))
        return Mixed(clips=torch.lerp(clips.roll(1, 0), clips, own_fraction), own_fraction=own_fraction)
    size = clips.shape[-1]
    side = round(size * math.sqrt(1 - generator.beta(cutmix, cutmix)))
    top, left = (int(generator.integers(size - side + 1)) for _ in range(2))
    box = (..., slice(top, top + side), slice(left, left + side))
    mixed = clips.clone()
    mixed[box] = clips.roll(1, 0)[box]
    return Mixed(clips=mixed, own_fraction=1 - (side / size) ** 2)
