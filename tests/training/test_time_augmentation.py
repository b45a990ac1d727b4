"""Speed and shifted boundaries of training clips, beside a reference that goes from clip to clip."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import StoppedError
from signprep.training.callbacks.checkpoints import SaveLast, StopRequested
from signprep.training.config import NO_AUGMENTATION, Augmentation, TrainConfig
from signprep.training.data.epoch_order import uniform_draws
from signprep.training.model_spec import model_spec
from signprep.training.transforms import ClipTransform, LandmarkTransform, jittered_frame_positions, num_draws
from signprep.training.transforms.draws import NUM_FIXED_DRAWS, START, TEMPO
from tests.training.small_runs import run, weights_of

BOTH = Augmentation(tempo=0.8, speed=1.5, boundary_shift=0.2)
LIMITS = [BOTH, Augmentation(tempo=1.0, speed=2.0), Augmentation(tempo=1.0, boundary_shift=0.4)]


def drawn(num_clips: int, num_frames: int, limits: Augmentation) -> torch.Tensor:
    return torch.from_numpy(uniform_draws(0, num_clips, num_draws(num_frames, limits), seed=3, epoch=1))


def reference(row: list[float], num_stored: int, num_frames: int, limits: Augmentation) -> list[int]:
    """The frames of one clip: its stretch by tempo, cut at both ends, then played faster or slower round its middle."""
    first, last, speed = row[NUM_FIXED_DRAWS + num_frames :]
    stretch = 1 - (1 - limits.tempo) * row[TEMPO]
    begin = (1 - stretch) * row[START]
    end = begin + stretch
    begin, end = begin + stretch * limits.boundary_shift * first, end - stretch * limits.boundary_shift * last
    middle, half = (begin + end) / 2, (end - begin) / 2 * limits.speed ** (2 * speed - 1)
    times = [middle - half + 2 * half * (k + row[NUM_FIXED_DRAWS + k]) / num_frames for k in range(num_frames)]
    return [min(num_stored - 1, max(0, math.floor(time * num_stored))) for time in times]


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize(("stored", "shown"), [(16, 4), (16, 13), (32, 32)])
def test_the_frames_are_those_of_the_reference(limits: Augmentation, stored: int, shown: int) -> None:
    draws = drawn(200, shown, limits)
    found = jittered_frame_positions(draws, stored, shown, limits)
    expected = torch.tensor([reference(row, stored, shown, limits) for row in draws.double().tolist()])
    # A time on the edge of two frames may round to either in 32 bits.
    assert ((found != expected).sum(), (found - expected).abs().max()) <= (found.numel() // 1000, 1)
    assert (found.diff(dim=1) >= 0).all() and len(set(map(tuple, found.tolist()))) > 100


def test_a_fast_clip_stays_at_its_ends_and_a_slow_one_shows_its_middle() -> None:
    limits = Augmentation(tempo=1.0, speed=2.0)
    draws = torch.full((2, num_draws(8, limits)), 0.5)
    draws[:, -1] = torch.tensor([1.0, 0.0])  # twice as fast, twice as slow
    fast, slow = jittered_frame_positions(draws, 16, 8, limits).tolist()
    assert fast == [0, 0, 2, 6, 10, 14, 15, 15]
    assert slow == [4, 5, 6, 7, 8, 9, 10, 11]


def test_without_it_random_numbers_and_frames_are_as_ever() -> None:
    assert num_draws(4) == num_draws(4, Augmentation()) == num_draws(4, NO_AUGMENTATION) == NUM_FIXED_DRAWS + 4
    draws = drawn(50, 4, Augmentation())
    stretch = 1 - 0.2 * draws[:, TEMPO]
    parts = (torch.arange(4) + draws[:, NUM_FIXED_DRAWS:]) / 4
    expected = (((1 - stretch) * draws[:, START])[:, None] + stretch[:, None] * parts) * 16
    assert torch.equal(jittered_frame_positions(draws, 16, 4, Augmentation()), expected.long())


def test_pixels_and_landmarks_show_the_same_frames() -> None:
    limits = Augmentation(tempo=0.8, speed=1.5, boundary_shift=0.2, crop_scale=1, aspect=1, rotation_degrees=0,
                          brightness=0, contrast=0, saturation=0, erase_probability=0)  # fmt: skip
    draws = drawn(5, 4, limits)
    chosen = jittered_frame_positions(draws, 16, 4, limits)
    stored = torch.arange(16)
    # Each stored frame is grey, or has points, of its own number.
    spec = ClipSpec(num_frames=16, size=32, pixels="rgb24")
    pixels = stored.to(torch.uint8)[None, :, None, None, None].expand(5, *spec.clip_shape).contiguous()
    model = model_spec("efficient_x3d_xs", num_frames=4, crop_size=32)
    shown = ClipTransform(model, limits)(pixels, draws)
    assert torch.allclose((shown * model.std + model.mean).mean((1, 3, 4)) * 255, chosen.float(), atol=1e-3)
    landmarks = (stored / 16).half()[None, :, None, None].expand(5, 16, 75, 3)
    points = LandmarkTransform(model_spec("landmark_conv", num_frames=4), limits)(landmarks, draws)
    assert torch.allclose(points[:, :, 0, 0] * 16, chosen.float(), atol=1e-4)


@pytest.mark.parametrize("value", [{"speed": 0.5}, {"speed": 5.0}, {"boundary_shift": -0.1}, {"boundary_shift": 0.5}])
def test_impossible_limits_are_refused(value: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(value))):
        Augmentation(**value)


def test_a_run_with_it_goes_on_bit_for_bit(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(epochs=2, batch_size=2, augmentation=BOTH)
    whole = weights_of(run(cache, tmp_path / "whole", config).last_checkpoint)
    plain = weights_of(run(cache, tmp_path / "plain", TrainConfig(epochs=2, batch_size=2)).last_checkpoint)

    def stopped(self: SaveLast, trainer: object, *_: object) -> None:
        if trainer.global_step == 3:  # type: ignore[attr-defined]
            self.save(trainer)  # type: ignore[arg-type]
            raise StopRequested

    with monkeypatch.context() as patch:
        patch.setattr(SaveLast, "on_train_batch_end", stopped)
        with pytest.raises(StoppedError):
            run(cache, tmp_path / "parts", config)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    parts = weights_of(run(cache, tmp_path / "parts", config, resume=last).last_checkpoint)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert not all(np.array_equal(whole[name].numpy(), plain[name].numpy()) for name in whole)
