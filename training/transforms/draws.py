"""Random numbers of a clip and what they mean: which frames are shown, and where the picture is.

Each training clip has its own, drawn by the loader, so that a clip changes in the same way on any number of devices.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from signprep.training.config import Augmentation
from signprep.training.transforms.views import View

TEMPO, START, SCALE, ASPECT, TOP, LEFT, ANGLE, BRIGHTNESS, CONTRAST, SATURATION, FLIP, ERASE, *ERASED = range(16)
"""Columns of the draws; a column for each frame of the model follows."""

NUM_FIXED_DRAWS = 16


NUM_TIME_DRAWS = 3
"""Behind them columns for the start, the end and the speed of the clip, only where these are changed: others would be
other numbers for all columns, and no run could go on."""


def num_draws(num_frames: int, limits: Augmentation | None = None) -> int:
    """Return how many random numbers a clip needs for a model of `num_frames`."""
    return NUM_FIXED_DRAWS + num_frames + (NUM_TIME_DRAWS if limits is not None and limits.changes_time else 0)


def frame_positions(num_stored: int, num_frames: int) -> list[int]:
    """Return the stored frames that a model of fewer frames sees: the middles of equal stretches.

    >>> frame_positions(16, 4)
    [2, 6, 10, 14]
    """
    return [(2 * k + 1) * num_stored // (2 * num_frames) for k in range(num_frames)]


def jittered_frame_positions(draws: Tensor, num_stored: int, num_frames: int, limits: Augmentation) -> Tensor:
    """Return the stored frames that are shown, int64 [B, t]: a random one from each equal part of a random stretch.

    Where a faster clip would begin before the stored one, or end behind it, the first or the last frame stays.
    """
    stretch = 1 - (1 - limits.tempo) * draws[:, TEMPO]
    start = (1 - stretch) * draws[:, START]
    if limits.changes_time:
        first, last, speed = draws[:, NUM_FIXED_DRAWS + num_frames :].unbind(dim=1)
        start = start + limits.boundary_shift * first * stretch
        stretch = stretch * (1 - limits.boundary_shift * (first + last))
        factor = torch.exp(signed(speed) * math.log(limits.speed))
        start, stretch = start + (1 - factor) / 2 * stretch, factor * stretch
    jitter = draws[:, NUM_FIXED_DRAWS : NUM_FIXED_DRAWS + num_frames]
    parts = (torch.arange(num_frames) + jitter) / num_frames
    fractions = start[:, None] + stretch[:, None] * parts
    return (fractions * num_stored).floor().long().clamp(min=0, max=num_stored - 1)


def sampling_matrices(draws: Tensor, limits: Augmentation) -> Tensor:
    """Return affine maps from output to stored frame, float32 [B, 2, 3], in torch's coordinates of -1 to 1."""
    scale = limits.crop_scale + (1 - limits.crop_scale) * draws[:, SCALE]
    stretch = torch.exp(signed(draws[:, ASPECT]) * (math.log(limits.aspect) / 2))
    width, height = (scale * stretch).clamp(max=1), (scale / stretch).clamp(max=1)
    # The crop stays within the stored frame: its centre moves by no more than the margin that is left.
    centre_x, centre_y = (1 - width) * signed(draws[:, LEFT]), (1 - height) * signed(draws[:, TOP])
    angle = signed(draws[:, ANGLE]) * math.radians(limits.rotation_degrees)
    mirrored = torch.where(flipped(draws, limits), -1.0, 1.0)
    cos, sin = torch.cos(angle), torch.sin(angle)
    rows = [cos * width * mirrored, -sin * height, centre_x, sin * width * mirrored, cos * height, centre_y]
    return torch.stack(rows, dim=1).reshape(-1, 2, 3)


def exact(matrices: Tensor) -> Tensor:
    """Return matrices in 64 bits on a GPU: its products of 32 bits may be rounded to TF32, 0.06 of 256 pixels off."""
    return matrices.double() if matrices.is_cuda else matrices


def flipped(draws: Tensor, limits: Augmentation) -> Tensor:
    """Return True for the clips that are mirrored, bool [B]."""
    return draws[:, FLIP] < limits.flip_probability


def signed(draw: Tensor) -> Tensor:
    """Return numbers in -1 to 1 of numbers in 0 to 1."""
    return 2 * draw - 1


@dataclass(frozen=True, kw_only=True)
class FrameChoice:
    """Says which stored frames a model is shown, so that those who read clips can leave the others out."""

    num_frames: int
    """Frames of the model."""
    limits: Augmentation

    def __call__(self, draws: Tensor, num_stored: int) -> Tensor | None:
        """Return the frames of each clip, int64 [B, t], by its draws [B, d]; None for all of them in their order.

        Without draws, of shape [B, 0], they are the middles of equal stretches.
        """
        if draws.shape[1]:
            return jittered_frame_positions(draws, num_stored, self.num_frames, self.limits)
        positions = frame_positions(num_stored, self.num_frames)
        return None if positions == list(range(num_stored)) else torch.tensor(positions).expand(len(draws), -1)


def shown_frames(clips: Tensor, draws: Tensor | None, choice: FrameChoice, view: View | None = None) -> Tensor:
    """Return the frames of stored clips [B, T, ...] that a model sees, [B, t, ...]; with draws, random ones."""
    if draws is None:
        positions = frame_positions(clips.shape[1], choice.num_frames) if view is None else list(view.frames)
        return clips if positions == list(range(clips.shape[1])) else clips[:, positions]
    chosen = choice(draws, clips.shape[1])
    assert chosen is not None
    places = torch.arange(len(clips), device=clips.device)[:, None]
    return clips[places, chosen.to(clips.device, non_blocking=True)]
