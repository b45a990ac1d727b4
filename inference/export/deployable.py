"""From a trained model to what is exported: its deployable form, int8, and the inputs of the formats' writers.

PyTorchVideo's EfficientX3D has a second, deployable form: batch norms folded into their convolutions, and 3-D
convolutions taken apart into 2-D ones, which phones have fast kernels for. Its probabilities are the same within 1e-7,
batch and shape are fixed, and on a desktop it is slower. int8 is made from it by static quantization: observers record
the range of every activation over real clips.
"""

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from signprep.cache_builder.reader import Cache
from signprep.inference.export.metadata import ExportMetadata
from signprep.inference.options import ExportOptions
from signprep.inference.recognizer import Recognizer
from signprep.pipeline.errors import CacheError, CheckpointError, SignprepError
from signprep.training.config import EXECUTORCH, TORCHSCRIPT
from signprep.training.model_spec import ModelSpec
from signprep.training.model_spec.layers import with_fast_layers, with_plain_layers
from signprep.training.transforms import ClipTransform, LandmarkTransform

MOBILE_FAMILY = "efficient_x3d"
CALIBRATION_CLIPS = 64
"""Largest number of clips that calibrate int8; observing one takes about a quarter of a second."""
X86_ENGINE, X86_FAST_ENGINE, ARM_ENGINE = "x86", "onednn", "qnnpack"
LEAST_SCALE = 2.0**-14
"""Least scale of int8 activations. qnnpack adds nothing whose scale is less than that share of the sum's, and a
residual branch that has learnt next to nothing has a scale near 0: such a file would load on x86, and fail on every
phone."""


def is_mobile(model_name: str) -> bool:
    """Return whether a model is made for phones: of a thousand small operators, which threads only slow down."""
    return model_name.startswith(MOBILE_FAMILY)


def check_supported(checkpoint: Path, model: ModelSpec, options: ExportOptions) -> None:
    """Raise CheckpointError unless a checkpoint's model can be written in a format.

    ONNX takes every model, in int8 too: the comparison decides whether its predictions are good enough.
    """
    if is_mobile(model.name):
        return
    if options.format == EXECUTORCH:
        why = f"XNNPACK has no 3-D convolutions, and only {MOBILE_FAMILY} models have a form without them"
        if model.content == "landmarks":
            why = "files are of models of pixels only"
        raise CheckpointError(f"{checkpoint}: is of model {model.name}; ExecuTorch's {why}; give --format onnx")
    if options.format == TORCHSCRIPT and options.int8:
        raise CheckpointError(
            f"{checkpoint}: is of model {model.name}; in TorchScript only {MOBILE_FAMILY} models have an int8 form; "
            "give --format onnx"
        )


