from dataclasses import asdict

import av
import numpy as np
import pytest
import torch
from torch.nn import functional

from signprep.training.config import NO_AUGMENTATION, Augmentation
from signprep.training.model_spec import ModelSpec
from signprep.training.transforms import (
    ClipTransform,
    erased_boxes,
    frame_positions,
    i420_planes,
    jittered_frame_positions,
    num_draws,
    sampling_matrices,
)
from signprep.training.transforms.draws import ERASE, FLIP

SPEC = ModelSpec(name="efficient_x3d_xs", num_frames=2, crop_size=64)


def rgb_of(clip: np.ndarray) -> np.ndarray:
    """FFmpeg's RGB of an I420 clip."""
    return np.stack([av.VideoFrame.from_ndarray(f, format="yuv420p").to_ndarray(format="rgb24") for f in clip])


def i420_of(rgb: np.ndarray) -> np.ndarray:
    return np.stack([av.VideoFrame.from_ndarray(f, format="rgb24").to_ndarray(format="yuv420p") for f in rgb])


def smooth_clip(num_frames: int = 4, size: int = 64) -> np.ndarray:
    """I420 clip [T, 3S/2, S], uint8, of slow colour gradients."""
    y, x = np.mgrid[:size, :size] / size
    frames = [np.stack([200 * x, 200 * y, 100 + 100 * (x - y) * (k + 1) / num_frames], -1) for k in range(num_frames)]
    return i420_of(np.clip(np.stack(frames), 0, 255).astype(np.uint8))


