import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.backends.xnnpack
import torch.utils.mobile_optimizer
from click.testing import CliRunner, Result

from signprep.cache_builder.reader import Cache
from signprep.inference import export
from signprep.inference.checkpoint import load_checkpoint
from signprep.inference.deployable import int8_engine, quiet
from signprep.inference.export import EXTRA_FILE, ExportReport, export_torchscript
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.training.classifier import CHECKPOINT_KEY, ModelCard
from signprep.training.model_spec import build_model, model_spec
from tests.conftest import GLOSSES, build_test_cache

_ANSWER_ALONE = """
import json, sys, torch
inputs, out, *files = sys.argv[1:]
clips, answers = torch.load(inputs), []
for file in files:
    extra = {"signprep.json": ""}
    model = torch.jit.load(file, _extra_files=extra)
    engine = json.loads(extra["signprep.json"])["int8_engine"]
    if engine not in (None, "x86"):
        torch.backends.quantized.engine = engine
    model.eval()
    with torch.no_grad():
        answers.append(torch.cat([model(clip[None]) for clip in clips]))
assert not [name for name in sys.modules if name.split(".")[0] in ("signprep", "pytorchvideo", "lightning")]
torch.save(answers, out)
"""


def untrained_checkpoint(path: Path, cache: Cache, name: str, num_frames: int, crop_size: int) -> Path:
    """A checkpoint with random weights, and statistics of norms that are not those of a fresh model."""
    spec = model_spec(name, num_frames=num_frames, crop_size=crop_size)
    card = ModelCard(
        model_spec=spec, clip_spec=cache.clip_spec, vocabulary=cache.vocabulary, cache_fingerprint=cache.fingerprint
    )
    model = build_model(spec, len(cache.vocabulary))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    weights = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"state_dict": weights, CHECKPOINT_KEY: card.to_dict()}, path)
    return path


class Exported(NamedTuple):
    fp32: ExportReport
    int8: ExportReport


@pytest.fixture(scope="module")
def exported(checkpoint: Path, cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("수어 모델")
    fp32 = export_torchscript(checkpoint, folder / "fp32.pt", int8=False, calibration=cache)
    int8 = export_torchscript(checkpoint, folder / "int8.pt", int8=True, calibration=cache)
    assert sorted(path.name for path in folder.iterdir()) == ["fp32.pt", "int8.pt"]
    return Exported(fp32, int8)


def model_inputs(checkpoint: Path, cache: Cache) -> torch.Tensor:
    return load_checkpoint(checkpoint).transform(torch.from_numpy(cache.read(cache.positions("val")))).contiguous()


def test_a_fresh_process_without_signprep_answers_the_same(
    exported: Exported, checkpoint: Path, cache: Cache, tmp_path: Path
) -> None:
    inputs = model_inputs(checkpoint, cache)
    torch.save(inputs, tmp_path / "inputs.pt")
    files = [str(report.output) for report in exported]
    command = [sys.executable, "-c", _ANSWER_ALONE, str(tmp_path / "inputs.pt"), str(tmp_path / "answers.pt"), *files]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=240)
    fp32, int8 = torch.load(tmp_path / "answers.pt")
    trained = load_checkpoint(checkpoint).probabilities(list(cache.read(cache.positions("val"))))
    assert np.abs(fp32.softmax(1).numpy() - trained).max() <= 1e-4
    document = document_of(exported.int8.output)
    with int8_engine(document["int8_engine"]), quiet(), torch.no_grad():
        model = torch.jit.load(str(exported.int8.output))
        assert torch.equal(int8, torch.cat([model(clip[None]) for clip in inputs]))  # to the bit
    assert np.abs(int8.softmax(1).numpy() - trained).max() == pytest.approx(exported.int8.largest_difference, abs=1e-6)


def document_of(file: Path) -> dict:
    extra = {EXTRA_FILE: ""}
    with quiet():
        torch.jit.load(str(file), _extra_files=extra)
    return json.loads(extra[EXTRA_FILE])


