"""From stored uint8 batches to model input, on the device: subsample, sample, colour, normalise.

In: uint8 I420 [B, T, 3S/2, S] or RGB [B, T, S, S, 3] as a cache stores them. Out: float32 [B, 3, t, C, C], normalised,
in the memory format that is asked for. Frames are dropped first; one bilinear sampling of each plane is crop, resize
and rotation at once, for the whole batch; tone, colour conversion and normalisation are one sum per channel at the
model's own size. The costly steps see the fewest pixels: about a millisecond of one core for 4 frames of 160.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

from signprep.training.config import Augmentation
from signprep.training.model_spec.spec import ModelSpec
from signprep.training.transforms.draws import (
    BRIGHTNESS,
    CONTRAST,
    ERASE,
    ERASED,
    SATURATION,
    FrameChoice,
    exact,
    sampling_matrices,
    shown_frames,
    signed,
)
from signprep.training.transforms.views import View

AugmentFunction = Callable[[Tensor, Generator], Tensor]
"""A custom augmentation: RGB clips in 0..1, float [B, 3, t, C, C], and a seeded generator -> clips of that shape."""


# ITU-R BT.601, in the limited range of 8 bits.
LUMA = (0.299, 0.587, 0.114)
"""Shares of R, G and B in Y."""

CHROMA = ((0.0, 1.402), (-0.344136, -0.714136), (1.772, 0.0))
"""Factors of U and V in R, G and B."""

LUMA_BLACK, LUMA_RANGE, CHROMA_ZERO, CHROMA_RANGE = 16.0, 219.0, 128.0, 224.0


def tones(draws: Tensor, limits: Augmentation) -> Tensor:
    """Return each clip's contrast, saturation and brightness, float32 [3, B].

    They turn rgb in 0..1 into contrast * (grey + saturation * (rgb - grey) - 1/2) + 1/2 + brightness.
    """
    contrast = 1 + limits.contrast * signed(draws[:, CONTRAST])
    saturation = 1 + limits.saturation * signed(draws[:, SATURATION])
    return torch.stack([contrast, saturation, limits.brightness * signed(draws[:, BRIGHTNESS])])


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


def i420_planes(clips: Tensor) -> tuple[Tensor, Tensor]:
    """Return views Y [..., S, S] and U, V [..., 2, S/2, S/2] of I420 frames [..., 3S/2, S]."""
    size = clips.shape[-1]
    luma, chroma = clips[..., :size, :], clips[..., size:, :]
    return luma, chroma.reshape(*clips.shape[:-2], 2, size // 2, size // 2)


def chroma_grid(grid: Tensor, size: int) -> Tensor:
    """Return the grid that samples planes of half the size as if each of their pixels stood for 2 x 2.

    Bilinear sampling of a plane whose pixels were doubled is, along each axis, bilinear sampling of the plane itself
    at another coordinate: constant between the two copies of a pixel, linear between neighbours. So the doubled
    plane, which is what FFmpeg's conversion sees, is never made.

    Args:
        grid: sampling coordinates [..., 2] in -1 to 1, as of `torch.nn.functional.affine_grid`.
        size: side of the full plane, S.
    """
    pixels = (((grid + 1) * size - 1) / 2).clamp(0, size - 1)
    whole = pixels.floor()
    half = torch.where(whole % 2 == 1, (whole - 1) / 2 + (pixels - whole), whole / 2)
    return (2 * half + 1) / (size // 2) - 1


def sampled(planes: Tensor, grid: Tensor) -> Tensor:
    """Return planes [B, P, H, W] at a grid [B, C, C, 2]: float [B, P, C, C]; beyond the edge the edge goes on."""
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)


class ClipTransform:
    """Callable from stored batches to model input: plain, or augmented where draws are given."""

    def __init__(
        self,
        spec: ModelSpec,
        augmentation: Augmentation | None = None,
        augment: AugmentFunction | None = None,
        memory_format: torch.memory_format = torch.channels_last_3d,
    ) -> None:
        """Make the transform of a model.

        Args:
            spec: the model's frames, crop, mean and std.
            augmentation: limits; the defaults if None.
            augment: custom augmentation, called after the others.
            memory_format: layout of the result; a model is fastest with that of its weights.
        """
        self._spec = spec
        self._limits = augmentation or Augmentation()
        self._augment = augment
        self._memory_format = memory_format
        self.frame_choice = FrameChoice(num_frames=spec.num_frames, limits=self._limits)
        """The frames that are shown; who applies it to clips beforehand says so by `frames_chosen`."""
        self._plain_grids: dict[tuple[int, torch.device, float | None], tuple[Tensor, Tensor]] = {}

    def __call__(
        self,
        clips: Tensor,
        draws: Tensor | None = None,
        *,
        seed: int = 0,
        view: View | None = None,
        frames_chosen: bool = False,
    ) -> Tensor:
        """Return float32 [B, 3, t, C, C] of stored clips, uint8 [B, T, ...], on the clips' device.

        Args:
            clips: as stored.
            draws: the clips' random numbers, on the CPU; without them, nothing is augmented.
            seed: seeds the generator of the custom augmentation.
            view: what is shown where nothing is augmented; evenly spaced frames of the whole picture if None.
            frames_chosen: the clips' frames are those that are shown, [B, t, ...], chosen by `frame_choice` before.
        """
        spec = self._spec
        augment = self._augment if draws is not None else None
        # A custom augmentation takes RGB in 0..1 and is normalised after it.
        mean, std = (0.0, 1.0) if augment else (spec.mean, spec.std)
        frames = clips if frames_chosen else shown_frames(clips, draws, self.frame_choice, view)
        all_tones = None if draws is None else tones(draws, self._limits).to(clips.device, non_blocking=True)
        grids = self._grids(clips, draws, view)
        shape = (len(clips), *spec.input_shape)
        batch = torch.empty(shape, device=clips.device, memory_format=self._memory_format)
        fill = _fill_from_rgb if clips.dim() == 5 else _fill_from_i420
        # A processor's cache holds the planes of a clip but not of a batch: one by one takes half the time there.
        each = 1 if clips.device.type == "cpu" else len(clips)
        for first in range(0, len(clips), each):
            some = slice(first, first + each)
            tone = None if all_tones is None else all_tones[:, some, None, None, None]
            fill(batch[some], frames[some], (grids[0][some], grids[1][some]), tone, mean, std)
            batch[some].clamp_((0 - mean) / std, (1 - mean) / std)
        if draws is not None:
            grey = (spec.mean - mean) / std
            for place, rows, columns in erased_boxes(draws, self._limits, spec.crop_size):
                batch[place, :, :, rows, columns] = grey
        if augment:
            batch = augment(batch, Generator(clips.device).manual_seed(seed)).sub(spec.mean).div(spec.std)
        return batch

    def _grids(self, clips: Tensor, draws: Tensor | None, view: View | None) -> tuple[Tensor, Tensor]:
        """Return the sampling grids of full planes and of chroma planes, [B, C, C, 2]."""
        size = clips.shape[2] if clips.dim() == 5 else clips.shape[-1]
        if draws is None:
            key = size, clips.device, None if view is None else view.shift
            if key not in self._plain_grids:
                matrix = torch.eye(2, 3) if view is None else torch.tensor(view.matrix)
                self._plain_grids[key] = self._grids_of(matrix[None].to(clips.device), size)
            full, half = self._plain_grids[key]
            return full.expand(len(clips), -1, -1, -1), half.expand(len(clips), -1, -1, -1)
        matrices = sampling_matrices(draws, self._limits).to(clips.device, non_blocking=True)
        return self._grids_of(matrices, size)

    def _grids_of(self, matrices: Tensor, size: int) -> tuple[Tensor, Tensor]:
        side = self._spec.crop_size
        grid = functional.affine_grid(exact(matrices), [len(matrices), 1, side, side], align_corners=False).float()
        return grid, chroma_grid(grid, size)


def _fill_from_i420(
    batch: Tensor, frames: Tensor, grids: tuple[Tensor, Tensor], tone: Tensor | None, mean: float, std: float
) -> None:
    """Write [B, 3, t, C, C] from I420 frames, uint8 [B, t, 3S/2, S], and `tones`: RGB is linear in Y, U and V."""
    if tone is None:
        tone = torch.tensor([1.0, 1.0, 0.0], device=batch.device).reshape(3, 1, 1, 1, 1)
    contrast, saturation, brightness = tone
    luma, chroma = i420_planes(frames)
    y = sampled(luma.float(), grids[0])
    uv = sampled(chroma.float().sub_(CHROMA_ZERO).flatten(1, 2), grids[1]).unflatten(1, (-1, 2))
    black = LUMA_BLACK / LUMA_RANGE
    y.mul_(contrast / (LUMA_RANGE * std))
    y.add_(((-black - 0.5) * contrast + 0.5 + brightness - mean) / std)
    strength = contrast * saturation / (CHROMA_RANGE * std)
    for channel, factors in enumerate(CHROMA):
        base = y
        for plane, factor in enumerate(factors):
            if factor:
                base = torch.addcmul(base, uv[:, :, plane], factor * strength, out=batch[:, channel])


def _fill_from_rgb(
    batch: Tensor, frames: Tensor, grids: tuple[Tensor, Tensor], tone: Tensor | None, mean: float, std: float
) -> None:
    """Write [B, 3, t, C, C] from RGB frames, uint8 [B, t, S, S, 3], and `tones`."""
    planes = sampled(frames.permute(0, 1, 4, 2, 3).flatten(1, 2).float(), grids[0]).unflatten(1, (-1, 3))
    if tone is None:
        batch.copy_(planes.transpose(1, 2)).mul_(1 / (255 * std)).sub_(mean / std)
        return
    contrast, saturation, brightness = tone
    offset = (0.5 - 0.5 * contrast + brightness - mean) / std
    strength = contrast / (255 * std)
    grey = sum(share * planes[:, :, channel] for channel, share in enumerate(LUMA))
    shared = offset + strength * (1 - saturation) * grey
    for channel in range(3):
        torch.addcmul(shared, planes[:, :, channel], strength * saturation, out=batch[:, channel])
