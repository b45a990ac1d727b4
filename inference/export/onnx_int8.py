"""int8 ONNX: static quantization by ONNX Runtime, as pairs of QuantizeLinear and DequantizeLinear (QDQ).

In: an fp32 graph and clips as the model sees them. Out: weights in int8, one scale a channel; activations in uint8,
their range the least and the largest value over the clips. Weights have 7 of the 8 bits: with 8, processors with AVX2
but without VNNI overflow, and on the demo's model the answers were no nearer to fp32's. Depthwise convolutions are
widened first (`onnx_widen`), and the stem stays in fp32.
"""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from signprep.inference.export.onnx_widen import widen_depthwise

if TYPE_CHECKING:
    import onnx

Inputs = Mapping[str, NDArray[Any]]

PRODUCTS = ["Conv", "Gemm", "MatMul"]
"""What is quantized. With the sums, sigmoids and norms between them, EfficientX3D takes 3 to 7 % less time, and MViT's
logits had a cosine of 0.87 to those of fp32; so, 0.998."""
SHORT = 64
"""Products in a sum of a stem that stays in fp32: sums so short, of 3 channels, take three times as long in int8."""


def quantized(graph: "onnx.ModelProto", clips: Iterator[Inputs], folder: Path) -> "onnx.ModelProto":
    """Return the int8 form of a graph.

    Args:
        graph: in fp32.
        clips: inputs by name, at least one.
        folder: for files on the way.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared, written = (folder / name for name in ("fp32.onnx", "prepared.onnx", "int8.onnx"))
    onnx.save(graph, plain)
    quant_pre_process(plain, prepared, skip_symbolic_shape=True)
    graph = onnx.load(prepared)
    stem = _stem(graph)
    widen_depthwise(graph, but=stem)
    onnx.save(graph, prepared)
    quantization.quantize_static(
        prepared,
        written,
        _Reader(clips),
        op_types_to_quantize=PRODUCTS,
        nodes_to_exclude=stem,
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return onnx.load(written)


def _stem(graph: "onnx.ModelProto") -> list[str]:
    """Return the convolution of the input, if its sums are short, and depthwise ones right after it, by name."""
    weights = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    made = {value.name for value in graph.graph.input}
    stem: list[str] = []
    for node in graph.graph.node:
        if node.op_type == "Conv" and node.input[0] in made and node.input[1] in weights:
            channels = weights[node.input[1]][1]
            if prod(weights[node.input[1]][1:]) < SHORT and (not stem or channels == 1):
                stem.append(node.name)
                made = set(node.output)
    return stem


class _Reader:
    """What ONNX Runtime takes its calibration clips from."""

    def __init__(self, clips: Iterator[Inputs]) -> None:
        self._clips = clips

    def get_next(self) -> Inputs | None:
        """Return the next input, None at the end."""
        return next(self._clips, None)
