"""`infer` and `evaluate` take exported files as they take checkpoints, with the same output."""

import json
import random
import shutil
import struct
import zipfile
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner

from signprep.cache_builder.reader import Cache
from signprep.inference.export.metadata import KEY, ExportMetadata
from signprep.inference.export.run import ExportReport
from signprep.inference.export.runtime import exported_format
from signprep.inference.open_model import open_model
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CheckpointError
from tests.generated_videos import write_video
from tests.inference.export.conftest import EXPORTS


def invoked(*arguments: object) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.mark.parametrize("name", EXPORTS)
def test_infer_gives_the_same_output(
    name: str, exported: dict[str, ExportReport], checkpoint: Path, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "test.mp4", 105)
    common = ["--video-path", video, "--multiple-clips", "--batch-size", "3", "--return-probabilities"]
    expected = json.loads(invoked("infer", "--checkpoint", checkpoint, *common))
    found = json.loads(invoked("infer", "--checkpoint", exported[name].output, *common))
    assert len(found) == len(expected) == 3
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        assert all(one[key] == other[key] for key in ("video_path", "start_time", "end_time", "clip_duration"))
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=0.02 if "int8" in name else 1e-3)


def test_infer_and_evaluate_take_them_with_a_cache(
    exported: dict[str, ExportReport], checkpoint: Path, cache: Cache
) -> None:
    rows = json.loads(invoked("infer", "--checkpoint", exported["int8.onnx"].output, "--cache", cache.path))
    assert len(rows) == len(cache)
    found = json.loads(invoked("evaluate", "--checkpoint", exported["fp32.pt"].output, "--cache", cache.path, "--json"))
    expected = json.loads(invoked("evaluate", "--checkpoint", checkpoint, "--cache", cache.path, "--json"))
    assert found["figures"]["top_1"] == expected["figures"]["top_1"]


def test_formats_are_told_by_what_is_in_a_file(
    exported: dict[str, ExportReport], checkpoint: Path, tmp_path: Path
) -> None:
    for name, report in exported.items():
        other = shutil.copy(report.output, tmp_path / "model")
        assert exported_format(other) == ("onnx" if "onnx" in name else "torchscript")
    assert exported_format(checkpoint) is None
    assert exported_format(tmp_path / "gone") is None


def test_a_calibrated_checkpoints_temperature_goes_with_the_file(
    checkpoint: Path, cache: Cache, tmp_path: Path, exported: dict[str, ExportReport]
) -> None:
    fields = exported["fp32.pt"].metadata.to_dict() | {"temperature": 3.0}
    source, calibrated = exported["fp32.pt"].output, tmp_path / "calibrated.pt"
    with_text(source, calibrated, json.dumps(fields))
    contents = torch.load(checkpoint, weights_only=True)
    contents["signprep"]["temperature"] = 3.0
    torch.save(contents, tmp_path / "calibrated.ckpt")
    clips = list(cache.read(cache.positions("val")))
    expected = load_checkpoint(tmp_path / "calibrated.ckpt").probabilities(clips)
    assert open_model(calibrated).probabilities(clips) == pytest.approx(expected, abs=1e-4)


