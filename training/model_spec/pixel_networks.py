"""The video models of PyTorchVideo, built for the frames and the crop in use; each gives logits."""

import math

from torch import nn

from signprep.training.model_spec.layers import with_fast_layers
from signprep.training.model_spec.spec import SPATIAL_STRIDE, ModelSpec


def build_slow(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return the slow pathway of SlowFast, for clips of a spec: float [B, 3, T, H, W] -> logits [B, num_classes]."""
    from pytorchvideo.models.resnet import create_resnet

    # Like X3D's, its head pools with a kernel of fixed size: it is built for the frames and the crop in use.
    cells = math.ceil(spec.crop_size / SPATIAL_STRIDE)
    model: nn.Module = create_resnet(
        stem_conv_kernel_size=(1, 7, 7),
        head_pool_kernel_size=(spec.num_frames, cells, cells),
        model_num_class=num_classes,
        dropout_rate=spec.dropout_rate,
    )
    _pool_by_mean(model)
    return model


def build_x3d(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return an X3D for clips of a spec: float [B, 3, T, H, W] -> logits [B, num_classes]."""
    from pytorchvideo.models.x3d import create_x3d

    model: nn.Module = create_x3d(
        input_clip_length=spec.num_frames,
        input_crop_size=spec.crop_size,
        model_num_class=num_classes,
        dropout_rate=spec.dropout_rate,
        head_activation=None,  # with X3D's own softmax, cross-entropy would see probabilities
    )
    _pool_by_mean(model)
    return with_fast_layers(model)


def _pool_by_mean(model: nn.Module) -> None:
    """Let heads, whose pooling covers the whole grid, take a mean: on a GPU its gradient is deterministic.

    That of a pooling with a kernel is not, and --deterministic would end in the first step.
    """
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.AvgPool3d):
                setattr(parent, name, nn.AdaptiveAvgPool3d(1))


def build_mvit(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return a multiscale vision transformer for clips of a spec: float [B, 3, T, H, W] -> logits [B, num_classes]."""
    from pytorchvideo.models.hub.vision_transformers import mvit_video_base_config
    from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers

    sizes = {"temporal_size": spec.num_frames, "spatial_size": spec.crop_size}
    return create_multiscale_vision_transformers(
        **mvit_video_base_config | sizes, head_num_classes=num_classes, head_dropout_rate=spec.dropout_rate
    )


def build_efficient_x3d(spec: ModelSpec, num_classes: int) -> nn.Module:
    """Return an EfficientX3D for clips of a spec: float [B, 3, T, H, W] -> logits [B, num_classes]."""
    from pytorchvideo.models.accelerator.mobile_cpu.efficient_x3d import create_x3d

    model: nn.Module = create_x3d(
        num_classes=num_classes,
        dropout=spec.dropout_rate,
        expansion=spec.name.rpartition("_")[2].upper(),
        head_act="identity",
    )
    _initialise_residual_blocks(model)
    return with_fast_layers(model)


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