def test_the_file_says_what_it_takes_and_gives(exported: Exported, cache: Cache) -> None:
    document = document_of(exported.fp32.output)
    assert document["glosses"] == list(GLOSSES)
    assert document["model_spec"]["name"] == "efficient_x3d_xs"
    assert ClipSpec.from_dict(document["clip_spec"]) == cache.clip_spec
    assert document["input"] == {
        "shape": [1, 3, 2, 32, 32], "layout": "NCTHW", "dtype": "float32", "mean": 0.45, "std": 0.225
    }  # fmt: skip
    assert document["int8_engine"] is None
    assert document_of(exported.int8.output)["int8_engine"] in ("x86", "qnnpack")


def test_the_report_tells_size_difference_and_agreement(exported: Exported, cache: Cache) -> None:
    fp32, int8 = exported
    assert fp32.num_bytes == fp32.output.stat().st_size
    assert int8.num_bytes < 0.4 * fp32.num_bytes
    assert fp32.largest_difference <= 1e-4 and fp32.largest_difference < int8.largest_difference < 0.01
    assert fp32.num_stored == int8.num_stored == len(cache.positions("val"))
    assert fp32.num_agreeing == fp32.num_stored
    assert f"{fp32.num_bytes / 1e6:.1f} MB of TorchScript in fp32" in str(fp32)
    assert "same first answer" in str(int8) and f"of {int8.num_stored} stored clips" in str(int8)


@pytest.mark.parametrize(
    ("name", "num_frames", "crop_size"),
    [("x3d_s", 2, 32), ("efficient_x3d_xs", 1, 48)],  # 48 pixels become 3 and then 2, not 1
)
def test_other_models_and_sizes_are_exported(
    name: str, num_frames: int, crop_size: int, cache: Cache, tmp_path: Path
) -> None:
    checkpoint = untrained_checkpoint(tmp_path / "model.ckpt", cache, name, num_frames, crop_size)
    report = export_torchscript(checkpoint, tmp_path / "model.pt", int8=False, calibration=None)
    assert report.largest_difference <= 1e-4
    assert report.num_stored == 0 and "4 random clips" in str(report)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)])


def test_the_command_prints_what_was_written(checkpoint: Path, tmp_path: Path) -> None:
    result = run("--checkpoint", checkpoint, "--format", "torchscript", "--output_path", tmp_path / "sign.pt")
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'sign.pt'}: " in result.stdout and "MB of TorchScript in fp32" in result.stdout
    assert "largest difference" in result.stdout
    assert torch.backends.xnnpack.enabled != ("optimize_for_mobile was left out" in result.stderr)


def test_the_file_is_optimised_for_mobile_where_torch_can(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimised: list[torch.jit.ScriptModule] = []

    def optimize_for_mobile(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
        optimised.append(module)
        return module

    monkeypatch.setattr(torch.utils.mobile_optimizer, "optimize_for_mobile", optimize_for_mobile)
    report = export_torchscript(checkpoint, tmp_path / "sign.pt", int8=False, calibration=None)
    assert len(optimised) == 1 and not report.notes


def test_a_file_that_answers_otherwise_is_not_left(
    checkpoint: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(SignprepError, match=r"sign\.pt: its probabilities are up to .* off the checkpoint's"):
        export_torchscript(checkpoint, tmp_path / "sign.pt", int8=False, calibration=None)
    assert not list(tmp_path.iterdir())


def test_bad_requests_are_one_clear_error(checkpoint: Path, cache: Cache, data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "sign.pt"
    result = run("--checkpoint", checkpoint, "--output-path", out, "--int8")
    assert result.exit_code == 2 and "--int8 needs --calibration-cache" in result.output
    result = run("--checkpoint", tmp_path / "gone.ckpt", "--output-path", out)
    assert "no such checkpoint" in str(result.exception)
    result = run("--checkpoint", tmp_path / "gone.ckpt", "--output-path", tmp_path / "missing" / "sign.pt")
    assert "cannot be written" in str(result.exception)
    x3d = untrained_checkpoint(tmp_path / "x3d.ckpt", cache, "x3d_xs", 2, 32)
    with pytest.raises(CheckpointError, match="is of model x3d_xs; only efficient_x3d models have an int8 form"):
        export_torchscript(x3d, out, int8=True, calibration=cache)
    other = build_test_cache(data_root, tmp_path / "other.zarr", ClipSpec(num_frames=4, size=32))
    with pytest.raises(CheckpointError, match=r"stores other clips than .*: .*size 32 for 64"):
        export_torchscript(checkpoint, out, int8=True, calibration=other)
    assert not out.exists()
