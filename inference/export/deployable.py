"""From a trained model to the form that is exported: deployable blocks, and int8 from calibration clips.

PyTorchVideo's EfficientX3D has a second, deployable form: batch norms folded into their convolutions, and 3-D
convolutions taken apart into 2-D ones, which phones have fast kernels for. Its probabilities are the same within 1e-7,
batch and shape are fixed, and on a desktop it is slower. int8 is made from it by static quantization: observers record
the range of every activation over real clips.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from signprep.pipeline.errors import SignprepError

X86_ENGINE, X86_FAST_ENGINE, ARM_ENGINE = "x86", "onednn", "qnnpack"
LEAST_SCALE = 2.0**-14
"""Of int8 activations. qnnpack adds nothing whose scale is less than that part of the sum's, and a residual branch that
has learnt next to nothing has a scale near 0: such a file would load on x86, and fail on every phone."""


def deployable(model: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of a trained model that can be traced and saved; an EfficientX3D in its deployable form.

    Args:
        model: float [B, 3, T, H, W] -> logits [B, classes], on the CPU.
        example: an input; its shape becomes the only one that an EfficientX3D takes.
    """
    from pytorchvideo.layers.swish import Swish

    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    blocks = list(_efficient_blocks(model))
    shapes = _input_shapes(model, blocks, example)
    for block in blocks:
        block.convert(shapes[block])  # type: ignore[operator]
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Swish):  # a Python function, which TorchScript cannot save
                setattr(parent, name, nn.SiLU())
    return model.eval()


def _efficient_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost blocks that convert themselves rightly.

    X3dBottleneckBlock does not: it takes the half of an odd size to be rounded down, where convolutions round up, so
    that crops other than multiples of 32 fail. Its parts are converted one by one.
    """
    from pytorchvideo.accelerator.efficient_blocks.efficient_block_base import EfficientBlockBase
    from pytorchvideo.models.accelerator.mobile_cpu.residual_blocks import X3dBottleneckBlock

    for child in module.children():
        if isinstance(child, EfficientBlockBase) and not isinstance(child, X3dBottleneckBlock):
            yield child
        else:
            yield from _efficient_blocks(child)


def _input_shapes(model: nn.Module, blocks: list[nn.Module], example: Tensor) -> dict[nn.Module, tuple[int, ...]]:
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def record(block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[block] = tuple(inputs[0].shape)

    handles = [block.register_forward_pre_hook(record) for block in blocks]
    with torch.no_grad():
        model(example)
    for handle in handles:
        handle.remove()
    return shapes


def quantized(model: nn.Module, inputs: Iterable[Tensor]) -> nn.Module:
    """Return the int8 form of a deployable EfficientX3D: float in, float out. Call it inside `int8_engine`.

    Activations have all 8 bits. torch's default on x86 has 7, lest CPUs without VNNI overflow; but on the demo's model
    8 bits were 2.4 times nearer to fp32 with VNNI, and no farther from it where kernels could use AVX2 only. Their
    range is the least and the largest value: histograms, which leave some out, took twice the time, and answers were
    8 to 11 % farther from fp32's on three models.

    Args:
        model: as `deployable` returns it.
        inputs: calibration clips as the model sees them, float [1, 3, T, H, W] each; at least one.
    """
    from torch.ao import quantization

    with quiet():
        whole = nn.Sequential(quantization.QuantStub(), model, quantization.DeQuantStub()).eval()
        whole.qconfig = quantization.QConfig(  # type: ignore[assignment]
            activation=quantization.MinMaxObserver.with_args(reduce_range=False, eps=LEAST_SCALE),
            weight=quantization.default_per_channel_weight_observer,
        )
        observed = quantization.prepare(whole)
        with torch.no_grad():
            for clips in inputs:
                observed(clips)
        converted: nn.Module = quantization.convert(observed, inplace=True)
    return converted


def int8_engines() -> tuple[str, ...]:
    """Return the engines of this torch that a file is checked with, qnnpack, which phones have, among them.

    The first is the one that a fresh process on this kind of machine uses. An int8 file holds plain weights and ranges,
    for any engine: the process that loads it packs them for its own one, and rounds as that does. So only the same
    engine gives the same bits.
    """
    supported = torch.backends.quantized.supported_engines
    engines = tuple(name for name in (X86_ENGINE, X86_FAST_ENGINE, ARM_ENGINE) if name in supported)
    if not engines:
        raise SignprepError(f"int8 needs torch's engine {X86_ENGINE} or {ARM_ENGINE}; this torch has {supported}")
    return engines


def fast_int8_engine() -> str:
    """Return the engine that answers soonest here: on x86, onednn took a quarter of the usual one's time or less."""
    engines = int8_engines()
    return X86_FAST_ENGINE if X86_FAST_ENGINE in engines else engines[0]


@contextmanager
def int8_engine(engine: str | None) -> Iterator[None]:
    """Run int8 models with an engine inside the block; None changes nothing."""
    if engine is None:
        yield
        return
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch says of its own plans for tracing and quantization; the exported file is checked instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", message="Please use quant_min and quant_max")
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor")
        # Of few frames, some convolutions of the deployable form are never used.
        warnings.filterwarnings("ignore", message="must run observer before calling")
        yield