def patchy_clip(num_frames: int = 4, size: int = 64) -> np.ndarray:
    """I420 clip of patches of strong colours with sharp edges and some noise."""
    generator = np.random.default_rng(0)
    patches = generator.integers(0, 256, (num_frames, size // 8, size // 8, 3)).repeat(8, 1).repeat(8, 2)
    noisy = patches + generator.integers(-20, 20, patches.shape)
    return i420_of(np.clip(noisy, 0, 255).astype(np.uint8))


def pictures(batch: torch.Tensor) -> np.ndarray:
    """Model input back to RGB in 0..255, [B, t, C, C, 3]."""
    return (batch * SPEC.std + SPEC.mean).permute(0, 2, 3, 4, 1).numpy() * 255


def neutral_draws(num_clips: int, num_frames: int) -> torch.Tensor:
    """Draws of the middle: with them, only what depends on a probability is random."""
    return torch.full((num_clips, num_draws(num_frames)), 0.5)


def test_fewer_frames_are_spread_evenly() -> None:
    assert frame_positions(16, 4) == [2, 6, 10, 14]
    assert frame_positions(4, 4) == [0, 1, 2, 3]
    assert frame_positions(13, 1) == [6]


def test_planes_are_those_that_ffmpeg_packs() -> None:
    clip = torch.from_numpy(smooth_clip())
    luma, chroma = i420_planes(clip)
    assert luma.shape == (4, 64, 64) and chroma.shape == (4, 2, 32, 32)
    flat = clip[0].flatten()
    assert torch.equal(chroma[0, 0].flatten(), flat[64 * 64 : 64 * 80])
    assert torch.equal(chroma[0, 1].flatten(), flat[64 * 80 :])


@pytest.mark.parametrize("clip", [smooth_clip(), patchy_clip()], ids=["smooth", "patchy"])
def test_colours_agree_with_ffmpeg(clip: np.ndarray) -> None:
    spec = ModelSpec(name="x", num_frames=4, crop_size=64)
    ours = pictures(ClipTransform(spec)(torch.from_numpy(clip)[None]))[0]
    difference = np.abs(ours - rgb_of(clip).astype(float))
    assert difference.mean() <= 2 and difference.max() <= 8


@pytest.mark.parametrize("size", [40, 48, 61, 96])
def test_resized_colours_agree_with_ffmpeg_then_a_bilinear_resize(size: int) -> None:
    clip = patchy_clip()
    spec = ModelSpec(name="x", num_frames=4, crop_size=size)
    ours = pictures(ClipTransform(spec)(torch.from_numpy(clip)[None]))[0]
    planes = torch.from_numpy(rgb_of(clip)).permute(0, 3, 1, 2).float()
    theirs = functional.interpolate(planes, size=(size, size), mode="bilinear").permute(0, 2, 3, 1).numpy()
    difference = np.abs(ours - theirs)
    assert difference.mean() <= 2 and np.quantile(difference, 0.999) <= 8


@pytest.mark.parametrize("augmented", [False, True])
def test_both_layouts_become_the_same_model_input(augmented: bool) -> None:
    clip = smooth_clip()
    draws = torch.rand((1, num_draws(2)), generator=torch.Generator().manual_seed(3)) if augmented else None
    from_yuv = ClipTransform(SPEC)(torch.from_numpy(clip)[None], draws)
    from_rgb = ClipTransform(SPEC)(torch.from_numpy(rgb_of(clip))[None], draws)
    assert from_yuv.shape == from_rgb.shape == (1, 3, 2, 64, 64)
    assert from_yuv.is_contiguous(memory_format=torch.channels_last_3d)
    assert (from_yuv - from_rgb).abs().mean() < 2 / 255 / SPEC.std


def test_plain_rgb_is_the_stored_frames_normalised() -> None:
    rgb = rgb_of(smooth_clip())
    plain = ClipTransform(SPEC)(torch.from_numpy(rgb)[None])
    chosen = torch.from_numpy(rgb)[frame_positions(4, 2)].permute(3, 0, 1, 2) / 255
    assert torch.allclose(plain[0], (chosen - 0.45) / 0.225, atol=1e-4)


def test_draws_decide_the_clip_whatever_batch_it_is_in() -> None:
    clips = torch.from_numpy(np.stack([patchy_clip(), smooth_clip()] * 3))
    draws = torch.rand((6, num_draws(2)), generator=torch.Generator().manual_seed(0))
    transform = ClipTransform(SPEC)
    together = transform(clips, draws)
    for place in range(6):
        alone = transform(clips[place : place + 1], draws[place : place + 1])
        assert torch.equal(together[place], alone[0])
    assert len({float(clip.mean()) for clip in together}) == 6
    assert not torch.equal(together, transform(clips))


def test_nothing_is_mirrored_unless_asked_for() -> None:
    clips = torch.from_numpy(smooth_clip())[None].repeat(6, 1, 1, 1)
    draws = torch.rand((6, num_draws(2)), generator=torch.Generator().manual_seed(1))
    red = ClipTransform(SPEC)(clips, draws)[:, 0]
    assert (red[..., -8:].mean((1, 2, 3)) > red[..., :8].mean((1, 2, 3))).all()  # red still grows to the right
    mirroring = Augmentation(flip_probability=0.5, erase_probability=0, rotation_degrees=0, crop_scale=1, aspect=1)
    draws[:, FLIP] = torch.tensor([0.0, 0.4, 0.49, 0.5, 0.8, 0.99])
    red = ClipTransform(SPEC, mirroring)(clips, draws)[:, 0]
    grows = red[..., -8:].mean((1, 2, 3)) > red[..., :8].mean((1, 2, 3))
    assert grows.tolist() == [False, False, False, True, True, True]


def test_no_augmentation_is_the_plain_clip_but_for_the_frames() -> None:
    clips = torch.from_numpy(patchy_clip())[None]
    draws = neutral_draws(1, 2)
    augmented, plain = ClipTransform(SPEC, NO_AUGMENTATION)(clips, draws), ClipTransform(SPEC)(clips)
    assert torch.allclose(augmented, plain, atol=1e-4)


def test_tones_change_as_their_names_say() -> None:
    clips = torch.from_numpy(rgb_of(smooth_clip()))[None].repeat(2, 1, 1, 1, 1)

    def changed(column: int, **limits: float) -> np.ndarray:
        draws = neutral_draws(2, 2)
        draws[1, column] = 1.0
        return pictures(ClipTransform(SPEC, Augmentation(**(asdict(NO_AUGMENTATION) | limits)))(clips, draws))

    from signprep.training.transforms import draws as columns

    before, after = changed(columns.BRIGHTNESS, brightness=0.1)
    inside = (before > 30) & (before < 220)
    assert np.allclose(after[inside] - before[inside], 25.5, atol=0.1)
    before, after = changed(columns.CONTRAST, contrast=0.2)
    assert np.allclose(after, np.clip((before - 127.5) * 1.2 + 127.5, 0, 255), atol=0.1)
    before, after = changed(columns.SATURATION, saturation=1.0)
    grey = before @ np.array([0.299, 0.587, 0.114])
    assert np.allclose(after, np.clip(grey[..., None] + 2 * (before - grey[..., None]), 0, 255), atol=0.1)


def test_erased_rectangles_are_grey_in_every_frame_and_of_bounded_size() -> None:
    limits = Augmentation(erase_probability=0.5)
    draws = torch.rand((40, num_draws(2)), generator=torch.Generator().manual_seed(2))
    boxes = erased_boxes(draws, limits, 64)
    assert [place for place, *_ in boxes] == (draws[:, ERASE] < 0.5).nonzero()[:, 0].tolist()
    for _, rows, columns in boxes:
        assert 0 <= rows.start < rows.stop <= 64 and 0 <= columns.start < columns.stop <= 64
        area = (rows.stop - rows.start) * (columns.stop - columns.start) / 64**2
        assert 0.015 <= area <= 0.16
    batch = ClipTransform(SPEC, limits)(torch.from_numpy(smooth_clip())[None].repeat(40, 1, 1, 1), draws)
    place, rows, columns = boxes[0]
    assert (batch[place, :, :, rows, columns] == 0).all()


def test_crops_stay_inside_and_frames_in_order() -> None:
    draws = torch.rand((500, num_draws(4)), generator=torch.Generator().manual_seed(0))
    matrices = sampling_matrices(draws, Augmentation(rotation_degrees=0))
    reach = matrices[:, :, :2].abs().sum(2) + matrices[:, :, 2].abs()
    assert reach.max() <= 1 + 1e-6
    sides = matrices[:, [0, 1], [0, 1]]
    assert sides.min() >= 0.8 / 1.1**0.5 - 1e-6
    positions = jittered_frame_positions(draws, 16, 4, Augmentation(tempo=0.5))
    assert positions.min() >= 0 and positions.max() <= 15
    assert (positions.diff(dim=1) >= 0).all()
    assert (positions[:, -1] - positions[:, 0]).float().mean() < 11  # slower than the whole clip's 12


def test_ones_own_augmentation_sees_colours_and_a_seeded_generator() -> None:
    seen = []

    def inverted(clips: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seen.append((float(clips.min()), float(clips.max()), float(torch.rand(1, generator=generator))))
        return 1 - clips

    clips, draws = torch.from_numpy(patchy_clip())[None], neutral_draws(1, 2)
    own = ClipTransform(SPEC, NO_AUGMENTATION, inverted)
    plain = ClipTransform(SPEC)(clips)
    assert torch.allclose(own(clips, draws, seed=1), (1 - 2 * SPEC.mean) / SPEC.std - plain, atol=1e-4)
    own(clips, draws, seed=1)
    own(clips, draws, seed=2)
    assert 0 <= seen[0][0] < seen[0][1] <= 1
    assert seen[0] == seen[1] != seen[2]
    assert torch.equal(own(clips), plain)  # not in evaluation


@pytest.mark.parametrize(
    "field", ["tempo", "crop_scale", "aspect", "rotation_degrees", "erase_probability", "contrast"]
)
def test_impossible_limits_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Augmentation(**{field: -1})
