"""A checkpoint of `signprep train`, opened for predictions. Nothing in it is unpickled but tensors and plain data."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.text import first_line
from signprep.training.model.checkpoint import model_weights, read_checkpoint
from signprep.training.model.metadata import ModelMetadata
from signprep.training.model_spec import build_model, channels_last, is_custom
from signprep.training.transforms import ClipTransform

_AUTOCAST = {"32": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


class Recognizer:
    """A trained model with everything it needs to answer: specs, vocabulary, transform."""

    def __init__(self, card: ModelMetadata, model: nn.Module, device: torch.device, precision: str = "32") -> None:
        self.card = card
        self.device = device
        self._autocast = _AUTOCAST[precision]
        self.model: nn.Module = channels_last(model).to(device).eval()
        self.transform: Callable[[Tensor], Tensor] = ClipTransform(card.model_spec)
        """From stored clips, uint8 [B, T, ...], to what the model takes."""

    def probabilities(self, clips: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return class probabilities [B, classes], float32, of stored clips, uint8 [T, ...] each."""
        batch = torch.from_numpy(np.stack(clips)).to(self.device)
        autocast = torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None)
        with torch.inference_mode(), autocast:
            logits = self.model(self.transform(batch))
            scaled = logits.float() / self.card.temperature
            return np.asarray(torch.softmax(scaled, dim=1).cpu(), np.float32)


def load_checkpoint(
    path: Path, device: str = "cpu", *, own_model: str | None = None, precision: str = "32"
) -> Recognizer:
    """Open a checkpoint.

    Args:
        path: of the checkpoint.
        device: cpu, cuda, cuda:1, ..., or auto for a GPU where there is one.
        own_model: package.module:factory, for the checkpoint of a model of one's own. It is code that runs, so the
            name in the checkpoint, which may come from anywhere, is not enough.
        precision: 32, 16-mixed or bf16-mixed.

    Raises:
        CheckpointError: there is no such file, it is no signprep checkpoint, it is of another version, its weights do
            not fit its model, or its model is one's own and `own_model` does not name it.
        TrainingError: one's own model does not build.
    """
    contents, card = read_checkpoint(path)
    _require_trusted(path, card.model_spec.name, own_model)
    try:
        model = build_model(card.model_spec, len(card.vocabulary))
        model.load_state_dict(model_weights(contents))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: its weights are damaged ({error})") from error
    try:
        return Recognizer(card, model, _device(device), precision)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise CheckpointError(
            f"{path}: its model cannot be put on the device {device!r} ({first_line(error)})"
        ) from error


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _require_trusted(path: Path, name: str, own_model: str | None) -> None:
    if is_custom(name) and name != own_model:
        raise CheckpointError(
            f"{path}: is of a model of one's own, made by the code {name}; give --model-name {name} if you trust it"
        )