def with_text(source: Path, target: Path, text: str | None) -> None:
    """Copy a TorchScript file with another signprep.json, or none."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            if not entry.filename.endswith(f"/extra/{KEY}"):
                new.writestr(entry, old.read(entry))
            elif text is not None:
                new.writestr(entry.filename, text)


def test_damaged_bytes_in_what_a_file_says_are_found(exported: dict[str, ExportReport], tmp_path: Path) -> None:
    content = exported["fp32.pt"].output.read_bytes()
    assert content.count(b'"export_version"') == 1
    (tmp_path / "a.pt").write_bytes(content.replace(b'"export_version"', b'"export_versiom"'))
    with pytest.raises(CheckpointError, match=r"a\.pt: its part .*signprep\.json is damaged"):
        open_model(tmp_path / "a.pt")


def test_an_export_card_is_read_back_as_it_was(exported: dict[str, ExportReport]) -> None:
    for report in exported.values():
        assert ExportMetadata.from_text(Path("x"), report.metadata.to_text()) == report.metadata


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"export_version": 2}, "is an export of version 2; this signprep reads version 1"),
        (
            {"model_spec": {"name": "efficient_x3d_xs", "num_frames": 10**9, "crop_size": 32}},
            "is damaged .*cannot take",
        ),
        ({"temperature": 0.0}, r"is damaged \(temperature is 0\.0; it must be between 0\.001 and 1000"),
        ({"temperature": "1"}, "is damaged"),
        ({"temperature": float("nan")}, "is damaged"),
        ({"glosses": 3}, "is damaged"),
        ({"glosses": []}, "is damaged"),
        ({"glosses": ["a", "a"]}, "is damaged"),
        ({"precision": "fp16"}, "is damaged"),
        ({"output": "probabilities"}, "is damaged"),
        ({"model_spec": {"name": "efficient_x3d_xs", "num_frames": 4, "crop_size": 32}}, "is damaged"),
        ({"model_spec": {"name": "efficient_x3d_xs", "num_frames": 2, "crop_size": 32, "std": 0}}, "is damaged"),
        ({"input": {}}, "is damaged"),
        ({"int8_engine": 5}, "is damaged"),
        (None, "has no signprep.json inside; only files of `signprep export` do"),
    ],
)
def test_what_a_file_says_of_itself_is_not_believed(
    changes: dict | None, message: str, exported: dict[str, ExportReport], tmp_path: Path
) -> None:
    report = exported["fp32.pt"]
    text = None if changes is None else json.dumps(report.metadata.to_dict() | changes)
    with_text(report.output, tmp_path / "other.pt", text)
    with pytest.raises(CheckpointError, match=message):
        open_model(tmp_path / "other.pt")


def test_a_file_of_other_classes_than_its_glosses_is_found(
    exported: dict[str, ExportReport], cache: Cache, tmp_path: Path
) -> None:
    report = exported["fp32.pt"]
    text = json.dumps(report.metadata.to_dict() | {"glosses": ["하나"]})
    with_text(report.output, tmp_path / "other.pt", text)
    with pytest.raises(CheckpointError, match=r"gives \[1, 2\] for 1 clips of 1 glosses"):
        open_model(tmp_path / "other.pt").probabilities(list(cache.read([0])))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.onnx", b"no protobuf at all"), ("a.pt", b"PK\x03\x04 broken"), ("a.ckpt", b"\x08\x0a\xff\xff\xff")],
)
def test_broken_files_are_one_clear_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        open_model(tmp_path / name)


def test_exported_files_answer_on_the_cpu_and_are_not_calibrated(
    exported: dict[str, ExportReport], cache: Cache
) -> None:
    file = exported["int8.onnx"].output
    with pytest.raises(CheckpointError, match="is an exported file, which answers on the CPU"):
        open_model(file, "cuda")
    assert open_model(file, "auto").device == torch.device("cpu")
    arguments = ["evaluate", "--checkpoint", str(file), "--cache", str(cache.path), "--calibrate"]
    result = CliRunner().invoke(cli, arguments)
    assert "is an exported file; calibrate its checkpoint" in str(result.exception)


@pytest.mark.parametrize("name", ["best.ckpt", "a.bin", "a.pkl", "a.pt.txt"])
@pytest.mark.parametrize("kind", EXPORTS)
def test_a_program_is_opened_under_a_programs_name_only(
    kind: str, name: str, exported: dict[str, ExportReport], tmp_path: Path
) -> None:
    shutil.copy(exported[kind].output, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"is a program, a file of .* let its name end in \.(pt|onnx)"):
        open_model(tmp_path / name)
    other = ".onnx" if kind.endswith(".pt") else ".pt"
    shutil.copy(exported[kind].output, tmp_path / f"model{other}")
    with pytest.raises(CheckpointError, match="is a program, a file of"):
        open_model(tmp_path / f"model{other}")
    for honest in ("model", f"model{Path(kind).suffix.upper()}"):
        shutil.copy(exported[kind].output, tmp_path / honest)
        assert open_model(str(tmp_path / honest)).is_exported


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_exported_weights_that_are_no_numbers_are_refused(
    number: float, exported: dict[str, ExportReport], tmp_path: Path
) -> None:
    graph = onnx.load(exported["fp32.onnx"].output)
    weights = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(weights).copy()
    values.flat[3] = number
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(graph, tmp_path / "sign.onnx")
    with pytest.raises(CheckpointError, match=r"sign\.onnx: its weights are not all finite numbers"):
        open_model(tmp_path / "sign.onnx")
    with zipfile.ZipFile(exported["fp32.pt"].output) as old, zipfile.ZipFile(tmp_path / "sign.pt", "w") as new:
        largest = max((entry for entry in old.infolist() if "constants/" in entry.filename), key=lambda e: e.file_size)
        for entry in old.infolist():
            data = bytearray(old.read(entry))
            if entry is largest:
                data[:4] = struct.pack("<f", number)
            new.writestr(entry.filename, bytes(data))
    with pytest.raises(CheckpointError, match=r"sign\.pt: its weights are not all finite numbers"):
        open_model(tmp_path / "sign.pt")


def test_damaged_torchscript_is_found(exported: dict[str, ExportReport], tmp_path: Path) -> None:
    whole, drawn = exported["fp32.pt"].output.read_bytes(), random.Random(0)
    with zipfile.ZipFile(exported["fp32.pt"].output) as archive:
        entries = [entry for entry in archive.infolist() if entry.file_size > 100]
    for entry in drawn.sample(entries, 10):
        data = bytearray(whole)
        data[entry.header_offset + entry.file_size // 2 + 64] ^= 16
        (tmp_path / "sign.pt").write_bytes(data)
        with pytest.raises(CheckpointError, match=r"sign\.pt: "):
            open_model(tmp_path / "sign.pt")
