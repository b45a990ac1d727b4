"""The one place for the input of a model and the way it is built.

In: a model's name, the number of classes and, where the model allows it, other frames and crop than its usual ones.
Out: a module that maps float clips, [B, 3, T, H, W] or landmarks [B, T, 75, 3], to logits [B, classes].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from signprep.pipeline.errors import TrainingError
from signprep.pipeline.options import check_types
from signprep.training.model_spec.custom import build_custom
from signprep.training.model_spec.landmark_networks import build_landmark_conv, build_landmark_transformer
from signprep.training.model_spec.pixel_networks import (
    build_efficient_x3d,
    build_mvit,
    build_slow,
    build_x3d,
)
from signprep.training.model_spec.spec import SPATIAL_STRIDE, ModelSpec

MOST_FRAMES, LARGEST_CROP = 1024, 2048
"""Limits far above anything that trains; a damaged or hostile checkpoint may not ask for more memory than that."""


@dataclass(frozen=True, kw_only=True)
class _Family:
    """Models of one architecture."""

    build: Callable[[ModelSpec, int], nn.Module]
    head: str | None
    """Name of the linear layer that gives the logits; None where the model has to be asked."""
    frames: range = range(1, MOST_FRAMES + 1)
    crops: range = range(SPATIAL_STRIDE, LARGEST_CROP + 1)
    weights_have_size: bool = False
    """Trained weights fit one number of frames and one crop only."""


_SLOW = _Family(build=build_slow, head="blocks.5.proj")
_X3D = _Family(build=build_x3d, head="blocks.5.proj")
_EFFICIENT_X3D = _Family(build=build_efficient_x3d, head="projection.model")
_MVIT = _Family(
    build=build_mvit,
    head="head.proj",
    frames=range(2, MOST_FRAMES + 1, 2),
    crops=range(SPATIAL_STRIDE, LARGEST_CROP + 1, 4),
    weights_have_size=True,  # its position embeddings
)
_LANDMARK_TRANSFORMER = _Family(build=build_landmark_transformer, head="head", crops=range(1))
_LANDMARK_CONV = _Family(build=build_landmark_conv, head="head", crops=range(1))
_CUSTOM = _Family(build=build_custom, head=None, crops=range(1, LARGEST_CROP + 1))

_MODELS = {
    "efficient_x3d_xs": (_EFFICIENT_X3D, 4, 160, "efficient_x3d_xs_original_form.pyth", 12),
    "efficient_x3d_s": (_EFFICIENT_X3D, 13, 160, "efficient_x3d_s_original_form.pyth", 6),
    "x3d_xs": (_X3D, 4, 160, "X3D_XS.pyth", 12),
    "x3d_s": (_X3D, 13, 160, "X3D_S.pyth", 6),
    "x3d_m": (_X3D, 16, 224, "X3D_M.pyth", 5),
    "slow_r50": (_SLOW, 8, 224, "SLOW_8x8_R50.pyth", 8),
    "mvit_base_16x4": (_MVIT, 16, 224, "MVIT_B_16x4.pyth", 4),
    "mvit_base_32x3": (_MVIT, 32, 224, "MVIT_B_32x3_f294077834.pyth", 3),
    "landmark_transformer": (_LANDMARK_TRANSFORMER, 16, 0, None, None),
    "landmark_conv": (_LANDMARK_CONV, 16, 0, None, None),
}
"""Family, and of the Kinetics-400 weights the frames, the crop, the file, and how many frames of a video of 30 a second
lie from one to the next; there are no weights of landmarks."""

MODEL_SPECS = {
    name: ModelSpec(name=name, num_frames=num_frames, crop_size=crop_size)
    for name, (_, num_frames, crop_size, _, _) in _MODELS.items()
}
"""Frames and crops that the Kinetics-400 models were trained with."""

K400_FILES = {name: file for name, (_, _, _, file, _) in _MODELS.items() if file is not None}
K400_SPACINGS = {name: rate / 30 for name, (_, _, _, _, rate) in _MODELS.items() if rate is not None}
"""Seconds from one of the frames to the next that the Kinetics-400 weights were trained on."""


def is_custom(name: str) -> bool:
    """Return True for the name of a custom model's factory."""
    return ":" in name


def _family(name: str) -> _Family:
    """Return the family of a model, known by its name; raise TrainingError if there is none."""
    if is_custom(name):
        module, _, factory = name.partition(":")
        if not factory.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
            raise TrainingError(f"{name!r} does not name a model; expected package.module:factory, like mymodels:small")
        return _CUSTOM
    if name not in _MODELS:
        raise TrainingError(
            f"there is no model {name!r}; the models are {', '.join(_MODELS)}, "
            "and package.module:factory for one of your own"
        )
    return _MODELS[name][0]


