"""The command `export`: what it prints and leaves, and one clear line for every mistake."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from signprep.cache_builder.reader import Cache
from signprep.inference.export import verification
from signprep.inference.export.run import ExportOptions, ExportReport, export_model, report_path
from signprep.inference.export.verification import Comparison, check_close_enough, compare
from signprep.pipeline.cli import cli
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.runtime import installation
from signprep.training.config import format_of
from tests.conftest import build_test_cache, write_data_root
from tests.inference.export.conftest import SMALL, untrained_checkpoint


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)])


def test_the_command_prints_a_table_and_leaves_a_report(
    small_checkpoint: Path, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "usable_cores", lambda: 2)
    out = tmp_path / "sign.pt"
    result = run(
        "--checkpoint", small_checkpoint, "--output_path", out, "--calibration_cache", cache.path, "--model-name", SMALL
    )
    assert result.exit_code == 0, (result.output, result.exception)
    assert f"{out}: " in result.stdout and f"kB, torchscript in fp32, of {SMALL}" in result.stdout
    for part in (
        "largest difference",
        "same first answer",
        "accuracy on them",
        "ms a clip, 1 thread",
        "ms a clip, 2 threads",
        "load",
        "torch ",
    ):
        assert part in result.stdout
    report = json.loads(report_path(out).read_text(encoding="utf-8"))
    assert report["num_bytes"] == out.stat().st_size and report["split"] == "val"
    assert report["clips"] == report["compared"][0]["agreeing"] == len(cache.positions("val"))
    assert report["compared"][0]["accuracy"] == report["checkpoint_accuracy"]
    assert report["latency_ms"].keys() == {"1", "2"} and report["machine"]["processor"]
    assert report["latency_ms"]["1"].keys() == report["latency_ms"]["2"].keys() == {"checkpoint", "file"}


def test_without_a_cache_no_accuracy_is_claimed(small_checkpoint: Path, tmp_path: Path) -> None:
    result = run(
        "--checkpoint", small_checkpoint, "--output-path", tmp_path / "sign.pt", "--json", "--model-name", SMALL,
        "--with-preprocessing",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["drawn_clips"] and report["clips"] == 4 and report["checkpoint_accuracy"] is None
    assert report["compared"][0]["accuracy_drop"] is None
    assert "tried on drawn clips only, and no accuracy is known" in result.stderr


@pytest.mark.parametrize(
    ("name", "asked", "format_"),
    [
        ("a.onnx", None, "onnx"),
        ("a.PTE", None, "executorch"),
        ("a.pt", None, "torchscript"),
        ("a", None, "torchscript"),
        ("a.pt", "onnx", "onnx"),
    ],
)
def test_the_ending_chooses_the_format_unless_one_is_asked_for(name: str, asked: str | None, format_: str) -> None:
    assert format_of(Path(name), asked) == format_


def test_an_ending_of_no_format_is_refused() -> None:
    with pytest.raises(SignprepError, match=r"a\.xyz: ends in \.xyz.*\.onnx.*--format"):
        format_of(Path("a.xyz"))
    assert format_of(Path("a.xyz"), "onnx") == "onnx"


def test_differences_are_of_probabilities_at_the_checkpoints_temperature() -> None:
    expected, found = np.float32([[0, 2], [2, 0]]), np.float32([[2, 0], [2, 0]])
    comparison = compare(expected, found, np.array([1, 0]), temperature=2.0)
    surer = 1 / (1 + np.exp(-1))
    assert comparison.largest_difference == pytest.approx(2 * surer - 1)
    assert comparison.mean_difference == pytest.approx((2 * surer - 1) / 2)
    assert comparison.num_agreeing == 1 and comparison.accuracy == 0.5


@pytest.mark.parametrize("accuracy", [0.96, float("nan")])
def test_int8_may_lose_so_much_accuracy_and_no_more(accuracy: float) -> None:
    def found(accuracy: float) -> Comparison:
        return Comparison(engine="x86", largest_difference=0.3, mean_difference=0.1, num_agreeing=9, accuracy=accuracy)

    check_close_enough(Path("a.pt"), found(0.98), 0.99, int8=True, max_drop=0.016)
    with pytest.raises(
        SignprepError, match=r"a\.pt: its accuracy with the engine x86 is .* more than --max-drop 0.016"
    ):
        check_close_enough(Path("a.pt"), found(accuracy), 0.99, int8=True, max_drop=0.016)


def test_of_few_clips_one_may_be_answered_otherwise_unless_a_bound_is_given() -> None:
    assert ExportOptions(int8=True).bound(1000) == 0.016
    assert ExportOptions(int8=True).bound(4) == 0.25
    assert ExportOptions(int8=True, max_drop=0.0).bound(4) == 0.0
    assert ExportOptions().bound(4) == 1e-4


def test_a_file_that_answers_otherwise_is_not_left(
    small_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Comparison(engine=None, largest_difference=0.2, mean_difference=0.1, num_agreeing=0, accuracy=None)
    monkeypatch.setattr(verification, "compare", lambda *arguments, **options: found)
    options = ExportOptions(own_model=SMALL)
    (tmp_path / "sign.pt").write_text("the one before")
    with pytest.raises(SignprepError, match=r"sign\.pt: its probabilities are up to 2\.0e-01 off .* no file is left"):
        export_model(small_checkpoint, tmp_path / "sign.pt", options)
    assert [path.name for path in tmp_path.iterdir()] == ["sign.pt"]
    assert (tmp_path / "sign.pt").read_text() == "the one before"


def test_a_difference_that_is_no_number_is_too_large() -> None:
    found = compare(np.float32([[0, 1]]), np.float32([[np.nan, 1]]), None, temperature=1.0)
    with pytest.raises(SignprepError, match=r"sign\.pt: its probabilities are up to nan off"):
        check_close_enough(Path("sign.pt"), found, None, int8=False, max_drop=1.0)


def test_a_cache_without_validation_clips_is_said(small_checkpoint: Path, data_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_data_root(root)
    for path in root.rglob("*REAL17*"):
        path.unlink()
    for path in root.rglob("*REAL02*"):
        path.unlink()
    cache = build_test_cache(root, tmp_path / "one.zarr")
    splits = [split for split in ("val", "test", "train") if len(cache.positions(split))]
    report = export_model(small_checkpoint, tmp_path / "sign.pt", ExportOptions(max_clips=2, own_model=SMALL), cache)
    assert report.split == splits[0] and report.num_clips == 2
    assert any("has no clips in its split val" in note for note in report.notes) == (splits[0] != "val")


def test_bad_requests_are_one_clear_error(checkpoint: Path, cache: Cache, data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "sign.pt"
    result = run("--checkpoint", checkpoint, "--output-path", out, "--int8")
    assert result.exit_code == 2 and "--int8 needs --cache" in result.output
    result = run("--checkpoint", tmp_path / "gone.ckpt", "--output-path", out)
    assert "no such checkpoint" in str(result.exception)
    result = run("--checkpoint", tmp_path / "gone.ckpt", "--output-path", tmp_path / "missing" / "sign.pt")
    assert "cannot be written" in str(result.exception)
    result = run("--checkpoint", checkpoint, "--output-path", checkpoint, "--format", "onnx")
    assert "is the checkpoint itself" in str(result.exception)
    result = run("--checkpoint", checkpoint, "--output-path", "/dev/null")
    assert "/dev/null: is no place for a file that has to be read again" in str(result.exception)
    result = run("--checkpoint", checkpoint, "--output-path", tmp_path / "a.pte", "--int8", "--cache", cache.path)
    assert "ExecuTorch has no int8 form" in str(result.exception)
    x3d = untrained_checkpoint(tmp_path / "x3d.ckpt", cache, "x3d_xs", 2, 32)
    with pytest.raises(CheckpointError, match="is of model x3d_xs; in TorchScript only efficient_x3d models have"):
        export_model(x3d, out, ExportOptions(int8=True), cache)
    other = build_test_cache(data_root, tmp_path / "other.zarr", ClipSpec(num_frames=4, size=32))
    with pytest.raises(CheckpointError, match=r"stores other clips than .*: .*size 32 instead of 64"):
        export_model(checkpoint, out, ExportOptions(int8=True), other)
    assert not out.exists()


def test_an_exported_file_is_not_exported_again(exported: dict[str, ExportReport], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"int8\.onnx: is an exported file already"):
        export_model(exported["int8.onnx"].output, tmp_path / "again.pt", ExportOptions())


def test_a_cache_of_other_glosses_is_refused(cache: Cache, checkpoint: Path, tmp_path: Path) -> None:
    contents = torch.load(checkpoint, weights_only=True)
    contents["signprep"]["glosses"] = ["사과", "배"]
    torch.save(contents, tmp_path / "others.ckpt")
    with pytest.raises(CheckpointError, match=r"knows none of the glosses of its split 'val'"):
        export_model(tmp_path / "others.ckpt", tmp_path / "sign.pt", ExportOptions(), cache)


@pytest.mark.parametrize(
    ("name", "missing"), [("sign.onnx", "onnxruntime"), ("sign.pte", "executorch")], ids=["onnx", "executorch"]
)
def test_a_missing_extra_is_named_before_any_work(
    name: str, missing: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda module: None if module == missing else object())
    result = run("--checkpoint", checkpoint, "--output-path", tmp_path / name)
    extra = "onnx" if name.endswith("onnx") else "executorch"
    expected = f"this command needs {missing}, not installed here: {installation.install_extras(extra)}"
    assert str(result.exception) == expected


def test_executorch_takes_only_models_for_phones(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "find_spec", lambda module: object())
    x3d = untrained_checkpoint(tmp_path / "x3d.ckpt", cache, "x3d_xs", 2, 32)
    with pytest.raises(CheckpointError, match="is of model x3d_xs; ExecuTorch's XNNPACK has no 3-D convolutions"):
        export_model(x3d, tmp_path / "sign.pte", ExportOptions(format="executorch"))
