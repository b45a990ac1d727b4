"""int8 ONNX: static quantization by ONNX Runtime, as pairs of QuantizeLinear and DequantizeLinear (QDQ).

In: an fp32 graph and clips as the model sees them. Out: weights in int8, one scale a channel; activations in uint8,
their range the least and the largest value over the clips. Weights have 7 of the 8 bits: with 8, processors with AVX2
but without VNNI overflow, and on the demo's model the logits were no nearer to fp32's. The stem stays in fp32, and
the mean error of the logits is taken off. Narrower ranges (percentiles, means of the clips' own) were far worse: the
largest values carry the answer.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Inputs = Mapping[str, NDArray[Any]]

LANES = 16
"""ONNX Runtime's 8-bit kernel takes so many channels of a depthwise convolution at once and the rest one by one: 54
channels take longer than 64."""
BY_CHANNEL = {"Relu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Mul", "ReduceMean", "GlobalAveragePool"}
"""Operators that leave each channel to itself and make no infinities of zeros: weights of 0 after them suffice."""
PRODUCTS = ["Conv", "Gemm", "MatMul"]
"""Operators that are quantized. With the sums, sigmoids and norms between them, EfficientX3D takes 3 to 7 % less time,
and MViT's logits had a cosine of 0.87 to those of fp32; without them, 0.998."""
SHORT = 64
"""A stem whose sums have fewer products stays in fp32: so short, over 3 channels, they take thrice as long in int8."""


def quantized(graph: "onnx.ModelProto", clips: Callable[[], Iterator[Inputs]], folder: Path) -> "onnx.ModelProto":
    """Return the int8 form of a graph in fp32 with one output; files on the way go to the folder.

    `clips` returns the calibration clips, at least one, each time that it is called.
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
    calibration = clips()
    quantization.quantize_static(
        prepared,
        written,
        SimpleNamespace(get_next=lambda: next(calibration, None)),
        op_types_to_quantize=PRODUCTS,
        nodes_to_exclude=stem,
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    found = onnx.load(written)
    _add_to_output(found, _mean_output(graph, clips()) - _mean_output(found, clips()))
    return found


def _rename(graph: "onnx.ModelProto", names: Mapping[str, str]) -> None:
    """Rename tensors in the nodes of a graph, in place."""
    for node in graph.graph.node:
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                side[place] = names.get(name, name)


def _mean_output(graph: "onnx.ModelProto", clips: Iterator[Inputs]) -> NDArray[np.float32]:
    """Return the mean of a graph's output over clips, [classes]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, clip)[0] for clip in clips]).mean(axis=0)


def _add_to_output(graph: "onnx.ModelProto", constant: NDArray[np.float32]) -> None:
    """Add a constant, [classes], to a graph's output, in place."""
    from onnx import helper, numpy_helper

    [output] = [value.name for value in graph.graph.output]
    raw, added = f"{output}_raw", f"{output}_correction"
    _rename(graph, {output: raw})
    graph.graph.initializer.append(numpy_helper.from_array(constant.astype(np.float32), added))
    graph.graph.node.append(helper.make_node("Add", [raw, added], [output]))


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


def widen_depthwise(graph: "onnx.ModelProto", but: Collection[str] = ()) -> None:
    """Give depthwise convolutions a multiple of LANES channels, in place, but for convolutions named in `but`.

    Channels of zeros are added to them and to what is around them, so predictions stay the same. The graph is of
    floats, with its weights in initializers and batch norms folded, as `quant_pre_process` leaves it. Whatever is not
    surely safe to widen stays as it is.
    """
    if any(attribute.HasField("g") or attribute.graphs for node in graph.graph.node for attribute in node.attribute):
        return  # branches use names of the graph around them
    search = _Search(graph)
    done: set[str] = set()
    for node in graph.graph.node:
        if node.name in but or node.output[0] in done:
            continue
        if search.depthwise_channels(node) % LANES:
            group = search.same_channels(node)
            if group is not None:
                search.widen(group)
                done |= group
    del graph.graph.value_info[:]  # the shapes are no longer true


