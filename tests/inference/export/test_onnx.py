"""ONNX files answer alone, any number of clips at a time; what they may not do is refused."""

import json
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from signprep.cache_builder.reader import Cache
from signprep.inference.export.deployable import file_frames
from signprep.inference.export.metadata import KEY
from signprep.inference.export.onnx import read_onnx
from signprep.inference.export.run import ExportOptions, ExportReport, export_model
from signprep.inference.export.runtime import open_exported
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.errors import CheckpointError
from tests.conftest import GLOSSES
from tests.inference.export.conftest import ONNX_ANSWER, answers_alone, untrained_checkpoint


def test_a_fresh_process_without_signprep_answers_the_same(
    exported: dict[str, ExportReport], checkpoint: Path, cache: Cache, tmp_path: Path
) -> None:
    recognizer = load_checkpoint(checkpoint)
    stored = torch.from_numpy(cache.read(cache.positions("val")))
    inputs = {
        "float32": recognizer.transform(stored).contiguous(),
        "uint8": file_frames(recognizer.metadata.model_spec)(stored),
    }
    files = [exported[name].output for name in ("fp32.onnx", "int8.onnx")]
    fp32, int8 = answers_alone(ONNX_ANSWER, inputs, files, tmp_path)
    trained = torch.from_numpy(recognizer.probabilities(list(stored.numpy())))
    assert (fp32.softmax(1) - trained).abs().max() < 1e-3  # of colours rounded to whole numbers
    assert exported["fp32.onnx"].verification.comparisons[0].largest_difference <= 1e-4  # of the same colours
    [found] = exported["int8.onnx"].verification.comparisons
    assert (int8.softmax(1) - trained).abs().max() == pytest.approx(found.largest_difference, abs=1e-6)
    assert 0 < found.largest_difference < 0.02


def test_any_number_of_clips_goes_through_at_a_time(exported: dict[str, ExportReport], cache: Cache) -> None:
    recognizer = open_exported(exported["int8.onnx"].output, "onnx")
    clips = list(cache.read(cache.positions()))
    whole = recognizer.probabilities(clips)
    assert np.abs(whole - np.concatenate([recognizer.probabilities([clip]) for clip in clips])).max() < 1e-6


def test_int8_is_a_third_and_stored_as_pairs(exported: dict[str, ExportReport]) -> None:
    fp32, int8 = exported["fp32.onnx"], exported["int8.onnx"]
    assert int8.num_bytes < 0.4 * fp32.num_bytes and int8.num_bytes < 5e6
    graph = onnx.load(int8.output)
    operators = [node.op_type for node in graph.graph.node]
    assert "QuantizeLinear" in operators and "DequantizeLinear" in operators
    kernels = [tensor for tensor in graph.graph.initializer if len(tensor.dims) == 5]
    stem = [list(tensor.dims) for tensor in kernels if tensor.data_type == TensorProto.FLOAT]
    assert sorted(stem) == [[24, 1, 5, 1, 1], [24, 3, 1, 3, 3]]
    assert {tensor.data_type for tensor in kernels} == {TensorProto.FLOAT, TensorProto.INT8}
    depthwise = {tensor.dims[0] for tensor in kernels if list(tensor.dims[1:]) == [1, 3, 3, 3]}
    assert depthwise == {64, 112, 224, 432}  # of 54, 108, 216, 432
    scales = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    weights = [node.input for node in graph.graph.node if node.op_type == "DequantizeLinear"]
    assert any(list(scales.get(scale, [])) == [24] for _, scale, *_ in weights)  # a scale a channel


def test_the_file_holds_glosses_and_no_paths_of_this_machine(exported: dict[str, ExportReport]) -> None:
    for name in ("fp32.onnx", "int8.onnx"):
        content = exported[name].output.read_bytes()
        assert str(Path(torch.__file__).parents[1]).encode() not in content
        [entry] = [entry for entry in onnx.load_model_from_string(content).metadata_props if entry.key == KEY]
        document = json.loads(entry.value)
        assert document["glosses"] == list(GLOSSES) and document["input"]["shape"][0] is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_frames"), [("x3d_xs", 2), ("x3d_s", 2), ("x3d_m", 2), ("slow_r50", 2), ("mvit_base_16x4", 2)]
)
def test_every_other_model_is_written(name: str, num_frames: int, cache: Cache, tmp_path: Path) -> None:
    checkpoint = untrained_checkpoint(tmp_path / "model.ckpt", cache, name, num_frames, 32)
    report = export_model(checkpoint, tmp_path / "model.onnx", ExportOptions(format="onnx"), cache)
    assert report.verification.comparisons[0].largest_difference <= 1e-4
    int8 = export_model(
        checkpoint, tmp_path / "int8.onnx", ExportOptions(format="onnx", int8=True, max_drop=1.0), cache
    )
    assert int8.num_bytes < 0.4 * report.num_bytes


def test_weights_in_other_files_are_never_read(exported: dict[str, ExportReport], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4096))
    graph = onnx.load(exported["fp32.onnx"].output)
    tensor = next(tensor for tensor in graph.graph.initializer if len(tensor.dims) == 5)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    path = tmp_path / "outside.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(CheckpointError, match=r"outside\.onnx: has weights in other files, which are not read"):
        open_exported(path, "onnx")


def test_such_weights_are_found_in_branches_and_attributes(tmp_path: Path) -> None:
    hidden = helper.make_tensor("hidden", TensorProto.FLOAT, [1], [0.0])
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../secret")
    branch = helper.make_graph([helper.make_node("Constant", [], ["out"], value=hidden)], "branch", [], [])
    node = helper.make_node("If", ["condition"], ["out"], then_branch=branch, else_branch=branch)
    path = tmp_path / "branches.onnx"
    path.write_bytes(helper.make_model(helper.make_graph([node], "graph", [], [])).SerializeToString())
    with pytest.raises(CheckpointError, match="has weights in other files"):
        read_onnx(path)


def test_a_model_that_cannot_be_written_is_one_line(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("no such operator\nand a page more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(Exception, match=r"^this model cannot be written as ONNX \(no such operator\)$"):
        export_model(checkpoint, tmp_path / "sign.onnx", ExportOptions(format="onnx"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["fp32.onnx", "int8.onnx"])
def test_damaged_bytes_are_found_and_files_without_a_checksum_open(
    name: str, exported: dict[str, ExportReport], cache: Cache, tmp_path: Path
) -> None:
    data, path, drawn = exported[name].output.read_bytes(), tmp_path / "a.onnx", random.Random(0)
    for _ in range(10):
        damaged = bytearray(data)
        damaged[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"a\.onnx: "):
            open_exported(path, "onnx")
    older = onnx.load_model_from_string(data)
    assert older.metadata_props.pop().key == "signprep.sha256"  # as before files had one
    path.write_bytes(older.SerializeToString())
    clips = list(cache.read([0, 1]))
    expected = open_exported(exported[name].output, "onnx").probabilities(clips)
    assert np.array_equal(open_exported(path, "onnx").probabilities(clips), expected)
