"""ModelSpec: the one place for what a model wants of its input and how it is built.

In: a model's name, the number of classes and, where the model allows it, frames and crop of one's own. Out: a module
that maps float clips [B, 3, T, H, W] to logits [B, classes]. X3D's own softmax is left out: with it, cross-entropy
would see probabilities.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import nn

from signprep.pipeline.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model and its input."""

    name: str
    num_frames: int
    """Frames a clip, T."""
    crop_size: int
    """Height and width of the input in pixels."""
    dropout_rate: float = 0.5
    mean: float = 0.45
    """Of RGB in 0..1, the same for all channels. Source: PyTorchVideo's Kinetics-400 models, as is `std`."""
    std: float = 0.225

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**fields)


MODEL_SPECS = {
    spec.name: spec
    for spec in (
        ModelSpec(name="efficient_x3d_xs", num_frames=4, crop_size=160),
        ModelSpec(name="efficient_x3d_s", num_frames=13, crop_size=160),
        ModelSpec(name="x3d_xs", num_frames=4, crop_size=160),
        ModelSpec(name="x3d_s", num_frames=13, crop_size=160),
    )
}
"""Frames and crops that the Kinetics-400 models were trained with."""

SMALLEST_CROP = 32
"""All models halve their input five times."""


def model_spec(
    name: str, *, num_frames: int | None = None, crop_size: int | None = None, dropout_rate: float | None = None
) -> ModelSpec:
    """Return the spec of a model, with frames, crop and dropout of one's own where given.

    Raises:
        TrainingError: there is no such model, or it cannot take that input.
    """
    if name not in MODEL_SPECS:
        raise TrainingError(f"there is no model {name!r}; the models are {', '.join(MODEL_SPECS)}")
    given: dict[str, Any] = {"num_frames": num_frames, "crop_size": crop_size, "dropout_rate": dropout_rate}
    spec = replace(MODEL_SPECS[name], **{field: value for field, value in given.items() if value is not None})
    if spec.crop_size < SMALLEST_CROP or spec.num_frames < 1:
        raise TrainingError(
            f"{name} cannot take {spec.num_frames} frames of {spec.crop_size} pixels; "
            f"it needs at least 1 frame of {SMALLEST_CROP}"
        )
    return spec


def build_model(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return a freshly initialised model: float [B, 3, T, H, W] -> logits [B, num_classes]."""
    import signprep.training.torchvision_operators  # noqa: F401  (before pytorchvideo)

    family, _, size = spec.name.rpartition("_")
    if family == "efficient_x3d":
        from pytorchvideo.models.accelerator.mobile_cpu.efficient_x3d import create_x3d as create_efficient_x3d

        model: nn.Module = create_efficient_x3d(
            num_classes=num_classes, dropout=spec.dropout_rate, expansion=size.upper(), head_act="identity"
        )
        _initialise_residual_blocks(model)
        return model
    from pytorchvideo.models.x3d import create_x3d

    model = create_x3d(
        input_clip_length=spec.num_frames,
        input_crop_size=spec.crop_size,
        model_num_class=num_classes,
        dropout_rate=spec.dropout_rate,
        head_activation=None,
    )
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


def channels_last(model: nn.Module) -> nn.Module:
    """Lay the weights out with channels last: half the time a step for every model tried, and the same numbers."""
    return model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """Return the numbers of all and of trainable parameters."""
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(count for count, _ in counts), sum(count for count, trainable in counts if trainable)