class _Search:
    """Finds the tensors of a graph that have to be widened together."""

    def __init__(self, graph: "onnx.ModelProto") -> None:
        self._weights = {tensor.name: tensor for tensor in graph.graph.initializer}
        self._ends = {value.name for value in [*graph.graph.input, *graph.graph.output]}
        self._producers = {name: node for node in graph.graph.node for name in node.output}
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.graph.node:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)

    def depthwise_channels(self, node: "onnx.NodeProto") -> int:
        """Return the channels of a depthwise convolution, 0 for any other node."""
        if node.op_type != "Conv" or node.input[1] not in self._weights:
            return 0
        channels, each = self._weights[node.input[1]].dims[:2]
        return channels if each == 1 and _number(node, "group", 1) == channels > 1 else 0

    def same_channels(self, depthwise: "onnx.NodeProto") -> set[str] | None:
        """Return the tensors that must have as many channels as a convolution's output; None if one cannot change."""
        group: set[str] = set()
        waiting = [depthwise.output[0]]
        while waiting:
            name = waiting.pop()
            if name in group:
                continue
            if name in self._ends or name not in self._producers:
                return None
            group.add(name)
            for node in self._around(name):
                joined = self._joined(node)
                if joined is None:
                    return None
                waiting += joined
        made = {self._weights[node.input[1]].dims[0] for node in self._convolutions(group) if node.output[0] in group}
        return group if len(made) == 1 else None  # one channel may be spread over many

    def widen(self, group: set[str]) -> None:
        """Add zeros to all weights that make or take the tensors of a group."""
        for node in self._convolutions(group):
            depthwise = bool(self.depthwise_channels(node))
            weight = self._weights[node.input[1]]
            if node.output[0] in group:
                _lengthen(weight, axis=0)
                for bias in node.input[2:]:
                    _lengthen(self._weights[bias], axis=0)
            if depthwise:
                next(attribute for attribute in node.attribute if attribute.name == "group").i = weight.dims[0]
            elif node.input[0] in group:
                _lengthen(weight, axis=1)

    def _around(self, name: str) -> "list[onnx.NodeProto]":
        return [self._producers[name], *self._consumers.get(name, [])]

    def _convolutions(self, group: set[str]) -> "list[onnx.NodeProto]":
        around = {node.output[0]: node for name in group for node in self._around(name)}
        return [node for node in around.values() if node.op_type == "Conv"]

    def _joined(self, node: "onnx.NodeProto") -> list[str] | None:
        """Return a node's inputs and outputs that share their channels, [] if weights part them, None if unknown."""
        if node.op_type == "Conv":
            depthwise = self.depthwise_channels(node)
            plain = _number(node, "group", 1) == 1
            if not all(self._is_its_own(name) for name in node.input[1:]) or not (depthwise or plain):
                return None
            return [node.input[0], node.output[0]] if depthwise else []
        if node.op_type == "ReduceMean":
            return [node.input[0], node.output[0]] if self._keeps_channels(node) else None
        if node.op_type not in BY_CHANNEL:
            return None
        constants = {name for name in node.input if name in self._weights}
        if any(np.prod(self._weights[name].dims) != 1 for name in constants):
            return None
        return [name for name in [*node.input, *node.output] if name not in constants]

    def _is_its_own(self, weight: str) -> bool:
        """Return whether a weight is known and of one node only."""
        return weight in self._weights and len(self._consumers[weight]) == 1 and weight not in self._ends

    def _keeps_channels(self, mean: "onnx.NodeProto") -> bool:
        """Return whether a mean is over places only, all counted from the front or from the end of [B, C, T, H, W]."""
        from onnx import numpy_helper

        axes = [list(attribute.ints) for attribute in mean.attribute if attribute.name == "axes"]
        axes += [
            numpy_helper.to_array(self._weights[name]).tolist() for name in mean.input[1:] if name in self._weights
        ]
        return len(axes) == 1 and set(axes[0]) <= {2, 3, 4, -1, -2, -3} and _number(mean, "keepdims", 1) == 1


def _number(node: "onnx.NodeProto", name: str, default: int) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


def _lengthen(tensor: "onnx.TensorProto", axis: int) -> None:
    from onnx import numpy_helper

    values: NDArray[np.float32] = numpy_helper.to_array(tensor)
    widths = [(0, 0)] * values.ndim
    widths[axis] = (0, -values.shape[axis] % LANES)
    tensor.CopyFrom(numpy_helper.from_array(np.pad(values, widths), tensor.name))