def model_spec(
    name: str,
    *,
    num_frames: int | None = None,
    crop_size: int | None = None,
    dropout_rate: float | None = None,
    pretrained: bool = False,
) -> ModelSpec:
    """Return the spec of a model, with other frames, crop and dropout than its usual ones where given.

    Args:
        name: one of `MODEL_SPECS`, or package.module:factory; nothing is imported here.
        num_frames: T; by default that of the Kinetics-400 model, 16 for a custom model.
        crop_size: pixels; by default that of the Kinetics-400 model, 224 for a custom model.
        dropout_rate: of the dropout before the last layer.
        pretrained: the model is to begin with the Kinetics-400 weights.

    Raises:
        TrainingError: there is no such model, or it cannot take that input, or there are no such weights.
        TypeError: a number of frames or pixels is no whole number.
    """
    family = _family(name)
    default = ModelSpec(name=name, num_frames=16, crop_size=224) if family is _CUSTOM else MODEL_SPECS[name]
    given: dict[str, Any] = {"num_frames": num_frames, "crop_size": crop_size, "dropout_rate": dropout_rate}
    spec = replace(default, **{field: value for field, value in given.items() if value is not None})
    check_types(spec)
    _check_input(spec)
    if pretrained:
        check_k400(spec)
    return spec


def _check_input(spec: ModelSpec) -> None:
    """Raise TrainingError unless the model takes such clips."""
    frames, crops = _family(spec.name).frames, _family(spec.name).crops
    if spec.crop_size and 0 in crops:
        raise TrainingError(f"{spec.name} reads landmarks, which have no size in pixels: leave out --size")
    if spec.num_frames not in frames or spec.crop_size not in crops:
        raise TrainingError(
            f"{spec.name} cannot take {spec.num_frames} frames of {spec.crop_size} pixels; it takes {_shown(frames)} "
            f"frames of {_shown(crops)} pixels: give --num-frames {_nearest(spec.num_frames, frames)} "
            f"--size {_nearest(spec.crop_size, crops)}"
        )
    if not 0 <= spec.dropout_rate < 1:
        raise TrainingError(f"a dropout rate of {spec.dropout_rate} is not in 0 <= rate < 1; 0.5 is the default")


def weights_have_size(name: str) -> bool:
    """Return whether weights of a model fit one number of frames and one crop only."""
    return _family(name).weights_have_size


def check_k400(spec: ModelSpec) -> None:
    """Raise TrainingError unless there are Kinetics-400 weights for the model with its frames and crop."""
    if is_custom(spec.name):
        raise TrainingError(f"{spec.name}: there are no Kinetics-400 weights for a model of one's own; give a path")
    if spec.name not in K400_FILES:
        raise TrainingError(f"{spec.name}: there are no Kinetics-400 weights for landmarks; give a path")
    trained = MODEL_SPECS[spec.name]
    is_resized = (spec.num_frames, spec.crop_size) != (trained.num_frames, trained.crop_size)
    if weights_have_size(spec.name) and is_resized:
        sizes = (spec.num_frames, spec.crop_size)
        others = [
            name
            for name, other in MODEL_SPECS.items()
            if _family(name) is _family(spec.name) and (other.num_frames, other.crop_size) == sizes
        ]
        cure = f"take {others[0]}" if others else "leave out --num-frames and --size, or the weights"
        raise TrainingError(
            f"the Kinetics-400 weights of {spec.name} take {trained.num_frames} frames of {trained.crop_size} pixels "
            f"only, not {spec.num_frames} of {spec.crop_size}: {cure}"
        )


def _shown(allowed: range) -> str:
    multiples = f"multiples of {allowed.step} from " if allowed.step > 1 else ""
    return f"{multiples}{allowed[0]} to {allowed[-1]}"


def _nearest(number: int, allowed: range) -> int:
    return min(allowed, key=lambda candidate: abs(candidate - number))


def build_model(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return a freshly initialised model: float [B, 3, T, H, W] -> logits [B, num_classes].

    A custom model is imported by its name: code runs.

    Raises:
        TrainingError: there is no such model, it cannot take that input, or a custom model breaks the contract.
    """
    import signprep.training.runtime.torchvision_operators  # noqa: F401

    _check_input(spec)
    return _family(spec.name).build(spec, num_classes)


def head_name(model: nn.Module, spec: ModelSpec, num_classes: int) -> str:
    """Return the name, among the model's modules, of the layer that gives the logits.

    Raises:
        TrainingError: in a custom model it cannot be told which one that is.
    """
    known = _family(spec.name).head
    if known is not None:
        return known
    found = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels) == num_classes
    ]
    said = getattr(model, "head_name", None)  # where several layers have that width
    if said in found:
        return str(said)
    if said is None and len(found) == 1:
        return found[0]
    among = f"it has {', '.join(found) or 'none'}" + (f" and says {said!r}" if said is not None else "")
    raise TrainingError(
        f"{spec.name}: cannot tell which layer of the model is its head, a Linear or Conv that gives {num_classes} "
        f"values ({among}); give the model an attribute head_name with the layer's name"
    )


def channels_last(model: nn.Module) -> nn.Module:
    """Lay the weights out with channels last, for clips laid out so: the same numbers, sooner.

    A training step on two cores takes 0.53 to 0.60 of the time for X3D and EfficientX3D, 0.75 to 1 for slow_r50 and
    0.97 for MViT (`python -m benchmarks models`). A custom model stays as it is: its layers may not allow it, as Conv2d
    does not.
    """
    if type(model).__module__.startswith("pytorchvideo."):
        model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return model


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Return the numbers of all and of trainable parameters."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trainable in counts if trainable)
