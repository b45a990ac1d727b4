"""Gradients in bfloat16 on a CPU: those that oneDNN gets wrong are mended, others noticed before a run begins."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import TrainingError
from signprep.training.config import TrainConfig
from signprep.training.model_spec import build_model, channels_last, model_spec
from signprep.training.model_spec.bfloat16 import require_sound_bfloat16, with_sound_convolutions
from tests.training.small_models import Linear
from tests.training.small_runs import run

SHAPE = (3, 2, 32, 32)


class WrongInBfloat16(Linear):
    """Stands for a processor whose code for bfloat16 is wrong."""

    def __init__(self, num_classes: int, factor: float) -> None:
        super().__init__(num_classes)
        self.norm, self.factor = nn.BatchNorm3d(3), factor

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        clips = self.norm(clips)
        return super().forward(clips * self.factor if torch.is_autocast_enabled("cpu") else clips)


def wrong(*, num_classes: int, **_: object) -> nn.Module:
    """Return the model, for `--model-name tests.training.test_bfloat16:wrong`."""
    return WrongInBfloat16(num_classes, 1e3)


@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format], ids=["last", "contiguous"])
@pytest.mark.parametrize("groups", [1, 8])
@pytest.mark.parametrize(
    ("kernel", "frames"), [((3, 1, 1), 2), ((3, 3, 3), 2), ((5, 1, 1), 2), ((5, 1, 1), 4), ((3, 3, 3), 4)]
)
def test_convolutions_over_more_frames_than_a_clip_has_are_trained_rightly(
    kernel: tuple[int, int, int], frames: int, groups: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    padding = tuple(size // 2 for size in kernel)
    plain = nn.Sequential(nn.Conv3d(8, 8, kernel, padding=padding, groups=groups, bias=False))
    sound = with_sound_convolutions(copy.deepcopy(plain))
    clips = torch.randn(2, 8, frames, 6, 6).to(memory_format=layout)
    assert torch.equal(plain(clips), sound(clips))
    plain(clips).pow(3).sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        result = sound(clips)
    result.float().pow(3).sum().backward()
    (expected,), (found,) = plain.parameters(), sound.parameters()
    assert expected.grad is not None and found.grad is not None
    assert float((found.grad - expected.grad).norm()) < 0.05 * float(expected.grad.norm())


@pytest.mark.parametrize("name", [pytest.param("slow_r50", marks=pytest.mark.slow), "efficient_x3d_xs"])
def test_a_model_of_few_frames_has_the_gradients_of_32_bits(name: str) -> None:
    torch.manual_seed(0)
    spec = model_spec(name, num_frames=2, crop_size=64)
    model = with_sound_convolutions(channels_last(build_model(spec, 4)))
    require_sound_bfloat16(model, name, spec.input_shape)


@pytest.mark.parametrize("factor", [1e3, float("nan")])
def test_wrong_gradients_are_noticed(factor: float) -> None:
    with pytest.raises(TrainingError, match=r"--precision bf16-mixed: .* wrong gradients of it .*--precision 32"):
        require_sound_bfloat16(WrongInBfloat16(2, factor), "it", SHAPE)


def test_sound_ones_pass_and_nothing_is_changed() -> None:
    torch.manual_seed(0)
    model, random_state = WrongInBfloat16(2, 1.0), torch.get_rng_state()
    model.norm.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    require_sound_bfloat16(model, "it", SHAPE)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and not model.norm.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_no_run_begins_with_wrong_gradients_and_in_32_bits_it_does(cache: Cache, tmp_path: Path) -> None:
    spec = model_spec("tests.training.test_bfloat16:wrong", num_frames=2, crop_size=32)
    with pytest.raises(TrainingError, match="--precision bf16-mixed"):
        run(cache, tmp_path / "run", TrainConfig(epochs=1, batch_size=4, precision="bf16-mixed"), spec)
    assert not (tmp_path / "run" / "run.json").exists()
    assert run(cache, tmp_path / "run", TrainConfig(epochs=1, batch_size=4), spec).epochs == 1
