"""Layers of PyTorchVideo's models exchanged for equal ones that train sooner, and that can be traced.

Weights and their names stay, and the forward pass gives the same numbers bit for bit; gradients are equal but for
rounding. No network is built here.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_KERNEL, _PADDING = (3, 3, 3), (1, 1, 1)


class DepthwiseConv3d(nn.Conv3d):
    """A depthwise convolution of 3 x 3 x 3, without a stride in time: float [B, C, T, H, W] -> [B, C, T, h, w]."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        trains_on_cpu = input.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()
        if not trains_on_cpu or torch.is_autocast_enabled("cpu"):
            return super()._conv_forward(input, weight, bias)
        result: Tensor = _Depthwise.apply(input, weight, self.stride[1])
        return result


class _Depthwise(torch.autograd.Function):
    """The convolution of `DepthwiseConv3d`, with a backward pass of faster convolutions."""

    @staticmethod
    def forward(ctx: Any, clips: Tensor, weight: Tensor, stride: int) -> Tensor:
        """Return the convolution, as torch computes it."""
        ctx.save_for_backward(clips, weight)
        ctx.stride = stride
        return functional.conv3d(clips, weight, None, (1, stride, stride), _PADDING, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of the clips and of the weights."""
        clips, weight = ctx.saved_tensors
        of_clips = _gradient_of_clips(clips, weight, gradient, ctx.stride) if ctx.needs_input_grad[0] else None
        of_weight = _gradient_of_weight(clips, weight, gradient, ctx.stride) if ctx.needs_input_grad[1] else None
        return of_clips, of_weight, None


def _gradient_of_clips(clips: Tensor, weight: Tensor, gradient: Tensor, stride: int) -> Tensor:
    """Return the gradient by a forward convolution with the mirrored kernel, for which oneDNN has fast code."""
    if stride > 1:  # between the places that the kernel stood at, nothing comes back
        spread = torch.zeros_like(clips)
        spread[..., ::stride, ::stride] = gradient
        gradient = spread
    return functional.conv3d(gradient, weight.flip(2, 3, 4), None, 1, _PADDING, 1, len(weight))


def _gradient_of_weight(clips: Tensor, weight: Tensor, gradient: Tensor, stride: int) -> Tensor:
    """Return the gradient by a convolution of pictures for each of the kernel's three moments.

    The pictures of all clips lie one after the other, so that a shift in time copies nothing: the pairs of one clip's
    last picture with the next clip's first one are taken off again.
    """
    num_frames = clips.shape[2]
    pictures, of = _pictures(clips), _pictures(gradient)

    def moment(seen: Tensor, felt: Tensor) -> Tensor:
        if not len(seen):  # clips of one picture
            return torch.zeros_like(weight[:, :, 0])
        found: Tensor = torch.ops.aten.convolution_backward(
            felt, seen, weight[:, :, 0], None, (stride, stride), (1, 1), (1, 1), False, (0, 0), len(weight),
            (False, True, False),
        )[1]  # fmt: skip
        return found

    lasts, firsts = slice(num_frames - 1, -1, num_frames), slice(num_frames, None, num_frames)
    before = moment(pictures[:-1], of[1:]) - moment(pictures[lasts], of[firsts])
    after = moment(pictures[1:], of[:-1]) - moment(pictures[firsts], of[lasts])
    return torch.stack([before, moment(pictures, of), after], dim=2)


def _pictures(clips: Tensor) -> Tensor:
    """Return clips [B, C, T, H, W] as pictures [B * T, C, H, W]; with channels last, nothing is copied."""
    return clips.transpose(1, 2).flatten(0, 1)


def with_fast_layers(model: nn.Module) -> nn.Module:
    """Exchange layers of a model, in place: Swish for torch's own, and depthwise convolutions for faster ones.

    PyTorchVideo's Swish is a Python function, which neither torch.compile nor TorchScript can look into.
    """
    from pytorchvideo.layers.swish import Swish

    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, Swish):
                setattr(parent, name, nn.SiLU())
            elif type(layer) is nn.Conv3d and _is_depthwise(layer):
                layer.__class__ = DepthwiseConv3d
    return model


def with_plain_layers(model: nn.Module) -> nn.Module:
    """Make the depthwise convolutions of a model, in place, what exporters look for: `torch.nn.Conv3d` itself."""
    for layer in model.modules():
        if type(layer) is DepthwiseConv3d:
            layer.__class__ = nn.Conv3d  # type: ignore[assignment]
    return model


def _is_depthwise(layer: nn.Conv3d) -> bool:
    steps = layer.stride[0] == 1 and layer.stride[1] == layer.stride[2]
    shape = layer.kernel_size == _KERNEL and layer.padding == _PADDING and layer.dilation == (1, 1, 1)
    each = layer.groups == layer.in_channels == layer.out_channels > 1
    return steps and shape and each and layer.bias is None and layer.padding_mode == "zeros"
