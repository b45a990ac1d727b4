"""Batch norms made part of the convolutions before them, which a trained model on a CPU answers sooner without.

In evaluation a batch norm multiplies each channel by a number and adds another one, for which the CPU reads and writes
all that the convolution has written once more. Weights can be multiplied beforehand (Jacob et al. 2018, "Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 3.2). Answers differ by
rounding. Which convolution stands before which batch norm is not read off names, but seen while the model computes, and
what comes out is held against the model's own answer: a custom model may do with its layers what it likes.
"""

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from signprep.training.model_spec.layers import DepthwiseConv3d

SAME = 1e-4
"""A difference of more than this of the largest logit is no rounding."""
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, DepthwiseConv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def with_folded_norms(model: nn.Module, example: Tensor) -> nn.Module:
    """Return a model with the same answers and fewer layers; the model itself if nothing can be folded.

    Args:
        model: in evaluation; it is not changed, and shares all weights that stay.
        example: an input of it, float32 [B, ...]; it is asked about it at most twice.
    """
    if not any(type(layer) in _NORMS for layer in model.modules()):
        return model
    with torch.inference_mode():
        expected, pairs = _pairs(model, example)
        if not pairs:
            return model
        try:
            folded = _exchanged(model, pairs, {})
            return folded if is_same(folded(example), expected) else model
        except Exception:  # of a custom model, which may read its batch norms, or have layers that cannot be copied
            return model


def is_same(found: Tensor, expected: Tensor) -> bool:
    """Return whether logits differ by rounding only; what is no number is not even the same as itself."""
    most = SAME * float(expected.abs().max())
    return found.shape == expected.shape and bool(((found - expected).abs() <= most).all())


def _pairs(model: nn.Module, example: Tensor) -> tuple[Tensor, dict[nn.Module, nn.Module]]:
    """Return the model's answer, and what stands for convolutions and for the batch norms that follow them."""
    calls: Counter[nn.Module] = Counter()
    written: dict[int, tuple[nn.Module, Tensor]] = {}  # it keeps the tensors, so that no other gets the number of one
    follows: dict[nn.Module, nn.Module] = {}

    def after_convolution(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        calls[layer] += 1
        written[id(result)] = layer, result

    def before_norm(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[layer] += 1
        if given and id(given[0]) in written:
            follows[layer] = written[id(given[0])][0]

    hooks = []
    try:
        for layer in model.modules():
            if layer._forward_hooks or layer._forward_pre_hooks or layer.training:
                continue
            if type(layer) in _CONVOLUTIONS:
                hooks.append(layer.register_forward_hook(after_convolution))
            elif type(layer) in _NORMS and getattr(layer, "running_mean", None) is not None:
                hooks.append(layer.register_forward_pre_hook(before_norm))
        answer = model(example)
    finally:
        for hook in hooks:
            hook.remove()
    alone = Counter(follows.values())
    exchanged: dict[nn.Module, nn.Module] = {}
    for norm, convolution in follows.items():
        if calls[norm] == calls[convolution] == alone[convolution] == 1:
            exchanged[convolution] = fuse_conv_bn_eval(convolution, norm)  # type: ignore[type-var,arg-type]
            exchanged[norm] = nn.Identity()
    return answer, exchanged


def _exchanged(layer: nn.Module, exchanged: dict[nn.Module, nn.Module], known: dict[nn.Module, nn.Module]) -> nn.Module:
    """Return a layer with others in place of some below it; what is above those is copied, but for its weights."""
    if layer in exchanged:
        return exchanged[layer]
    if not any(below in exchanged for below in layer.modules()):
        return layer
    if layer not in known:
        known[layer] = twin = copy.copy(layer)
        twin._modules = {
            name: below if below is None else _exchanged(below, exchanged, known)
            for name, below in layer._modules.items()
        }
    return known[layer]
