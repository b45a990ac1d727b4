"""Models of landmarks as files: they answer as their checkpoint does, with signprep and without."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from signprep.cache_builder.reader import Cache
from signprep.inference.export.run import ExportOptions, ExportReport, export_model
from signprep.inference.open_model import open_model
from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.training.transforms import frame_positions
from tests.inference.export.conftest import ANY_DROP, ONNX_ANSWER, TORCHSCRIPT_ANSWER, answers_alone, export_all
from tests.inference.export.test_runtime import invoked, with_text

EXPORTS = {
    "fp32.pt": ExportOptions(format="torchscript"),
    "stored.pt": ExportOptions(format="torchscript", with_preprocessing=True),
    "fp32.onnx": ExportOptions(format="onnx"),
    "stored.onnx": ExportOptions(format="onnx", with_preprocessing=True),
    "int8.onnx": ExportOptions(format="onnx", int8=True, with_preprocessing=True, max_drop=ANY_DROP),
}


@pytest.fixture(scope="module")
def exported(
    landmark_checkpoint: Path, landmark_cache: Cache, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ExportReport]:
    return export_all(landmark_checkpoint, tmp_path_factory.mktemp("수어 모델"), EXPORTS, landmark_cache)


def test_the_proof_is_passed_and_the_file_says_what_it_takes(exported: dict[str, ExportReport]) -> None:
    for name, report in exported.items():
        [found] = report.verification.comparisons
        assert found.largest_difference <= (0.1 if "int8" in name else 1e-5) and report.split == "val"
        taken = report.metadata.to_dict()["input"]
        assert taken["shape"] == [None if "onnx" in name else 1, 4, 75, 3] and taken["layout"] == "NTPC"
        assert taken["dtype"] == ("float32" if "fp32" in name else "float16")
        assert taken["mean"] is taken["std"] is None and len(taken["frame_fractions"]) == 4
    assert exported["int8.onnx"].num_bytes < 0.4 * exported["fp32.onnx"].num_bytes


@pytest.mark.parametrize("name", EXPORTS)
def test_signprep_answers_from_the_file_as_from_the_checkpoint(
    name: str, exported: dict[str, ExportReport], landmark_checkpoint: Path, landmark_cache: Cache
) -> None:
    file = exported[name].output
    clips = list(landmark_cache.read(landmark_cache.positions("val")))
    expected = load_checkpoint(landmark_checkpoint).probabilities(clips)
    assert open_model(file).probabilities(clips) == pytest.approx(expected, abs=0.1 if "int8" in name else 1e-5)
    document = json.loads(invoked("evaluate", "--checkpoint", file, landmark_cache.path, "--json"))
    assert document["model_name"] == "landmark_conv" and document["clips"] == len(clips)
    rows = json.loads(invoked("infer", landmark_cache.path, "--split", "val", "--checkpoint", file))
    assert [row["confidence"] for row in rows] == pytest.approx(expected.max(axis=1), abs=0.1)


@pytest.mark.parametrize(("ending", "code"), [("pt", TORCHSCRIPT_ANSWER), ("onnx", ONNX_ANSWER)])
def test_a_program_without_signprep_feeds_stored_clips(
    ending: str, code: str, exported: dict[str, ExportReport], landmark_checkpoint: Path, landmark_cache: Cache,
    tmp_path: Path,
) -> None:  # fmt: skip
    stored = landmark_cache.read(landmark_cache.positions("val"))
    assert np.isnan(stored).any()
    chosen = torch.from_numpy(stored[:, frame_positions(8, 4)])
    files = [exported[f"fp32.{ending}"].output, exported[f"stored.{ending}"].output]
    answers = answers_alone(code, {"float16": chosen, "float32": chosen.float()}, files, tmp_path)
    expected = load_checkpoint(landmark_checkpoint).logits(torch.from_numpy(stored))
    for found in answers:
        torch.testing.assert_close(found, expected.clone(), atol=1e-4, rtol=1e-4)


def test_without_a_cache_a_file_is_tried_on_drawn_points(landmark_checkpoint: Path, tmp_path: Path) -> None:
    for options in (ExportOptions(), ExportOptions(with_preprocessing=True)):
        report = export_model(landmark_checkpoint, tmp_path / "sign.pt", options)
        assert report.num_clips == 4 and report.verification.comparisons[0].largest_difference <= 1e-5


def test_forms_that_do_not_pay_are_refused_with_the_reason(
    landmark_checkpoint: Path, landmark_cache: Cache, cache: Cache, tmp_path: Path
) -> None:
    with pytest.raises(SignprepError, match="in TorchScript only efficient_x3d models have an int8 form"):
        export_model(landmark_checkpoint, tmp_path / "a.pt", ExportOptions(int8=True), landmark_cache)
    pytest.importorskip("executorch")
    with pytest.raises(
        SignprepError, match="is of model landmark_conv; ExecuTorch's files are of models of pixels only"
    ):
        export_model(landmark_checkpoint, tmp_path / "a.pte", ExportOptions(format="executorch"))


def test_a_cache_of_pixels_is_refused(
    exported: dict[str, ExportReport], landmark_checkpoint: Path, cache: Cache, tmp_path: Path
) -> None:
    with pytest.raises(
        CheckpointError, match="stores pixels, but the checkpoint was trained on landmarks; give a cache of landmarks"
    ):
        export_model(landmark_checkpoint, tmp_path / "a.pt", ExportOptions(), cache)
    result = CliRunner().invoke(cli, ["evaluate", "--checkpoint", str(exported["fp32.pt"].output), str(cache.path)])
    assert "stores pixels, but the checkpoint was trained on landmarks" in str(result.exception)


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {"dtype": "uint8"}},
        {"input": {"layout": "NCTHW"}},
        {"clip_spec": {"landmarks": None, "size": 64, "pixels": "rgb24", "keypoint_size": "1920x1080"}},
    ],
)
def test_what_a_file_says_of_its_input_is_not_believed(
    changes: dict, exported: dict[str, ExportReport], tmp_path: Path
) -> None:
    document = exported["fp32.pt"].metadata.to_dict()
    changed = document | {name: document[name] | part for name, part in changes.items()}
    with_text(exported["fp32.pt"].output, tmp_path / "other.pt", json.dumps(changed))
    with pytest.raises(CheckpointError, match="is damaged"):
        open_model(tmp_path / "other.pt")
