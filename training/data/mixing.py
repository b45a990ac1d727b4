"""Mixup and CutMix: pairs of clips of a batch mixed, and the loss that goes with them.

Sources: Zhang et al., "mixup: Beyond Empirical Risk Minimization" (2018); Yun et al., "CutMix" (2019). Each clip is
mixed with its neighbour in the batch, whose order is random already.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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
