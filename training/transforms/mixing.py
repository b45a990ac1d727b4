"""Clips that are mixed with their neighbours in the batch, and the loss against both labels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Function of logits [B, classes] and labels [B] that returns the mean loss."""


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
