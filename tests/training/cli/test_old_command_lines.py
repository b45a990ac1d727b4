"""Each command line of docs/from-the-old-scripts.md, with one epoch, in a folder that has what it names."""

import json
import re
import shlex
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from signprep.pipeline.cli import cli
from tests.conftest import write_data_root
from tests.generated_videos import write_video

DOCUMENT = Path(__file__).parents[3] / "docs" / "from-the-old-scripts.md"
LINES = [line for line in DOCUMENT.read_text(encoding="utf-8").splitlines() if line.startswith("signprep ")]
TRAINED = [line for line in LINES if line.startswith("signprep train")]
ASKED = [line for line in LINES if line.startswith("signprep infer")]

OLD_FLAGS = [
    "data_root", "model_name", "batch_size", "epochs", "learning_rate", "train_data_root", "val_data_root",
    "optimizer", "scheduler", "dropout_rate", "weight_decay", "gpus", "precision", "output_dir", "experiment_name",
    "num_frames", "clip_duration", "label_smoothing", "num_workers", "crop_size", "pin_memory", "model_variant",
    "export_mobile_model", "quantize_model", "enable_efficient_deployment", "mobile_model_path", "checkpoint",
    "video_path", "output_path", "multiple_clips", "stride", "return_probabilities",
]  # fmt: skip


def run(line: str) -> str:
    arguments = shlex.split(re.sub(r"--epochs \d+", "--epochs 1", line))[1:]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, (line, result.output, result.exception)
    return result.output


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("datasest", "your_data_root", "train_data", "val_data"):
        write_data_root(tmp_path / name)
    needless = *(tmp_path / "train_data").rglob("*REAL17*"), *(tmp_path / "val_data").rglob("*REAL0*")
    for path in {*needless, *tmp_path.rglob("*_L*")}:  # one view will do
        path.unlink()
    write_video(tmp_path / "test_video.mp4", 105)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_has_every_flag_and_every_flag_is_taken() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"`--{flag}" in text for flag in OLD_FLAGS)
    commands = [cli.get_command(click.Context(cli), name) for name in ("train", "infer")]
    taken = {name for command in commands if command for parameter in command.params for name in parameter.opts}
    assert {f"--{flag.replace('_', '-')}" for flag in OLD_FLAGS} <= taken
    assert len(TRAINED) == 5 and len(ASKED) == 2


@pytest.mark.parametrize("line", TRAINED[2:], ids=["XS", "S, int8", "XS, all flags"])
def test_small_models_train_and_are_exported(workplace: Path, line: str) -> None:
    size = 160 if line == TRAINED[2] else 64  # as it stands once; pictures of 160 pixels take most of a test's time
    run(f"{line} --crop-size {size}")
    folder = workplace / "outputs" / "sign_language_classification"
    exported = workplace / "mobile_sign_language.pt" if "mobile_model_path" in line else folder / "mobile.pt"
    frames = 13 if "--model_variant S" in line else 4
    answer = torch.jit.load(exported)(torch.zeros(1, 3, frames, size, size))
    assert answer.shape == (1, 2)
    for number, asked in enumerate(ASKED):
        run(asked)
        found = json.loads((workplace / ("result.json", "results.json")[number]).read_text(encoding="utf-8"))
        assert [clip["start_time"] for clip in (found if number else [found])] == ([0, 1, 2] if number else [0])


@pytest.mark.slow
@pytest.mark.parametrize("line", TRAINED[:2], ids=["slow_r50", "x3d_m, all flags"])
def test_large_models_train(workplace: Path, line: str) -> None:
    output = run(line)
    assert "best validation accuracy" in output
    folder = "experiments/my_sign_language_model" if "x3d_m" in line else "outputs/sign_language_classification"
    assert (workplace / folder / "checkpoints" / "best.ckpt").is_file()
