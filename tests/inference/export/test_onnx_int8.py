"""Channels of zeros change no answer, and are only added where that is sure."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from signprep.inference.export.onnx_int8 import LANES, quantized, widen_depthwise

RANDOM = np.random.default_rng(0)
CLIPS = RANDOM.standard_normal((2, 3, 2, 8, 8), np.float32)


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(RANDOM.standard_normal(shape, np.float32), name)


def convolution(source: str, target: str, *more: str, group: int = 1, kernel: int = 1) -> onnx.NodeProto:
    pads = [kernel // 2] * 6
    return helper.make_node("Conv", [source, f"w_{target}", *more], [target], group=group, pads=pads)


def block(channels: int, *, between: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> onnx.ModelProto:
    """A block of X3D: 1 x 1 x 1, depthwise, something, 1 x 1 x 1."""
    nodes = [
        convolution("clips", "wide", "bias"),
        helper.make_node("Relu", ["wide"], ["positive"]),
        convolution("positive", "deep", group=channels, kernel=3),
        *between,
        convolution("after", "answer"),
    ]
    own = [
        weight("w_wide", channels, 3, 1, 1, 1),
        weight("bias", channels),
        weight("w_deep", channels, 1, 3, 3, 3),
        weight("w_answer", 5, channels, 1, 1, 1),
    ]
    names = {tensor.name for tensor in weights}
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("clips", TensorProto.FLOAT, CLIPS.shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [2, 5, 2, 8, 8])],
        [*weights, *(tensor for tensor in own if tensor.name not in names)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def squeezed(axes: list[int], channels: int = 6) -> onnx.ModelProto:
    """Squeeze and excitation, then swish."""
    nodes = [
        helper.make_node("ReduceMean", ["deep", "axes"], ["mean"], keepdims=1),
        convolution("mean", "few"),
        convolution("few", "many"),
        helper.make_node("Sigmoid", ["many"], ["gate"]),
        helper.make_node("Mul", ["deep", "gate"], ["gated"]),
        helper.make_node("Sigmoid", ["gated"], ["open"]),
        helper.make_node("Mul", ["gated", "open"], ["after"]),
    ]
    weights = [
        numpy_helper.from_array(np.array(axes), "axes"),
        weight("w_few", 2, channels, 1, 1, 1),
        weight("w_many", channels, 2, 1, 1, 1),
    ]
    return block(channels, between=nodes, weights=weights)


def answer(graph: onnx.ModelProto) -> NDArray[np.float32]:
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"clips": CLIPS})[0]
    return found


def shapes(graph: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tuple(tensor.dims) for tensor in graph.graph.initializer if tensor.name != "axes"}


@pytest.mark.parametrize("axes", [[2, 3, 4], [-1, -2, -3]])
def test_a_block_is_widened_whole_and_answers_the_same(axes: list[int]) -> None:
    graph = squeezed(axes)
    before = answer(graph)
    widen_depthwise(graph)
    assert shapes(graph) == {
        "w_wide": (LANES, 3, 1, 1, 1),
        "bias": (LANES,),
        "w_deep": (LANES, 1, 3, 3, 3),
        "w_few": (2, LANES, 1, 1, 1),
        "w_many": (LANES, 2, 1, 1, 1),
        "w_answer": (5, LANES, 1, 1, 1),
    }
    np.testing.assert_allclose(answer(graph), before, atol=1e-6)


def test_full_lanes_stay() -> None:
    graph = squeezed([2, 3, 4], channels=LANES)
    before = graph.SerializeToString()
    widen_depthwise(graph)
    assert graph.SerializeToString() == before


@pytest.mark.parametrize(
    ("between", "weights"),
    [
        pytest.param(
            [helper.make_node("Softmax", ["deep"], ["after"], axis=1)], [], id="a sum over channels would count zeros"
        ),
        pytest.param(
            [helper.make_node("Mul", ["deep", "factor"], ["after"])],
            [weight("factor", 6, 1, 1, 1)],
            id="a factor a channel",
        ),
        pytest.param(
            [
                helper.make_node("ReduceMean", ["deep", "axes"], ["mean"]),
                helper.make_node("Mul", ["deep", "mean"], ["after"]),
            ],
            [numpy_helper.from_array(np.array([1]), "axes")],
            id="a mean over channels",
        ),
        pytest.param(
            [convolution("deep", "one"), helper.make_node("Mul", ["deep", "one"], ["after"])],
            [weight("w_one", 1, 6, 1, 1, 1)],
            id="one channel for all",
        ),
        pytest.param(
            [helper.make_node("Add", ["deep", "positive"], ["after"])],
            [],
            id="an operator that is not known to be safe",
        ),
        pytest.param(
            [helper.make_node("Relu", ["deep"], ["positive2"]), convolution("positive2", "after", "bias")],
            [weight("w_after", 6, 6, 1, 1, 1)],
            id="a bias of two convolutions",
        ),
    ],
)
def test_what_is_not_surely_safe_stays(between: list[onnx.NodeProto], weights: list[onnx.TensorProto]) -> None:
    graph = block(6, between=between, weights=weights)
    before, were = answer(graph), shapes(graph)
    widen_depthwise(graph)
    assert shapes(graph) == were
    np.testing.assert_array_equal(answer(graph), before)


def residual() -> onnx.ModelProto:
    """A block with a convolution beside it, a mean over all places, and a head."""
    nodes = [
        convolution("clips", "start", kernel=3),
        helper.make_node("Relu", ["start"], ["stream"]),
        convolution("stream", "inner"),
        helper.make_node("Relu", ["inner"], ["positive"]),
        convolution("positive", "branch"),
        convolution("stream", "shortcut"),
        helper.make_node("Add", ["branch", "shortcut"], ["sum"]),
        helper.make_node("ReduceMean", ["sum", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "w_head"], ["logits"]),
    ]
    weights = [
        weight("w_start", 8, 3, 3, 3, 3),
        weight("w_inner", 8, 8, 1, 1, 1),
        weight("w_branch", 8, 8, 1, 1, 1),
        weight("w_shortcut", 8, 8, 1, 1, 1),
        weight("w_head", 8, 4),
        numpy_helper.from_array(np.array([2, 3, 4]), "axes"),
    ]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("clips", TensorProto.FLOAT, ["batch", 3, 2, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 4])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_the_mean_error_over_the_calibration_clips_is_taken_off(tmp_path: Path) -> None:
    graph = residual()
    expected = answer(graph)
    found = answer(quantized(graph, lambda: iter([{"clips": CLIPS}]), tmp_path))
    np.testing.assert_allclose(found.mean(axis=0), expected.mean(axis=0), atol=1e-5)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()
