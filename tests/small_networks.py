"""EfficientX3D of 6 blocks in place of 26, and exported files that are timed once.

What most tests ask about (runs, checkpoints, answers, exported files) does not depend on how many times a block is
repeated: the library has stages of 3, 5, 11 and 7 blocks, and a test waits for each. Here the first stage is whole,
which has blocks of each kind, and the others have their first block. Tests of the networks themselves take them
whole, by the fixture `whole_networks`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import signprep.training.runtime.torchvision_operators  # noqa: F401

import pytest
from torch import nn

PROGRAM = """
from signprep.pipeline.cli import main
if __name__ == "__main__":
    import signprep.training.runtime.torchvision_operators  # before torchvision
    from tests.small_networks import six_blocks
    with six_blocks():
        main()
"""
"""`signprep` for a process of its own, which is given a checkpoint of such networks."""


def _block_or_nothing(**options: object) -> nn.Module:
    """Return a block of the first stage, or the first one of another; nothing for those that repeat it."""
    from pytorchvideo.models.accelerator.mobile_cpu.residual_blocks import X3dBottleneckBlock

    is_kept = options["in_channels"] == 24 or options["spatial_stride"] == 2
    return X3dBottleneckBlock(**options) if is_kept else nn.Identity()


@contextmanager
def six_blocks() -> Iterator[None]:
    """Build each EfficientX3D with 6 blocks."""
    from pytorchvideo.models.accelerator.mobile_cpu import efficient_x3d

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficient_x3d, "X3dBottleneckBlock", _block_or_nothing)
        yield


@contextmanager
def whole() -> Iterator[None]:
    """Build networks as the library has them."""
    from pytorchvideo.models.accelerator.mobile_cpu import efficient_x3d, residual_blocks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficient_x3d, "X3dBottleneckBlock", residual_blocks.X3dBottleneckBlock)
        yield


@contextmanager
def hardly_timed() -> Iterator[None]:
    """Let exports ask each model once, with one thread: how long it takes means nothing here."""
    from signprep.inference.export import verification

    with pytest.MonkeyPatch.context() as patch:
        for name, number in {"MOST_TURNS": 1, "RUNS_A_TURN": 1, "WARM_UPS": 0}.items():
            patch.setattr(verification, name, number)
        patch.setattr(verification, "usable_cores", lambda: 1)
        yield
