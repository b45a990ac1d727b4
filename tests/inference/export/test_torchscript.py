"""TorchScript files answer alone as their checkpoint does, and carry what a program must know."""

import errno
import json
import zipfile
from pathlib import Path

import pytest
import torch
import torch.backends.xnnpack
import torch.utils.mobile_optimizer

from signprep.cache_builder.reader import Cache
from signprep.inference.export.deployable import deployable, file_frames, int8_engine, quantized, quiet
from signprep.inference.export.metadata import KEY
from signprep.inference.export.run import ExportOptions, ExportReport, export_model
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import SignprepError
from signprep.training.config import TORCHSCRIPT
from signprep.training.model_spec import build_model, model_spec
from tests.conftest import GLOSSES
from tests.inference.export.conftest import SMALL, TORCHSCRIPT_ANSWER, answers_alone, untrained_checkpoint


def document_of(file: Path) -> dict:
    extra = {KEY: ""}
    with quiet():
        torch.jit.load(str(file), _extra_files=extra)
    return json.loads(extra[KEY])


def test_a_fresh_process_without_signprep_answers_the_same(
    exported: dict[str, ExportReport], checkpoint: Path, cache: Cache, tmp_path: Path
) -> None:
    recognizer = load_checkpoint(checkpoint)
    stored = torch.from_numpy(cache.read(cache.positions("val")))
    floats = recognizer.transform(stored).contiguous()
    frames = file_frames(recognizer.metadata.model_spec)(stored)
    files = [exported[name].output for name in ("fp32.pt", "int8.pt")]
    fp32, int8 = answers_alone(TORCHSCRIPT_ANSWER, {"float32": floats, "uint8": frames}, files, tmp_path)
    trained = torch.from_numpy(recognizer.probabilities(list(stored.numpy())))
    assert (fp32.softmax(1) - trained).abs().max() <= 1e-4
    with int8_engine(document_of(files[1])["int8_engine"]), quiet(), torch.no_grad():
        model = torch.jit.load(str(files[1]))
        assert torch.equal(int8, torch.cat([model(frames[k : k + 1]) for k in range(len(frames))]))  # to the bit
    assert (int8.softmax(1) - trained).abs().max() < 0.01


def test_the_file_says_what_it_takes_and_gives(exported: dict[str, ExportReport], cache: Cache) -> None:
    document = document_of(exported["fp32.pt"].output)
    assert document["glosses"] == list(GLOSSES) and document["temperature"] == 1.0
    assert document["model_spec"]["name"] == "efficient_x3d_xs"
    assert ClipSpec.from_dict(document["clip_spec"]) == cache.clip_spec
    assert document["input"] == {
        "shape": [1, 3, 2, 32, 32], "layout": "NCTHW", "dtype": "float32", "mean": 0.45, "std": 0.225,
        "frame_fractions": [0.375, 0.875],
    }  # fmt: skip
    assert document["int8_engine"] is None and document["precision"] == "fp32"
    document = document_of(exported["int8.pt"].output)
    assert document["int8_engine"] in ("x86", "qnnpack", "onednn") and document["precision"] == "int8"
    assert document["input"] == {
        "shape": [1, 2, 32, 32, 3], "layout": "NTHWC", "dtype": "uint8", "mean": None, "std": None,
        "frame_fractions": [0.375, 0.875],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "num_frames", "crop_size"),
    [("x3d_s", 2, 32), ("efficient_x3d_xs", 1, 48)],  # 48 pixels become 3 and then 2, not 1
)
def test_other_models_and_sizes_are_exported(
    name: str, num_frames: int, crop_size: int, cache: Cache, tmp_path: Path
) -> None:
    checkpoint = untrained_checkpoint(tmp_path / "model.ckpt", cache, name, num_frames, crop_size)
    report = export_model(checkpoint, tmp_path / "model.pt", ExportOptions())
    [found] = report.verification.comparisons
    assert found.largest_difference <= 1e-4 and found.accuracy is None and report.num_clips == 4


def test_the_file_is_optimised_for_mobile_where_torch_can(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimised: list[torch.jit.ScriptModule] = []

    def optimize_for_mobile(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
        optimised.append(module)
        return torch.jit.freeze(module)

    monkeypatch.setattr(torch.utils.mobile_optimizer, "optimize_for_mobile", optimize_for_mobile)
    report = export_model(checkpoint, tmp_path / "sign.pt", ExportOptions())
    assert len(optimised) == 1 and not any("optimize_for_mobile" in note for note in report.notes)


def test_a_torch_without_xnnpack_is_said(exported: dict[str, ExportReport]) -> None:
    left_out = any("optimize_for_mobile was left out" in note for note in exported["fp32.pt"].notes)
    assert left_out == (not torch.backends.xnnpack.enabled)


def test_int8_is_small_and_checked_with_the_engines_of_phones_too(exported: dict[str, ExportReport]) -> None:
    fp32, int8 = exported["fp32.pt"], exported["int8.pt"]
    assert int8.num_bytes == int8.output.stat().st_size < 0.4 * fp32.num_bytes
    engines = [found.engine for found in int8.verification.comparisons]
    supported = torch.backends.quantized.supported_engines
    assert engines == [name for name in ("x86", "onednn", "qnnpack") if name in supported]
    assert all(0 < found.largest_difference < 0.01 for found in int8.verification.comparisons)


@pytest.mark.skipif("qnnpack" not in torch.backends.quantized.supported_engines, reason="this torch has no qnnpack")
def test_a_branch_that_learnt_nothing_still_runs_on_phones() -> None:
    spec = model_spec("efficient_x3d_xs", num_frames=1, crop_size=32)
    model = build_model(spec, 2).eval()
    for module in model.modules():
        if getattr(module, "block_final_bn", False):
            torch.nn.init.constant_(module.weight, 1e-12)
    clip = 20 * torch.randn(1, 3, 1, 32, 32)
    with int8_engine("qnnpack"), torch.no_grad():
        answer = quantized(deployable(model, clip), [clip])(clip)
    assert torch.isfinite(answer).all()


def test_the_embedded_text_is_read_without_loading_the_program(
    exported: dict[str, ExportReport], tmp_path: Path
) -> None:
    with zipfile.ZipFile(exported["fp32.pt"].output) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(f"/extra/{KEY}")]
        assert json.loads(archive.read(name))["glosses"] == list(GLOSSES)


def test_a_full_disk_is_one_line_and_leaves_nothing(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        path.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SignprepError, match=r"sign\.pt: cannot be written \(No space left on device\)"):
        export_model(small_checkpoint, tmp_path / "sign.pt", ExportOptions(format=TORCHSCRIPT, own_model=SMALL))
    assert list(tmp_path.iterdir()) == []
