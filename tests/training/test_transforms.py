import av
import numpy as np
import torch

from signprep.training.model_spec import ModelSpec
from signprep.training.transforms import ClipTransform, Crop, clip_to_rgb, frame_positions, i420_planes, random_crop

SPEC = ModelSpec(name="efficient_x3d_xs", num_frames=2, crop_size=64)


def smooth_clip(num_frames: int = 4, size: int = 64) -> np.ndarray:
    """I420 clip [T, 3S/2, S], uint8, of slow colour gradients."""
    y, x = np.mgrid[:size, :size] / size
    frames = []
    for k in range(num_frames):
        rgb = np.stack([200 * x, 200 * y, 100 + 100 * (x - y) * (k + 1) / num_frames], axis=-1)
        frame = av.VideoFrame.from_ndarray(np.clip(rgb, 0, 255).astype(np.uint8), format="rgb24")
        frames.append(frame.to_ndarray(format="yuv420p"))
    return np.stack(frames)


def test_fewer_frames_are_spread_evenly() -> None:
    assert frame_positions(16, 4) == [2, 6, 10, 14]
    assert frame_positions(4, 4) == [0, 1, 2, 3]
    assert frame_positions(13, 1) == [6]


def test_planes_are_those_that_ffmpeg_packs() -> None:
    clip = torch.from_numpy(smooth_clip())
    luma, chroma_u, chroma_v = i420_planes(clip)
    assert luma.shape == (4, 64, 64) and chroma_u.shape == chroma_v.shape == (4, 32, 32)
    flat = clip[0].flatten()
    assert torch.equal(chroma_u[0].flatten(), flat[64 * 64 : 64 * 80])
    assert torch.equal(chroma_v[0].flatten(), flat[64 * 80 :])


def test_colours_agree_with_ffmpeg() -> None:
    clip = smooth_clip()
    ours = clip_to_rgb(torch.from_numpy(clip), Crop(), 64).permute(1, 2, 3, 0).numpy() * 255
    theirs = np.stack([av.VideoFrame.from_ndarray(f, format="yuv420p").to_ndarray(format="rgb24") for f in clip])
    difference = np.abs(ours - theirs.astype(float))
    assert difference.mean() <= 2 and difference.max() <= 8


def test_both_layouts_become_normalised_model_input() -> None:
    clip = smooth_clip()
    rgb = np.stack([av.VideoFrame.from_ndarray(f, format="yuv420p").to_ndarray(format="rgb24") for f in clip])
    from_yuv = ClipTransform(SPEC)(torch.from_numpy(clip)[None])
    from_rgb = ClipTransform(SPEC)(torch.from_numpy(rgb)[None])
    assert from_yuv.shape == from_rgb.shape == (1, 3, 2, 64, 64)
    assert (from_yuv - from_rgb).abs().mean() < 2 / 255 / SPEC.std
    first = torch.from_numpy(rgb)[frame_positions(4, 2)].permute(3, 0, 1, 2) / 255
    assert torch.allclose(from_rgb[0], (first - 0.45) / 0.225, atol=1e-5)


def test_augmentation_is_seeded_changes_pictures_and_never_flips() -> None:
    clips = torch.from_numpy(smooth_clip())[None].repeat(6, 1, 1, 1)

    def augmented(seed: int) -> torch.Tensor:
        return ClipTransform(SPEC, generator=torch.Generator().manual_seed(seed))(clips)

    assert torch.equal(augmented(1), augmented(1))
    assert not torch.equal(augmented(1), augmented(2))
    batch = augmented(3)
    assert len({float(clip.mean()) for clip in batch}) == 6
    red = batch[:, 0]
    assert (red[..., -8:].mean((1, 2, 3)) > red[..., :8].mean((1, 2, 3))).all()  # red still grows to the right


def test_random_crops_stay_inside() -> None:
    generator = torch.Generator().manual_seed(0)
    for crop in (random_crop(generator) for _ in range(200)):
        assert 0.8 <= crop.scale <= 1
        assert 0 <= crop.top <= 1 - crop.scale + 1e-9 and 0 <= crop.left <= 1 - crop.scale + 1e-9
