"""Defaults of a machine, and what overrides them."""

from dataclasses import asdict

import pytest
import torch

from signprep.training.config import Devices, TrainConfig
from signprep.training.runtime.device import Machine, choices, resolved, switches_set

H200 = Machine(bf16=True, tf32=True, cores=16)
OLD_GPU = Machine(bf16=False, tf32=False, cores=64)
GPU, CPU = Devices(gpus=1), Devices()


def names(config: TrainConfig) -> set[str]:
    switches = ("pin_memory", "cudnn_benchmark", "tf32", "fused_optimizer", "channels_last")
    assert all(getattr(config, name) in (True, False) for name in switches)
    return {name for name in switches if getattr(config, name)}


@pytest.mark.parametrize(
    ("machine", "devices", "precision", "threads", "switches"),
    [
        (H200, GPU, "bf16-mixed", 15, {"pin_memory", "cudnn_benchmark", "tf32", "fused_optimizer"}),
        (H200, Devices(gpus=4), "bf16-mixed", 3, {"pin_memory", "cudnn_benchmark", "tf32", "fused_optimizer"}),
        (OLD_GPU, GPU, "32", 16, {"pin_memory", "cudnn_benchmark", "fused_optimizer"}),
        (H200, CPU, "32", 2, {"channels_last"}),
    ],
)
def test_what_nobody_asked_for_is_what_the_device_is_good_at(
    machine: Machine, devices: Devices, precision: str, threads: int, switches: set[str]
) -> None:
    config = resolved(TrainConfig(), devices, machine=machine)
    assert (config.precision, config.num_workers, names(config)) == (precision, threads, switches)
    assert resolved(config, devices, machine=machine) == config
    assert TrainConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("devices", [GPU, CPU])
@pytest.mark.parametrize("asked", [True, False])
def test_what_was_asked_for_stays(devices: Devices, asked: bool) -> None:
    options = dict.fromkeys(("pin_memory", "cudnn_benchmark", "tf32", "fused_optimizer", "channels_last"), asked)
    config = TrainConfig(precision="16-mixed", num_workers=0, **options)  # type: ignore[arg-type]
    assert resolved(config, devices, machine=H200, earlier_precision="32") == config


def test_defaults_give_way_to_what_they_exclude() -> None:
    assert not resolved(TrainConfig(deterministic=True), GPU, machine=H200).cudnn_benchmark
    clipped = TrainConfig(precision="16-mixed", gradient_clip=1.0)
    assert not resolved(clipped, GPU, machine=H200).fused_optimizer
    assert resolved(TrainConfig(gradient_clip=1.0), GPU, machine=H200).fused_optimizer
    with pytest.raises(ValueError, match=r"fused_optimizer .*16-mixed.*gradient_clip"):
        TrainConfig(precision="16-mixed", gradient_clip=1.0, fused_optimizer=True)
    assert resolved(TrainConfig(), GPU, machine=H200, content="landmarks").precision == "32"
    assert resolved(TrainConfig(), GPU, machine=H200, earlier_precision="32").precision == "32"


def test_a_run_that_goes_on_may_do_so_on_another_machine() -> None:
    earlier = resolved(TrainConfig(precision="32"), CPU, machine=H200)
    later = resolved(TrainConfig(), GPU, machine=H200, earlier_precision=earlier.precision)
    assert not earlier.differences(later) and asdict(earlier) != asdict(later)


def test_what_was_chosen_is_told_as_the_options_that_choose_it() -> None:
    assert choices(resolved(TrainConfig(), GPU, machine=H200), GPU) == (
        "on the GPU: --precision bf16-mixed --tf32 --cudnn-benchmark --fused-optimizer --pin-memory "
        "--no-channels-last --workers 15"
    )
    assert choices(resolved(TrainConfig(), CPU), CPU) == "computing in 32 bits, 2 reading threads"


def test_torchs_switches_are_turned_for_a_run_on_gpus_and_turned_back() -> None:
    def switches() -> tuple[bool, bool, str]:
        cudnn = torch.backends.cudnn
        return cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision()

    before = switches()
    config = resolved(TrainConfig(), GPU, machine=H200)
    with pytest.raises(KeyError), switches_set(config, GPU):
        assert switches() == (True, True, "high")
        raise KeyError
    assert switches() == before
    with switches_set(resolved(TrainConfig(tf32=False), GPU, machine=H200), GPU):
        assert switches() == (True, False, "highest")
    with switches_set(config, CPU):
        assert switches() == before