@dataclass(frozen=True, kw_only=True)
class ExportInputs:
    """All that a format's writer needs: the model, its metadata, and clips to trace and calibrate with."""

    recognizer: Recognizer
    """The checkpoint's, on the CPU."""
    metadata: ExportMetadata
    cache: Cache | None

    @cached_property
    def calibration(self) -> NDArray[np.int64]:
        """Return the clips of the cache that calibrate int8: of its training split, or of all where it has none."""
        if not self.metadata.int8 or self.cache is None:
            return np.empty(0, np.int64)
        in_training = self.cache.positions("train")
        positions = in_training if len(in_training) else self.cache.positions()
        if not len(positions):
            raise CacheError(f"{self.cache}: has no clips to calibrate int8 with")
        return sample_positions(positions, CALIBRATION_CLIPS)

    @property
    def example(self) -> Tensor:
        """Return a synthetic input of the model, float [1, 3, T, H, W] or [1, T, 75, 3]."""
        shape = (1, *self.recognizer.metadata.model_spec.input_shape)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def with_preprocessing(self, form: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
        """Return the module that goes into the file, and its example input: with preprocessing before it if asked."""
        if not self.metadata.with_preprocessing:
            return form, example
        module = nn.Sequential(preprocessing(self.recognizer.metadata.model_spec), form).eval()
        shape = [size or 1 for size in self.metadata.input_shape]
        return module, torch.zeros(shape, dtype=getattr(torch, self.metadata.dtype))

    def calibration_clips(self) -> Iterator[Tensor]:
        """Yield the clips that calibrate int8 as inputs of the model, [1, ...]."""
        for position in self.calibration:
            assert self.cache is not None
            clip = torch.from_numpy(self.cache.read([int(position)]))
            yield self.recognizer.transform(clip).contiguous()


def sample_positions(positions: NDArray[np.int64], at_most: int) -> NDArray[np.int64]:
    """Return so many positions at random, always the same ones, in their order.

    Every k-th would not do: the five views of a take lie side by side, and every fifth clip is of one view.
    """
    if len(positions) <= at_most:
        return positions
    chosen = np.random.default_rng(0).choice(len(positions), at_most, replace=False)
    return positions[np.sort(chosen)]


def preprocessing(spec: ModelSpec) -> nn.Module:
    """Return what runs in a file before the model, if it is asked for."""
    return _AsFloat() if spec.content == "landmarks" else _Normalisation(spec)


def file_frames(spec: ModelSpec) -> Callable[[Tensor], Tensor]:
    """Return what runs before a file with preprocessing: from stored clips [B, T, ...] to its input."""
    if spec.content == "pixels":
        return _RgbFrames(spec)
    landmarks = LandmarkTransform(spec)
    return lambda clips: landmarks(clips).half()  # the stored numbers again


class _AsFloat(nn.Module):
    """Runs in the file: landmarks as they are stored, float16 [B, T, 75, 3], -> float32."""

    def forward(self, landmarks: Tensor) -> Tensor:
        return landmarks.float()


class _Normalisation(nn.Module):
    """Runs in the file: uint8 RGB [B, T, H, W, 3] -> float [B, 3, T, H, W], normalised as in training.

    The layout is that of pictures one after the other, so that a program appends the bytes of its frames.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.scale = 1 / (255 * spec.std)
        self.offset = spec.mean / spec.std

    def forward(self, frames: Tensor) -> Tensor:
        return frames.permute(0, 4, 1, 2, 3).float() * self.scale - self.offset


class _RgbFrames:
    """Turns stored clips into frames for such a file; colours are rounded to whole numbers."""

    def __init__(self, spec: ModelSpec) -> None:
        self._rgb = ClipTransform(replace(spec, mean=0.0, std=1.0))

    def __call__(self, clips: Tensor) -> Tensor:
        """Return uint8 [B, t, C, C, 3] of stored clips of pixels, uint8 [B, T, ...]."""
        rgb = self._rgb(clips).mul_(255).round_()
        return rgb.to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()


def deployable(model: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of a trained model that can be traced and saved; an EfficientX3D in its deployable form.

    Args:
        model: float [B, ...] -> logits [B, classes], on the CPU.
        example: an input; its shape becomes the only one that an EfficientX3D takes.
    """
    model = copy.deepcopy(model).to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    model = with_plain_layers(with_fast_layers(model))  # a model of one's own may hold a Swish
    blocks = list(_efficient_blocks(model))
    shapes = _input_shapes(model, blocks, example)
    for block in blocks:
        block.convert(shapes[block])  # type: ignore[operator]
    return model.eval()


def _efficient_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost blocks that convert themselves correctly.

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

    with ExitStack() as hooks, torch.no_grad():
        for block in blocks:
            hooks.callback(block.register_forward_pre_hook(record).remove)
        model(example)
    return shapes


def quantized(model: nn.Module, inputs: Iterable[Tensor]) -> nn.Module:
    """Return the int8 form of a deployable EfficientX3D: float in, float out. Call it inside `int8_engine`.

    Activations have all 8 bits. torch's default on x86 has 7, lest CPUs without VNNI overflow; but on the demo's model
    8 bits were 2.4 times nearer to fp32 with VNNI, and no farther from it where kernels could use AVX2 only. Their
    range is the least and the largest value: histograms, which leave some out, took twice the time, and logits were
    8 to 11 % farther from fp32's on three models.

    Args:
        model: the form that `deployable` returns.
        inputs: calibration clips as inputs of the model, float [1, 3, T, H, W] each; at least one.
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
    """Return the fastest engine here: on x86, onednn took a quarter of the usual one's time or less."""
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
    """Silence torch's warnings about its own plans for tracing and quantization; the file is compared instead."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        # With few frames, some convolutions of the deployable form are never used, nor their observers.
        for message in ("Please use quant_min", "torch.quantize_per_tensor", "must run observer before calling"):
            warnings.filterwarnings("ignore", message=message)
        yield
