"""ModelSpec: the one place for the input of a model and the way it is built.

In: a model's name, the number of classes and, where the model allows it, other frames and crop than its usual ones.
Out: a module that maps float clips [B, 3, T, H, W] to logits [B, classes].
"""

import importlib
import math
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from signprep.pipeline.errors import TrainingError
from signprep.pipeline.options import check_types
from signprep.pipeline.runtime.text import first_line

SPATIAL_STRIDE = 32
"""All models halve their input five times, so that 32 pixels are the smallest crop."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model and its input."""

    name: str
    """One of `MODEL_SPECS`, or package.module:factory for a custom model."""
    num_frames: int
    crop_size: int
    """Height and width of the input in pixels."""
    dropout_rate: float = 0.5
    mean: float = 0.45
    """Mean of RGB in 0..1 in all channels. Source: PyTorchVideo's Kinetics-400 models, as of `std`."""
    std: float = 0.225

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of one clip as the model takes it: channels, frames, height, width."""
        return 3, self.num_frames, self.crop_size, self.crop_size

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**fields)


def _build_slow(spec: ModelSpec, num_classes: int) -> nn.Module:
    from pytorchvideo.models.resnet import create_resnet

    # Like X3D's, its head pools with a kernel of fixed size: it is built for the frames and the crop in use.
    cells = math.ceil(spec.crop_size / SPATIAL_STRIDE)
    return create_resnet(
        stem_conv_kernel_size=(1, 7, 7),
        head_pool_kernel_size=(spec.num_frames, cells, cells),
        model_num_class=num_classes,
        dropout_rate=spec.dropout_rate,
    )


def _build_x3d(spec: ModelSpec, num_classes: int) -> nn.Module:
    from pytorchvideo.models.x3d import create_x3d

    return create_x3d(
        input_clip_length=spec.num_frames,
        input_crop_size=spec.crop_size,
        model_num_class=num_classes,
        dropout_rate=spec.dropout_rate,
        head_activation=None,  # with X3D's own softmax, cross-entropy would see probabilities
    )


def _build_mvit(spec: ModelSpec, num_classes: int) -> nn.Module:
    from pytorchvideo.models.hub.vision_transformers import mvit_video_base_config
    from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers

    sizes = {"temporal_size": spec.num_frames, "spatial_size": spec.crop_size}
    return create_multiscale_vision_transformers(
        **mvit_video_base_config | sizes, head_num_classes=num_classes, head_dropout_rate=spec.dropout_rate
    )


def _build_efficient_x3d(spec: ModelSpec, num_classes: int) -> nn.Module:
    from pytorchvideo.models.accelerator.mobile_cpu.efficient_x3d import create_x3d

    model: nn.Module = create_x3d(
        num_classes=num_classes,
        dropout=spec.dropout_rate,
        expansion=spec.name.rpartition("_")[2].upper(),
        head_act="identity",
    )
    _initialise_residual_blocks(model)
    return model


def _initialise_residual_blocks(model: nn.Module) -> None:
    """Initialise EfficientX3D as PyTorchVideo initialises X3D: He's normal weights, residual branches from zero.

    PyTorchVideo leaves it out for this family. Without it the demo's model learns poses but not the direction of
    motion: 0.73 instead of 0.97 on unseen signers.
    """
    from pytorchvideo.models.accelerator.mobile_cpu.residual_blocks import X3dBottleneckBlock
    from pytorchvideo.models.weight_init import init_net_weights

    for block in model.modules():
        if isinstance(block, X3dBottleneckBlock):
            *_, last = (layer for layer in block.layers.modules() if isinstance(layer, nn.BatchNorm3d))
            last.block_final_bn = True  # type: ignore[assignment]
    init_net_weights(model)


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


def _build_custom(spec: ModelSpec, num_classes: int) -> nn.Module:
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
    clip = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    training = [module for module in model.modules() if module.training]
    try:
        with torch.no_grad():
            logits = model.eval()(clip)
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
    if num_classes > 1 and bool((logits >= 0).all()) and abs(float(logits.double().sum()) - 1) < 1e-3:
        raise TrainingError(
            f"{name}: its model gives probabilities, they sum to 1; leave out the softmax, it must give logits"
        )


def _reason(error: Exception) -> str:
    """Return an error in one line, with the line of the user's own code."""
    ours = (str(Path(torch.__file__).parent), __file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    line = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first_line(error)}{line}"


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


_SLOW = _Family(build=_build_slow, head="blocks.5.proj")
_X3D = _Family(build=_build_x3d, head="blocks.5.proj")
_EFFICIENT_X3D = _Family(build=_build_efficient_x3d, head="projection.model")
_MVIT = _Family(
    build=_build_mvit,
    head="head.proj",
    frames=range(2, MOST_FRAMES + 1, 2),
    crops=range(SPATIAL_STRIDE, LARGEST_CROP + 1, 4),
    weights_have_size=True,  # its position embeddings
)
_CUSTOM = _Family(build=_build_custom, head=None, crops=range(1, LARGEST_CROP + 1))

_MODELS = {
    "efficient_x3d_xs": (_EFFICIENT_X3D, 4, 160, "efficient_x3d_xs_original_form.pyth"),
    "efficient_x3d_s": (_EFFICIENT_X3D, 13, 160, "efficient_x3d_s_original_form.pyth"),
    "x3d_xs": (_X3D, 4, 160, "X3D_XS.pyth"),
    "x3d_s": (_X3D, 13, 160, "X3D_S.pyth"),
    "x3d_m": (_X3D, 16, 224, "X3D_M.pyth"),
    "slow_r50": (_SLOW, 8, 224, "SLOW_8x8_R50.pyth"),
    "mvit_base_16x4": (_MVIT, 16, 224, "MVIT_B_16x4.pyth"),
}
"""Family, and the frames, crop and file of the Kinetics-400 weights."""

MODEL_SPECS = {
    name: ModelSpec(name=name, num_frames=num_frames, crop_size=crop_size)
    for name, (_, num_frames, crop_size, _) in _MODELS.items()
}
"""Frames and crops that the Kinetics-400 models were trained with."""

K400_FILES = {name: file for name, (_, _, _, file) in _MODELS.items()}


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
    if spec.num_frames not in frames or spec.crop_size not in crops:
        raise TrainingError(
            f"{spec.name} cannot take {spec.num_frames} frames of {spec.crop_size} pixels; it takes {_shown(frames)} "
            f"frames of {_shown(crops)} pixels: give --num-frames {_nearest(spec.num_frames, frames)} "
            f"--size {_nearest(spec.crop_size, crops)}"
        )
    if not 0 <= spec.dropout_rate < 1:
        raise TrainingError(f"a dropout rate of {spec.dropout_rate} is not in 0 <= rate < 1; 0.5 is the default")


def check_k400(spec: ModelSpec) -> None:
    """Raise TrainingError unless there are Kinetics-400 weights for the model with its frames and crop."""
    if is_custom(spec.name):
        raise TrainingError(f"{spec.name}: there are no Kinetics-400 weights for a model of one's own; give a path")
    trained = MODEL_SPECS[spec.name]
    is_resized = (spec.num_frames, spec.crop_size) != (trained.num_frames, trained.crop_size)
    if _family(spec.name).weights_have_size and is_resized:
        raise TrainingError(
            f"the Kinetics-400 weights of {spec.name} take {trained.num_frames} frames of {trained.crop_size} pixels "
            f"only, not {spec.num_frames} of {spec.crop_size}: leave out --num-frames and --size, or the weights"
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
