"""Weights from elsewhere to begin with, for all of a model but its head; and training of the head only.

Weights are "k400" (PyTorchVideo's Kinetics-400 weights, downloaded once into torch.hub's folder) or a path of
PyTorchVideo's files, state dicts or signprep's own checkpoints. Every name and shape must fit; of a file that is not
wholly understood nothing is taken. Nothing is unpickled but tensors and plain data.
"""

import contextlib
import math
import sys
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import counted, first_line, first_of
from signprep.training.config import TrainConfig
from signprep.training.model.checkpoint import CHECKPOINT_KEY, model_weights, require_version, require_whole
from signprep.training.model_spec import (
    K400_FILES,
    K400_SPACINGS,
    ModelSpec,
    build_model,
    channels_last,
    check_k400,
    head_name,
)

K400 = "k400"
K400_ROOT = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics"
EXPECTED = "expected a checkpoint of signprep, PyTorchVideo's weights or a state dict"


def prepare_model(spec: ModelSpec, config: TrainConfig, vocabulary: Vocabulary) -> tuple[nn.Module, float | None]:
    """Return the model of a run: built, filled with weights from elsewhere, frozen, laid out, compiled.

    Beside it come the seconds between the frames that the weights were trained on, as of `load_pretrained`.
    """
    model, spacing = build_model(spec, len(vocabulary)), None
    if config.pretrained is not None:
        spacing = load_pretrained(model, spec, config.pretrained, vocabulary=vocabulary)
    if config.freeze_backbone:
        freeze_backbone(model, spec, len(vocabulary))
    if config.channels_last:
        model = channels_last(model)
    if config.compile:
        model.compile()
    return model, spacing


def load_pretrained(
    model: nn.Module, spec: ModelSpec, weights_from: StrPath, *, vocabulary: Vocabulary
) -> float | None:
    """Fill a model with weights from elsewhere, in place; return the seconds between the frames they were trained on.

    The head stays as it was initialised, unless the weights are of a signprep checkpoint with the same glosses. Such a
    checkpoint tells the seconds itself, those of older versions do not: None.

    Args:
        model: from `build_model(spec, len(vocabulary))`.
        spec: the model's spec.
        weights_from: "k400" or a path.
        vocabulary: the glosses that the model is to be trained on.

    Raises:
        CheckpointError: the weights cannot be downloaded or read, do not fit the model, or are no numbers.
        TrainingError: it cannot be told which layer of a custom model is the head.
    """
    contents, label = _download(spec) if weights_from == K400 else (_read(as_path(weights_from)), str(weights_from))
    weights, glosses = _weights(contents, label)
    own = model.state_dict()
    head = [name for name in own if name.startswith(f"{head_name(model, spec, len(vocabulary))}.")]
    shapes = {name: value.shape for name, value in own.items()}
    for name in head:
        classes = (400,) if weights_from == K400 else weights.get(name, own[name]).shape[:1]
        shapes[name] = torch.Size((*classes, *shapes[name][1:]))
    _check_fit(weights, shapes, label, spec)
    takes_head = glosses == vocabulary.glosses
    _fill(model, {name: value for name, value in weights.items() if takes_head or name not in head}, label)
    spacing = K400_SPACINGS.get(spec.name) if glosses is None else contents[CHECKPOINT_KEY].get("frame_spacing_seconds")
    return spacing if isinstance(spacing, float) and 0 < spacing < math.inf else None


def load_own_weights(model: nn.Module, spec: ModelSpec, contents: dict[str, Any], label: str) -> None:
    """Fill a model with the weights of its own checkpoint, in place; `label` names the file.

    Raises CheckpointError if they do not fit the model, or are no numbers that it can answer with.
    """
    weights, _ = _weights(contents, label)
    _check_fit(weights, {name: value.shape for name, value in model.state_dict().items()}, label, spec)
    _fill(model, weights, label)


def _fill(model: nn.Module, weights: Mapping[str, Tensor], label: str) -> None:
    """Copy weights that fit into a model; raise CheckpointError unless all of its numbers can be computed with."""
    own = model.state_dict()
    others = [name for name, value in weights.items() if value.is_floating_point() != own[name].is_floating_point()]
    if others:
        raise CheckpointError(f"{label}: its weights {first_of(others, 3)} are of another kind of number")
    for name, given in weights.items():
        value = given.to(own[name].dtype)  # what is finite in 64 bits may not be so in 32
        # A custom model may be built with infinities, as the mask of an attention is.
        is_finite = torch.isfinite(value)
        if not is_finite.all() and bool((~is_finite & (value != own[name])).any()):
            raise CheckpointError(f"{label}: its weights {name} are not all finite numbers; it cannot answer")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise CheckpointError(f"{label}: its weights {name}, which are variances, are negative; it cannot answer")
    try:
        model.load_state_dict({**own, **weights})
    except RuntimeError as error:
        raise CheckpointError(f"{label}: its weights cannot be copied ({_reason(error)})") from error


