"""What a model sees does not depend on the precision that it computes in."""

from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from signprep.cache_builder.reader import Cache
from signprep.training.config import TrainConfig
from signprep.training.model_spec import model_spec
from tests.training.small_models import Linear
from tests.training.small_runs import run


class Watching(Linear):
    """Notes all clips that it is shown."""

    seen: ClassVar[list[torch.Tensor]] = []

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.seen.append(clips.detach().clone())
        return super().forward(clips)


def watching(*, num_classes: int, **_: object) -> nn.Module:
    """Return the model, for `--model-name tests.training.run.test_precision:watching`."""
    return Watching(num_classes)


def trained_and_validated_on(cache: Cache, folder: Path, precision: str) -> list[torch.Tensor]:
    """Return all that a model is shown in an epoch with all augmentation, and in the validation after it."""
    Watching.seen.clear()
    spec = model_spec("tests.training.run.test_precision:watching", num_frames=2, crop_size=32)
    config = TrainConfig(epochs=1, batch_size=4, precision=precision, mixup=0.5, cutmix=0.5)
    run(cache, folder, config, spec)
    return list(Watching.seen)


def test_training_and_validation_in_bfloat16_see_the_pixels_of_32_bits(cache: Cache, tmp_path: Path) -> None:
    expected = trained_and_validated_on(cache, tmp_path / "32", "32")
    found = trained_and_validated_on(cache, tmp_path / "other", "bf16-mixed")
    del found[1:3]  # behind the clip that a custom model is tried on: gradients of both precisions are compared
    assert len(found) == len(expected) > 2
    for own, other in zip(expected, found, strict=True):
        assert own.dtype == other.dtype == torch.float32
        assert torch.equal(own, other)
