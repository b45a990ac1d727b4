"""Models as small as tests need, and what is done with them."""

from pathlib import Path

import torch
from torch import nn

from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.training.model.checkpoint import CHECKPOINT_KEY, CHECKPOINT_VERSION
from signprep.training.model_spec import (
    ModelSpec,
    model_spec,
)

NUM_CLASSES = 5
GLOSSES = Vocabulary(glosses=("왼쪽", "오른쪽", "위", "아래", "중앙"))
SMALL_X3D = model_spec("x3d_xs", num_frames=2, crop_size=32)

# Millions, with 400 classes: published by PyTorchVideo for its Kinetics-400 models; counted for those of landmarks.
MILLIONS = {
    "efficient_x3d_xs": 3.79, "efficient_x3d_s": 3.79, "x3d_xs": 3.79, "x3d_s": 3.79, "x3d_m": 3.79,
    "slow_r50": 32.45, "mvit_base_16x4": 36.61, "mvit_base_32x3": 36.61,
    "landmark_transformer": 1.14, "landmark_conv": 0.85,
}  # fmt: skip
ONE_OF_EACH_FAMILY = ["efficient_x3d_xs", "x3d_xs", "slow_r50", "mvit_base_16x4"]


class Linear(nn.Module):
    """A class by the mean colour of a clip."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.answer = nn.Linear(3, num_classes)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Return logits [B, K] of clips [B, 3, T, H, W]."""
        logits: torch.Tensor = self.answer(clips.mean((2, 3, 4)))
        return logits


def linear(*, num_classes: int, **_: object) -> nn.Module:
    """Return the smallest of models, for `--model-name tests.training.small_models:linear`."""
    return Linear(num_classes)


def clips_for(spec: ModelSpec, batch: int = 2) -> torch.Tensor:
    return torch.randn((batch, *spec.input_shape), generator=torch.Generator().manual_seed(0))


def training_step(model: nn.Module, spec: ModelSpec) -> torch.Tensor:
    """One step of SGD; return the logits."""
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.01)
    logits: torch.Tensor = model(clips_for(spec))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    optimizer.step()
    return logits


def signprep_checkpoint(path: Path, model: nn.Module, glosses: tuple[str, ...], **card: object) -> str:
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    fields = {"checkpoint_version": CHECKPOINT_VERSION, "glosses": list(glosses)} | card
    torch.save({CHECKPOINT_KEY: fields, "state_dict": state | {"accuracy.total": torch.zeros(1)}}, path)
    return str(path)
