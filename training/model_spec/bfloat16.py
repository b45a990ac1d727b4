"""Training in bfloat16 on a CPU: code of oneDNN that is wrong is gone around, and what else is wrong is noticed.

oneDNN convolves on CPUs. Its version 3.12, that of torch 2.13, gives wrong gradients to the weights of a convolution in
bfloat16 over more frames than the clip has, if that has two or more (`jit_bf16:avx512_core`, backward_weights: 2 frames
and a kernel of 3, or 2 to 4 and one of 5, as in X3D's first layer): part of them is memory that nobody has written.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from signprep.pipeline.errors import TrainingError
from signprep.training.model_spec.layers import DepthwiseConv3d

MOST_DIFFERENCE = 0.5
"""Of the gradients' norm. Rounding to bfloat16 makes 0.01 to 0.1; a wrong kernel makes many times the norm, or NaN."""
_NUM_CLIPS = 2


class PaddedConv3d(nn.Conv3d):
    """A convolution whose clips get their zeros in time beforehand, where they are shorter than the kernel."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Any = self.padding
        length = self.dilation[0] * (self.kernel_size[0] - 1) + 1
        if not 1 < input.shape[2] < length or isinstance(padding, str) or self.padding_mode != "zeros":
            return super()._conv_forward(input, weight, bias)
        clips = functional.pad(input, (0, 0, 0, 0, padding[0], padding[0]))
        return functional.conv3d(clips, weight, bias, self.stride, (0, *padding[1:]), self.dilation, self.groups)


def with_sound_convolutions(model: nn.Module) -> nn.Module:
    """Exchange convolutions over time, in place, for such that are trained rightly in bfloat16 on a CPU."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d) and type(layer) in (nn.Conv3d, DepthwiseConv3d) and layer.kernel_size[0] > 1:
            layer.__class__ = PaddedConv3d
    return model


def require_sound_bfloat16(model: nn.Module, name: str, input_shape: Sequence[int]) -> None:
    """Compare a model's gradients in bfloat16, on the CPU, with those in 32 bits, on two random clips.

    oneDNN chooses other code for each processor and shape. Some for processors with AMX, which were not at hand, is
    known to be wrong where an output one pixel wide comes of a stride (pytorch issue 169688).

    Args:
        model: on the CPU; it is left as it was, without gradients.
        name: of the model, for the error.
        input_shape: of one clip.

    Raises:
        TrainingError: the gradients are no numbers, or of another size.
    """
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn((_NUM_CLIPS, *input_shape), generator=generator)
    if clips.dim() == 5:
        clips = clips.to(memory_format=torch.channels_last_3d)
    modes = {layer: layer.training for layer in model.modules()}
    try:
        # Statistics of two clips would make much of small differences.
        exact, found = (gradients_of(model.eval(), clips, dtype) for dtype in (None, torch.bfloat16))
    finally:
        for layer, mode in modes.items():
            layer.training = mode
        model.zero_grad(set_to_none=True)
    size, difference = float(exact.norm()), float((found - exact).norm())
    if difference <= MOST_DIFFERENCE * size:  # false for NaN
        return
    raise TrainingError(
        f"--precision bf16-mixed: on this processor, torch {torch.__version__} computes wrong gradients of {name} in "
        f"bfloat16, {difference:.3g} from those in 32 bits, whose size is {size:.3g}; train with --precision 32. Where "
        "the processor has AMX, ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment goes around its code"
    )


def gradients_of(model: nn.Module, clips: Tensor, dtype: torch.dtype | None, *, scale: float = 1.0) -> Tensor:
    """Return the gradients of all trainable parameters, one after the other, float32 [P].

    Args:
        model: on the device of the clips.
        clips: float32 [B, ...].
        dtype: of autocast; None computes in 32 bits.
        scale: factor on the loss on the way, that small gradients are not lost in float16.
    """
    model.zero_grad(set_to_none=True)
    with torch.autocast(clips.device.type, dtype, enabled=dtype is not None):
        logits = model(clips)
    labels = torch.arange(len(clips), device=clips.device) % logits.shape[1]
    (functional.cross_entropy(logits.float(), labels) * scale).backward()
    found = [parameter.grad.flatten().float() for parameter in model.parameters() if parameter.grad is not None]
    return torch.cat(found) / scale
