"""What a run does on the device that it has: options that nobody gave, and the switches of torch that they turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from signprep.pipeline.runtime.machine import usable_cores
from signprep.pipeline.runtime.text import counted
from signprep.training.config import Devices, TrainConfig

CPU_THREADS = 2
"""They read faster than any model here trains on a CPU."""
MOST_THREADS = 16
"""Reading threads by default on a machine of many cores."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What defaults depend on."""

    bf16: bool
    """The GPU computes in bfloat16, and does not emulate it."""
    tf32: bool
    """The GPU computes in TF32."""
    cores: int

    @classmethod
    def here(cls, devices: Devices) -> "Machine":
        """Return what this machine can, on the devices that are trained on."""
        on_gpu = bool(devices.gpus) and torch.cuda.is_available()
        return cls(
            bf16=on_gpu and torch.cuda.is_bf16_supported(including_emulation=False),
            tf32=on_gpu and torch.version.hip is None and torch.cuda.get_device_capability() >= (8, 0),
            cores=usable_cores(),
        )


def resolved(
    config: TrainConfig,
    devices: Devices,
    *,
    content: str = "pixels",
    machine: Machine | None = None,
    earlier_precision: str | None = None,
) -> TrainConfig:
    """Return a config whose options of the machine all have values: those that were given, else the defaults.

    Args:
        config: as it was asked for.
        devices: that are trained on.
        content: of the clips. Models of landmarks are small, and bfloat16 has 8 bits for a place: they stay in 32.
        machine: this one if None.
        earlier_precision: that of the run that goes on.
    """
    on_gpu = bool(devices.gpus)
    machine = machine or Machine.here(devices)
    precision = "bf16-mixed" if on_gpu and machine.bf16 and content == "pixels" else "32"
    precision = config.precision or earlier_precision or precision
    # With 16-mixed, gradients are unscaled within a fused step, so that they cannot be shortened before it.
    fuses = on_gpu and not (precision == "16-mixed" and config.gradient_clip)
    threads = max(CPU_THREADS, min(MOST_THREADS, machine.cores // devices.per_node - 1)) if on_gpu else CPU_THREADS
    defaults: dict[str, Any] = {
        "precision": precision,
        "num_workers": threads,
        "pin_memory": on_gpu,
        "cudnn_benchmark": on_gpu and not config.deterministic,
        "tf32": on_gpu and machine.tf32,
        "fused_optimizer": fuses,
        "channels_last": not on_gpu,
    }
    return replace(config, **{name: value for name, value in defaults.items() if getattr(config, name) is None})


def choices(config: TrainConfig, devices: Devices) -> str:
    """Return the line that tells what a run does on its GPUs, each with the option that decides it."""
    if not devices.gpus:
        bits = "32 bits" if config.precision == "32" else str(config.precision)
        return f"computing in {bits}, {counted(config.num_workers or 1, 'reading thread')}"
    switches = {
        "--tf32": config.tf32,
        "--cudnn-benchmark": config.cudnn_benchmark,
        "--fused-optimizer": config.fused_optimizer,
        "--pin-memory": config.pin_memory,
        "--channels-last": config.channels_last,
    }
    words = [name if on else name.replace("--", "--no-", 1) for name, on in switches.items()]
    return f"on the GPU: --precision {config.precision} {' '.join(words)} --workers {config.num_workers}"


@contextmanager
def switches_set(config: TrainConfig, devices: Devices) -> Iterator[None]:
    """Turn torch's switches for a run on GPUs, and turn them back when the block ends."""
    if not devices.gpus:
        yield
        return
    cudnn, products = torch.backends.cudnn, torch.get_float32_matmul_precision()
    before = cudnn.benchmark, cudnn.allow_tf32
    try:
        cudnn.benchmark, cudnn.allow_tf32 = bool(config.cudnn_benchmark), bool(config.tf32)
        torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32 = before
        torch.set_float32_matmul_precision(products)
