"""From stored uint8 batches to model input, on the device: subsample, crop and resize, then colour and scale.

In: uint8 I420 [B, T, 3S/2, S] or RGB [B, T, S, S, 3] as the cache stores them. Out: float [B, 3, t, C, C], normalised.
Frames are dropped and planes cropped before anything becomes float, and colour is converted at the model's own size:
the costly steps see the fewest pixels. There is no horizontal flip: 왼쪽 and 오른쪽 would change places.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from signprep.training.model_spec import ModelSpec

SMALLEST_CROP_SCALE = 0.8
"""Of the frame's side, for random crops in training: hands stay in the picture."""

BRIGHTNESS_CONTRAST = 0.2
"""Largest random change of contrast, and of brightness as a part of the full range."""


def frame_positions(num_stored: int, num_frames: int) -> list[int]:
    """Return the middles of equal parts of the stored frames: which ones a model of fewer frames sees.

    >>> frame_positions(16, 4)
    [2, 6, 10, 14]
    """
    return [(2 * k + 1) * num_stored // (2 * num_frames) for k in range(num_frames)]


def jittered_frame_positions(num_stored: int, num_frames: int, generator: Generator) -> Tensor:
    """Return one random stored frame from each of `num_frames` equal parts, int64 [t]."""
    parts = torch.arange(num_frames) + torch.rand(num_frames, generator=generator)
    return (parts * (num_stored / num_frames)).long().clamp(max=num_stored - 1)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square of the stored frame, in fractions of its side."""

    top: float = 0.0
    left: float = 0.0
    scale: float = 1.0


def random_crop(generator: Generator) -> Crop:
    """Return a square of at least `SMALLEST_CROP_SCALE` of the side, anywhere."""
    scale, top, left = torch.rand(3, generator=generator).tolist()
    scale = SMALLEST_CROP_SCALE + (1 - SMALLEST_CROP_SCALE) * scale
    return Crop(top=top * (1 - scale), left=left * (1 - scale), scale=scale)


def resized(planes: Tensor, crop: Crop, size: int) -> Tensor:
    """Return the crop of planes [N, H, W] (uint8 or float) at size x size, float [N, size, size], bilinear."""
    side = planes.shape[-1]
    cropped = max(1, round(crop.scale * side))
    top, left = min(round(crop.top * side), side - cropped), min(round(crop.left * side), side - cropped)
    part = planes[:, top : top + cropped, left : left + cropped].float()
    if cropped == size:
        return part
    return functional.interpolate(part[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def i420_planes(clips: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return views Y [..., S, S], U and V [..., S/2, S/2] of I420 frames [..., 3S/2, S]."""
    size = clips.shape[-1]
    luma, chroma = clips[..., :size, :], clips[..., size:, :]
    half = chroma.reshape(*clips.shape[:-2], 2, size // 2, size // 2)
    return luma, half[..., 0, :, :], half[..., 1, :, :]


def yuv_to_rgb(luma: Tensor, chroma_u: Tensor, chroma_v: Tensor) -> Tensor:
    """Return RGB in 0..1, float [3, ...], of limited-range BT.601 planes in 0..255.

    Source: ITU-R BT.601; 255/219 and 255/224 undo the limited range.
    """
    y = (luma - 16.0) * (1 / 219)
    u, v = (chroma_u - 128.0) * (1 / 224), (chroma_v - 128.0) * (1 / 224)
    red = y + 1.402 * v
    green = y - 0.344136 * u - 0.714136 * v
    blue = y + 1.772 * u
    return torch.stack([red, green, blue]).clamp_(0.0, 1.0)


def clip_to_rgb(clip: Tensor, crop: Crop, size: int) -> Tensor:
    """Return one stored clip, uint8 [t, 3S/2, S] or [t, S, S, 3], as RGB in 0..1, float [3, t, size, size]."""
    if clip.dim() == 4:
        planes = clip.permute(3, 0, 1, 2).flatten(0, 1)
        return (resized(planes, crop, size) * (1 / 255)).unflatten(0, (3, clip.shape[0]))
    return yuv_to_rgb(*(resized(plane, crop, size) for plane in i420_planes(clip)))


class ClipTransform:
    """Callable from stored batches to model input; deterministic in evaluation, seeded in training."""

    def __init__(self, spec: ModelSpec, *, generator: Generator | None = None) -> None:
        """Make the transform of a model; with a generator (on the CPU) it augments, without one it does not."""
        self._spec = spec
        self._generator = generator

    def __call__(self, clips: Tensor) -> Tensor:
        """Return float [B, 3, t, C, C] of stored clips, uint8 [B, T, ...], on the clips' device."""
        spec = self._spec
        batch = torch.empty(
            (len(clips), 3, spec.num_frames, spec.crop_size, spec.crop_size), dtype=torch.float32, device=clips.device
        )
        for out, clip in zip(batch, clips, strict=True):
            out.copy_(self._augmented(clip) if self._generator else self._plain(clip))
        return batch.sub_(spec.mean).div_(spec.std)

    def _plain(self, clip: Tensor) -> Tensor:
        positions = frame_positions(len(clip), self._spec.num_frames)
        return clip_to_rgb(clip[positions], Crop(), self._spec.crop_size)

    def _augmented(self, clip: Tensor) -> Tensor:
        generator = self._generator
        assert generator is not None
        positions = jittered_frame_positions(len(clip), self._spec.num_frames, generator)
        rgb = clip_to_rgb(clip[positions.to(clip.device)], random_crop(generator), self._spec.crop_size)
        contrast, brightness = ((torch.rand(2, generator=generator) * 2 - 1) * BRIGHTNESS_CONTRAST).tolist()
        return ((rgb - 0.5) * (1 + contrast) + (0.5 + brightness)).clamp_(0.0, 1.0)