def _download(spec: ModelSpec) -> tuple[Any, str]:
    """Return the contents and the path of the Kinetics-400 file, downloaded unless torch.hub has it."""
    check_k400(spec)
    url = f"{K400_ROOT}/{K400_FILES[spec.name]}"
    kept = Path(torch.hub.get_dir()) / "checkpoints" / K400_FILES[spec.name]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # where torch.hub announces downloads; results go to stdout
            contents = torch.hub.load_state_dict_from_url(url, map_location="cpu", progress=True, weights_only=True)
    except (OSError, HTTPException) as error:
        raise CheckpointError(
            f"{url}: cannot be downloaded ({_reason(error)}); fetch it by another way and put it at {kept}, "
            f"or give its path in place of {K400}"
        ) from error
    except Exception as error:
        advice = "delete it, and it is downloaded again"
        raise CheckpointError(f"{kept}: cannot be read ({_reason(error)}); {advice}") from error
    return contents, str(kept)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; give {K400} or the path of weights")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(contents, dict) and CHECKPOINT_KEY in contents:  # others may be without checksums
            require_whole(path)
        return contents
    except CheckpointError:
        raise
    except Exception as error:  # on damaged files torch raises a dozen kinds, AssertionError among them
        raise CheckpointError(f"{path}: cannot be read as weights ({_reason(error)}); {EXPECTED}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnpicklingError):  # torch's own words advise to run what the file holds
        return "it is damaged, or holds Python objects beside its weights, which are never loaded"
    if isinstance(error, KeyError | IndexError | EOFError):  # of unpickling what is no pickle: a text, half a file
        return "it is none of torch's files, or damaged"
    return f"{type(error).__name__}: {first_line(error)}"


def _weights(contents: Any, label: str) -> tuple[dict[str, Tensor], tuple[str, ...] | None]:
    """Return the weights by name, and the glosses where they are of a signprep checkpoint."""

    def refused(found: str) -> CheckpointError:
        return CheckpointError(f"{label}: holds no weights by name ({found}); {EXPECTED}")

    glosses = None
    if not isinstance(contents, dict):
        raise refused(f"it holds a {type(contents).__name__}")
    try:
        if CHECKPOINT_KEY in contents:
            require_version(label, contents[CHECKPOINT_KEY])
            glosses = tuple(contents[CHECKPOINT_KEY]["glosses"])
            named = model_weights(contents)
        else:
            named = dict(contents.get("model_state", contents))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise refused(_reason(error)) from error
    strange = [
        f"{name!r} ({type(value).__name__})"
        for name, value in named.items()
        if not (isinstance(name, str) and isinstance(value, Tensor) and _is_plain(value))
    ]
    if strange or not named:
        raise refused(first_of(strange, 3) or "it is empty")
    return named, glosses


def _is_plain(value: Tensor) -> bool:
    """Return whether a tensor holds its numbers one by one."""
    return value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized


def _check_fit(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], label: str, spec: ModelSpec) -> None:
    """Raise CheckpointError unless names and shapes are those of the model."""
    # BatchNorm's counter is absent in files of old versions of torch; nothing depends on it.
    missing = [name for name in shapes if name not in weights and not name.endswith("num_batches_tracked")]
    unknown = [repr(name) for name in weights if name not in shapes]
    misshapen = [
        f"{name} {list(value.shape)} instead of {list(shapes[name])}"
        for name, value in weights.items()
        if name in shapes and value.shape != shapes[name]
    ]
    found = [(missing, "missing"), (unknown, "unknown"), (misshapen, "of another shape")]
    told = [f"{counted(len(names), 'weight')} {how} ({first_of(names, 3)})" for names, how in found if names]
    if told:
        described = f"{spec.name} with {spec.num_frames} frames of {spec.crop_size} pixels"
        raise CheckpointError(f"{label}: its weights do not fit {described}: {'; '.join(told)}")


def freeze_backbone(model: nn.Module, spec: ModelSpec, num_classes: int) -> None:
    """Leave only the head trainable; call `keep_frozen_in_eval` whenever the model was set to training mode.

    Raises:
        TrainingError: it cannot be told which layer of a custom model is the head.
    """
    head = model.get_submodule(head_name(model, spec, num_classes))
    model.requires_grad_(False)
    head.requires_grad_(True)


def keep_frozen_in_eval(model: nn.Module) -> None:
    """Set the norms of frozen parts to evaluation, where `model.train()` has set them to training.

    Their running statistics would drift away from the weights that they were trained with. Does nothing where all
    parameters are trainable; dropout stays active.
    """
    if all(parameter.requires_grad for parameter in model.parameters()):
        return
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.train(module.training and any(parameter.requires_grad for parameter in module.parameters()))
