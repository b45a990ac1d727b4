"""Models and functions of the user's own, imported by their names and tried before they are used: code runs."""

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.text import first_line
from signprep.training.model_spec.spec import ModelSpec


def load_function(name: str, purpose: str) -> Callable[..., Any]:
    """Import and return the function package.module:function; modules in the current folder are found as well.

    Raises:
        TrainingError: the name has another form, there is no such module or function, or the module does not import;
            `purpose` says in its text what the function is for.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise TrainingError(f"{name!r}: expected the name of a function for the {purpose}, as package.module:function")
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise TrainingError(f"{name}: its module does not import ({error})") from error
        raise TrainingError(
            f"{name}: there is no module {error.name} in the current folder {folder} or among what is installed"
        ) from error
    except Exception as error:
        raise TrainingError(f"{name}: its module does not import ({type(error).__name__}: {error})") from error
    finally:
        sys.path.remove(folder)
    function = getattr(module, attribute, None)
    if not callable(function):
        found = "is no function" if hasattr(module, attribute) else "is not there"
        raise TrainingError(f"{name}: {attribute} {found} in {module.__file__}")
    return function


def build_custom(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Call the user's factory and try its model on one random clip, so that a mistake shows before the first epoch."""
    name, given = spec.name, ("num_frames", "crop_size", "dropout_rate")
    factory = load_function(name, "model")
    options = {"num_classes": num_classes} | {field: getattr(spec, field) for field in given}
    try:
        model = factory(**options)
    except Exception as error:
        arguments = ", ".join(f"{key}={value}" for key, value in options.items())
        raise TrainingError(f"{name}({arguments}) failed: {_reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise TrainingError(f"{name}: gives {type(model).__name__}; it must give a torch.nn.Module")
    # Clips come to it contiguous, whatever layout the rest prefers: `view` works in its `forward`.
    model.register_forward_pre_hook(_contiguous)
    _try(model, name, [1, *spec.input_shape], num_classes)
    return model


def _contiguous(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in inputs)


def _try(model: nn.Module, name: str, shape: list[int], num_classes: int) -> None:
    """Raise TrainingError unless the model gives logits for a random clip; leave the model as it was."""
    clip, another = torch.randn([2, *shape], generator=torch.Generator().manual_seed(0))
    training = [module for module in model.modules() if module.training]
    try:
        with torch.no_grad():
            logits = model.eval()(clip)
            # One answer of a few random logits may sum to 1, too.
            are_probabilities = _are_probabilities(logits) and _are_probabilities(model(another))
    except Exception as error:
        raise TrainingError(f"{name}: its model fails on a clip {shape}: {_reason(error)}") from error
    for module in training:
        module.training = True
    if not isinstance(logits, Tensor) or logits.shape != (1, num_classes) or not logits.is_floating_point():
        found = f"{logits.dtype} {list(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise TrainingError(
            f"{name}: its model gives {found} for a clip {shape}; it must give float [1, {num_classes}], "
            "the logits of a batch of one"
        )
    if num_classes > 1 and are_probabilities:
        raise TrainingError(
            f"{name}: its model gives probabilities, they sum to 1; leave out the softmax, it must give logits"
        )


def _are_probabilities(logits: Any) -> bool:
    is_tensor = isinstance(logits, Tensor) and logits.is_floating_point()
    return is_tensor and bool((logits >= 0).all()) and abs(float(logits.double().sum()) - 1) < 1e-3


def _reason(error: Exception) -> str:
    """Return an error in one line, with the line of the user's own code."""
    ours = (str(Path(torch.__file__).parent), __file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    line = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first_line(error)}{line}"
