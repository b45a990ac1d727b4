"""Files that take frames as cameras give them: uint8 RGB [B, T, H, W, 3], scaled and normalised inside the file.

The layout is that of pictures one after the other, so that a program appends the bytes of its frames.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from signprep.training.model_spec import ModelSpec
from signprep.training.transforms import ClipTransform


class Preprocessing(nn.Module):
    """In the file: uint8 RGB [B, T, H, W, 3] -> float [B, 3, T, H, W], normalised as in training."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.scale = 1 / (255 * spec.std)
        self.offset = spec.mean / spec.std

    def forward(self, frames: Tensor) -> Tensor:
        """Return the clips."""
        return frames.permute(0, 4, 1, 2, 3).float() * self.scale - self.offset


class RgbFrames:
    """Before the file: stored clips, uint8 [B, T, ...], as such frames; colours are rounded to whole numbers."""

    def __init__(self, spec: ModelSpec) -> None:
        self._rgb = ClipTransform(replace(spec, mean=0.0, std=1.0))

    def __call__(self, clips: Tensor) -> Tensor:
        """Return uint8 [B, t, C, C, 3]."""
        rgb = self._rgb(clips).mul_(255).round_()
        return rgb.to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()
