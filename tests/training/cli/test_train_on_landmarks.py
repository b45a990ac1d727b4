"""`train --data-root` with models of landmarks: where the landmarks come from, and what contradicts it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from signprep.cache_builder import open_cache
from signprep.pipeline.cli import cli
from tests.conftest import write_label

QUICK = ("--epochs", "1", "--batch-size", "4", "--model-name", "landmark_conv")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["train", *map(str, arguments)])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Labels of two words by three signers, one of whom validates, and a landmark file for each."""
    random = np.random.default_rng(0)
    root = tmp_path / "점 data"
    for item, gloss in (("WORD0001", "왼쪽"), ("WORD0002", "오른쪽")):
        for signer in ("REAL01", "REAL02", "REAL17"):
            name = f"NIA_SL_{item}_{signer}_F"
            write_label(root / "label" / f"{name}_morpheme.json", [(0.2, 0.8, gloss)], duration=1.0)
            landmarks = random.random((30, 75, 3), np.float32)
            np.savez(root / f"{name}.npz", landmarks=landmarks, fps=30)
    return root


def test_files_are_trained_on_and_their_cache_is_kept_beside_others(root: Path, tmp_path: Path) -> None:
    shared = ("--data-root", root, *QUICK, "--output-dir", tmp_path / "out", "--overwrite")
    result = invoke(*shared, "--landmarks", "files")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "best validation accuracy" in result.stdout
    [path] = (tmp_path / "out" / "caches").glob("점 data-16xlandmarks-files-????????.zarr")
    assert open_cache(path).clip_spec.landmarks == "files"
    result = invoke(*shared, "--landmarks", "files", "--keypoint-size", "1280x720")
    assert result.exit_code == 0, (result.output, result.exception)
    [path] = (tmp_path / "out" / "caches").glob("점 data-16xlandmarks-files-1280x720-????????.zarr")
    assert open_cache(path).clip_spec.keypoint_size == "1280x720"


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        ((), "there are no keypoints named NIA_SL_WORD0001_REAL01_F", 1),
        (("--landmarks", "aihub"), "there are no keypoints named", 1),
        (("--landmarks", "files", "--model-name", "x3d_s"), "x3d_s reads pixels, not the landmarks", 1),
        (("--landmarks", "poses"), "'poses' is not one of 'aihub', 'mediapipe', 'files'", 2),
        (("--landmarks", "files", "--keypoint-size", "big"), "it must be WIDTHxHEIGHT, as in 1920x1080", 2),
    ],
)
def test_what_cannot_be_is_said(root: Path, tmp_path: Path, arguments: Any, said: str, code: int) -> None:
    result = invoke("--data-root", root, *QUICK, "--output-dir", tmp_path / "out", *arguments)
    assert result.exit_code == code and said in result.output + str(result.exception)
    assert not list((tmp_path / "out").rglob("*.zarr"))


def test_a_cache_has_its_landmarks_already(tmp_path: Path) -> None:
    result = invoke(tmp_path / "a.zarr", "--landmarks", "files")
    assert result.exit_code == 2 and "goes with --data-root, not with CACHE" in result.output
