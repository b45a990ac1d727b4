"""ONNX: fp32 of every model with any number of clips at a time, int8 (QDQ, static) by ONNX Runtime; and read back.

Weights are inside the file, never beside it: a file that names others is refused, for it could name any file. The
source paths that PyTorch records in each node are removed. Preprocessing is put before the finished graph, so that int8
rounds nothing of it.
"""

import copy
import hashlib
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from signprep.inference.export.deployable import ExportInputs
from signprep.inference.export.metadata import KEY, MOST_BYTES, ExportMetadata, RunModel, require_numbers
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.runtime.text import first_line
from signprep.training.config import ONNX, require_installed
from signprep.training.model_spec.layers import with_plain_layers

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "clips", "logits"
CHECKSUM_KEY = "signprep.sha256"
_HEX_DIGITS = 64


def write_onnx(inputs: ExportInputs, path: Path) -> tuple[str, ...]:
    """Write a model; return notes for the user."""
    import onnx

    model = with_plain_layers(copy.deepcopy(inputs.recognizer.model))
    model = model.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    graph = exported_graph(model, torch.cat([inputs.example] * 2))
    if inputs.metadata.int8:
        from signprep.inference.export.onnx_int8 import quantized

        with tempfile.TemporaryDirectory(prefix="signprep-") as folder:
            graph = quantized(
                graph, lambda: ({INPUT: clip.numpy()} for clip in inputs.calibration_clips()), Path(folder)
            )
    if inputs.metadata.with_preprocessing:
        _put_before(graph, inputs.metadata)
    onnx.helper.set_model_props(graph, {KEY: inputs.metadata.to_text()})
    data = graph.SerializeToString()
    path.write_bytes(data + _checksum(data))
    return ()


def _checksum(data: bytes) -> bytes:
    """Return the last entry of a file's metadata, which protobuf lets be added to it: the hash of all before it."""
    import onnx

    entry = onnx.StringStringEntryProto(key=CHECKSUM_KEY, value=hashlib.sha256(data).hexdigest())
    return onnx.ModelProto(metadata_props=[entry]).SerializeToString()


def _require_whole(data: bytes, path: Path) -> None:
    """Raise CheckpointError if a file is not what was written; files of older versions have no checksum."""
    seal = _checksum(b"")
    body, found = data[: -len(seal)], data[-len(seal) :]
    if found.startswith(seal[:-_HEX_DIGITS]) and found != _checksum(body):
        raise CheckpointError(
            f"{path}: is damaged, or was changed: its checksum is another one; copy or export it again"
        )


def exported_graph(model: nn.Module, example: Tensor) -> "onnx.ModelProto":
    """Return a model's graph, float clips [B, ...] -> logits [B, classes] in fp32, for any B.

    Raises SignprepError if PyTorch cannot write this model.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about PyTorch's own plans; the file is compared instead
        try:
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
        except Exception as error:  # of many kinds, from three packages
            reason = first_line(error.__cause__ or error)
            raise SignprepError(f"this model cannot be written as ONNX ({reason})") from error
    assert program is not None
    graph = program.model_proto
    # Nodes name the sources' lines, and with them this machine's folders.
    for node in graph.graph.node:
        del node.metadata_props[:]
        node.ClearField("doc_string")
    return graph


def _put_before(graph: "onnx.ModelProto", metadata: ExportMetadata) -> None:
    """Let a graph take uint8 RGB frames [B, T, H, W, 3] in place of normalised clips, or float16 landmarks."""
    from onnx import TensorProto, helper

    spec = metadata.model.model_spec

    for node in graph.graph.node:
        for place, name in enumerate(node.input):
            if name == INPUT:
                node.input[place] = "normalised"
    nodes = [helper.make_node("Cast", [INPUT], ["normalised"], to=TensorProto.FLOAT)]
    if spec.content == "pixels":
        for name, value in {"scale": 1 / (255 * spec.std), "offset": spec.mean / spec.std}.items():
            graph.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
        nodes = [
            helper.make_node("Transpose", [INPUT], ["channels_first"], perm=[0, 4, 1, 2, 3]),
            helper.make_node("Cast", ["channels_first"], ["as_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["as_float", "scale"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "offset"], ["normalised"]),
        ]
    for node in reversed(nodes):  # nodes must come in the order in which they run
        graph.graph.node.insert(0, node)
    shape = ["batch", *metadata.input_shape[1:]]
    kind = TensorProto.UINT8 if metadata.dtype == "uint8" else TensorProto.FLOAT16
    graph.graph.input[0].CopyFrom(helper.make_tensor_value_info(INPUT, kind, shape))


def is_onnx(path: Path) -> bool:
    """Return whether a file may be ONNX, which has no mark of its own but its first byte, and its name."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".onnx" or file.read(1) == b"\x08"  # the field of the format's version


def read_onnx(path: Path) -> "onnx.ModelProto":
    """Return the graph of a file. Raises CheckpointError if it is no ONNX file, or has weights in other files."""
    require_installed(ONNX)
    import onnx

    try:
        graph = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's, which has no public name
        raise CheckpointError(f"{path}: is no ONNX file") from error
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise CheckpointError(
                f"{path}: has weights in other files, which are not read; `signprep export` puts all into one file"
            )
    return graph


def _tensors(message: Any) -> "Iterator[onnx.TensorProto]":
    """Yield every tensor in a message, however deep: weights, attributes, branches, functions."""
    import onnx

    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(inner)


def _weights(graph: "onnx.ModelProto", path: Path) -> Iterator[Tensor]:
    """Yield all floating-point tensors of a graph. Raises CheckpointError if one is not as long as its shape says."""
    import onnx

    for tensor in _tensors(graph):
        if tensor.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16):
            try:
                yield torch.tensor(onnx.numpy_helper.to_array(tensor))
            except (TypeError, ValueError) as error:
                raise CheckpointError(f"{path}: its weights are damaged ({first_line(error)})") from error


def open_onnx(path: Path, engine: str | None, threads: int | None) -> tuple[ExportMetadata, RunModel]:
    """Return a file's metadata, and a function from the inputs of any number of clips to their logits, [B, classes].

    There is only one engine; threads are as many as torch's if None. Raises CheckpointError if the file does not open.
    """
    graph = read_onnx(path)
    require_numbers(path, _weights(graph, path))
    _require_whole(path.read_bytes(), path)
    texts = [str(entry.value) for entry in graph.metadata_props if entry.key == KEY and len(entry.value) <= MOST_BYTES]
    metadata = ExportMetadata.from_text(path, texts[0] if texts else None)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    # Between two calls, threads that spin would keep the cores from decoders, and from whatever is timed beside them.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
        [name] = [entry.name for entry in session.get_inputs()]
    except Exception as error:  # of ONNX Runtime's own kinds
        raise CheckpointError(f"{path}: ONNX Runtime cannot open it ({first_line(error)})") from error
    return metadata, lambda clips: torch.from_numpy(session.run(None, {name: clips.numpy()})[0])
