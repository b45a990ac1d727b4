"""Models of one's own: `--model-name package.module:factory`.

In: the name of a factory that is called as `factory(num_classes=..., num_frames=..., crop_size=..., dropout_rate=...)`.
Out: its module, tried on one random clip, so that a mistake shows before the first epoch. Clips come to it contiguous,
whatever layout the rest of the program prefers: `view` works in its `forward`.
"""

import traceback
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from signprep.pipeline.errors import TrainingError
from signprep.training.model.own_code import load_function

_PROJECTIONS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
HEAD_ATTRIBUTE = "head_name"
"""Attribute by which a model may say which of its layers is the head."""


def is_own(name: str) -> bool:
    """Return whether a model's name is that of a factory."""
    return ":" in name


def check_own_name(name: str) -> None:
    """Raise TrainingError unless the name is of the form package.module:factory."""
    module, _, factory = name.partition(":")
    if not factory.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise TrainingError(f"{name!r} does not name a model; expected package.module:factory, like mymodels:small")


def build_own_model(name: str, *, num_classes: int, num_frames: int, crop_size: int, dropout_rate: float) -> nn.Module:
    """Import a factory, call it and try what it gives on one random clip.

    Raises:
        TrainingError: there is no such factory, it or its model fails, or the model does not map float
            [1, 3, num_frames, crop_size, crop_size] to float logits [1, num_classes].
    """
    factory = load_function(name, "model")
    options: dict[str, Any] = {"num_frames": num_frames, "crop_size": crop_size, "dropout_rate": dropout_rate}
    try:
        model = factory(num_classes=num_classes, **options)
    except Exception as error:
        arguments = ", ".join(f"{key}={value}" for key, value in {"num_classes": num_classes, **options}.items())
        raise TrainingError(f"{name}({arguments}) failed: {_reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise TrainingError(f"{name}: gives {type(model).__name__}; it must give a torch.nn.Module")
    model.register_forward_pre_hook(_contiguous)
    _try(model, name, torch.Size((1, 3, num_frames, crop_size, crop_size)), num_classes)
    return model


def _contiguous(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in inputs)


def _try(model: nn.Module, name: str, shape: torch.Size, num_classes: int) -> None:
    """Raise TrainingError unless the model gives logits for a random clip; leave no trace in the model."""
    clip = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    training = [module for module in model.modules() if module.training]
    try:
        with torch.no_grad():
            logits = model.eval()(clip)
    except Exception as error:
        raise TrainingError(f"{name}: its model fails on a clip {list(shape)}: {_reason(error)}") from error
    for module in training:
        module.training = True
    if not isinstance(logits, Tensor) or logits.shape != (1, num_classes) or not logits.is_floating_point():
        found = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise TrainingError(
            f"{name}: its model gives {found} for a clip {list(shape)}; it must give float [1, {num_classes}], "
            "the logits of a batch of one"
        )
    if num_classes > 1 and bool((logits >= 0).all()) and abs(float(logits.double().sum()) - 1) < 1e-3:
        raise TrainingError(
            f"{name}: its model gives probabilities, they sum to 1; leave out the softmax, it must give logits"
        )


def own_head_name(model: nn.Module, name: str, num_classes: int) -> str:
    """Return the name of the layer that gives the logits: the only linear layer or convolution of that width.

    Raises:
        TrainingError: there is none, or several and the model does not say which with its attribute `head_name`.
    """
    widths = {
        layer_name: layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        for layer_name, layer in model.named_modules()
        if isinstance(layer, _PROJECTIONS)
    }
    found = [layer_name for layer_name, width in widths.items() if width == num_classes]
    said = getattr(model, HEAD_ATTRIBUTE, None)
    if said in found:
        return str(said)
    if said is None and len(found) == 1:
        return found[0]
    among = f"it has {', '.join(found) or 'none'}" + (f" and says {said!r}" if said is not None else "")
    raise TrainingError(
        f"{name}: cannot tell which layer of the model is its head, a Linear or Conv that gives {num_classes} values "
        f"({among}); give the model an attribute {HEAD_ATTRIBUTE} with the layer's name"
    )


def _reason(error: Exception) -> str:
    """Return an error in one line, with the place in the user's own code."""
    ours = (str(Path(torch.__file__).parent), __file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}{place}"
