import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from signprep.cache_builder import open_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import TrainingError
from signprep.training.runtime.run_folder import CHECKPOINTS_FOLDER
from tests.conftest import GLOSSES, build_test_cache, write_data_root, write_label
from tests.interrupted import Interrupter, Started

DOCUMENT = Path(__file__).parents[3] / "docs" / "training.md"
SMALL = ["--num-frames", "2", "--crop-size", "32", "--epochs", "1", "--batch-size", "4"]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["train", *map(str, arguments)])


def trained(*arguments: object) -> Result:
    result = invoke(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def card_of(folder: Path) -> dict:
    return torch.load(folder / CHECKPOINTS_FOLDER / "best.ckpt", weights_only=True)["signprep"]


def test_the_command_trains_and_writes_what_it_says(cache: Cache, tmp_path: Path) -> None:
    result = trained("--cache", cache.path, *SMALL, "--output_dir", tmp_path, "--experiment-name", "run")
    assert "class list: ['왼쪽', '오른쪽']" in result.stderr
    assert "trainable parameters: " in result.stderr and "classes: 2" in result.stderr
    assert "epoch 1/1: loss" in result.stderr and "clips/s, wait" in result.stderr
    assert "best validation accuracy" in result.stdout and "waiting for data" in result.stdout
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "checkpoints", "tensorboard_logs", "metrics.csv", "run.json", "report.html", "learning_curves.png",
    }  # fmt: skip
    card = card_of(tmp_path / "run")
    assert card["glosses"] == ["왼쪽", "오른쪽"] and card["cache_fingerprint"] == cache.fingerprint
    assert card["train_config"]["batch_size"] == 4


def test_a_data_root_is_cached_first_and_refreshed_when_it_changes(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "수어 영상")
    arguments = ["--data-root", root, *SMALL, "--output-dir", tmp_path / "out"]
    assert "12 clips (8 train, 4 val)" in trained(*arguments).stderr
    (cache_path,) = (tmp_path / "out" / "caches").glob("수어 영상-16x256-????????.zarr")
    before = open_cache(cache_path)
    assert len(before) == 12
    label = root / "label" / "NIA_SL_WORD0001_REAL01_F_morpheme.json"
    label.write_text(label.read_text(encoding="utf-8").replace("0.8", "0.7"), encoding="utf-8")
    again = trained(*arguments, "--overwrite")
    assert "11 clips stayed as they were" in again.stderr
    assert open_cache(cache_path).fingerprint != before.fingerprint
    windows = trained(*arguments, "--overwrite", "--clip_duration", "0.5")
    assert "수어 영상-16x256-0.5s-" in windows.stderr and open_cache(cache_path)


def test_a_data_root_is_split_as_asked(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "수어 영상")
    for number in (1, 2):  # a copy of a train video of the other view
        name = f"NIA_SL_WORD000{number}_REAL01"
        shutil.copy(root / "video" / f"{name}_F.mp4", root / "video" / f"{name}_L.mp4")
    arguments = ["--data-root", root, *SMALL, "--output-dir", tmp_path / "out"]
    result = trained(*arguments, "--duplicates", "drop", "--split-by", "signer")
    assert "--duplicates drop: " in result.stderr and "training clips: 6, validation clips: 4" in result.stderr
    cache = next((tmp_path / "out" / "caches").iterdir())
    refused = invoke(cache, *SMALL, "--output-dir", tmp_path / "out", "--duplicates", "drop")
    assert refused.exit_code == 2 and "--duplicates goes with --data-root" in refused.stderr


def test_options_that_choose_segments_are_refused_beside_a_cache_whose_clips_they_would_not_choose(
    cache: Cache, data_root: Path, tmp_path: Path
) -> None:
    for words in (["--signer", "REAL01"], ["--view", "F"], ["--columns", "gloss=Gloss"], ["--keypoint-size", "8x8"]):
        refused = invoke(cache.path, *SMALL, "--output-dir", tmp_path, *words)
        assert refused.exit_code == 2 and f"{words[0]} goes with --data-root: a cache has its clips" in refused.stderr
    refused = invoke("--data-root", data_root, *SMALL, "--output-dir", tmp_path, "--stream-gb", "1")
    assert refused.exit_code == 2 and "--stream-gb goes with CACHE" in refused.stderr


def test_two_roots_are_the_two_splits_and_the_one_left_out_is_the_data_root(tmp_path: Path) -> None:
    train_root, val_root = write_data_root(tmp_path / "a"), write_data_root(tmp_path / "b")
    for path in (*train_root.rglob("*REAL17*"), *val_root.rglob("*REAL0*")):
        path.unlink()
    shared = [*SMALL, "--output-dir", tmp_path / "out", "--overwrite"]
    for arguments in (
        ["--train-data-root", train_root, "--val-data-root", val_root, "--data-root", tmp_path / "unused"],
        ["--train-data-root", train_root, "--data-root", val_root],
    ):
        assert "training clips: 8, validation clips: 4" in trained(*arguments, *shared).stderr
    assert len(list((tmp_path / "out" / "caches").glob("a+b-16x256-????????.zarr"))) == 1


def test_models_and_augmentations_of_ones_own(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = re.findall(r"```python\n(# mymodels\.py.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    (tmp_path / "mymodels.py").write_text("\n".join(examples))
    monkeypatch.chdir(tmp_path)
    small = ["--num-frames", "4", "--crop-size", "48", "--epochs", "1"]
    own = ["--cache", cache.path, *small, "--model-name", "mymodels:small", "--augment", "mymodels:darker"]
    trained(*own, "--freeze-backbone")
    folder = tmp_path / "outputs" / "sign_language_classification"
    card = card_of(folder)
    assert card["model_spec"]["name"] == "mymodels:small" and card["train_config"]["augment"] == "mymodels:darker"
    video = cache.path  # a checkpoint's code is not run unasked, so no video is ever opened
    asked = ["infer", "--checkpoint", str(folder / CHECKPOINTS_FOLDER / "best.ckpt"), "--video-path", str(video)]
    refused = CliRunner().invoke(cli, asked)
    assert "give --model-name mymodels:small if you trust it" in str(refused.exception)
    taken = CliRunner().invoke(cli, [*asked, "--model-name", "mymodels:small"])
    assert "no such video file" in str(taken.exception) or "video" in str(taken.exception)
    missing = invoke("--cache", cache.path, *SMALL, "--augment", "mymodels:gone", "--overwrite")
    assert "gone is not there" in str(missing.exception)


def test_pretrained_weights_are_taken_and_the_backbone_can_be_frozen(cache: Cache, tmp_path: Path) -> None:
    shared = ["--cache", cache.path, *SMALL, "--output-dir", tmp_path]
    trained(*shared, "--experiment-name", "first")
    first = tmp_path / "first" / CHECKPOINTS_FOLDER / "best.ckpt"
    result = trained(*shared, "--experiment-name", "second", "--pretrained", first, "--freeze-backbone")
    total, trainable = (
        int(line.rpartition(" ")[2].replace(",", "")) for line in result.stderr.splitlines() if "parameters: " in line
    )
    assert trainable == 2048 * 2 + 2 < total
    before, after = (
        torch.load(tmp_path / name / CHECKPOINTS_FOLDER / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("first", "second")
    )
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved <= {"model.projection.model.weight", "model.projection.model.bias"}


def test_a_flip_map_is_read_and_mirrors_half_of_the_clips(cache: Cache, tmp_path: Path) -> None:
    pairs = tmp_path / "flip.json"
    pairs.write_text('{"왼쪽": "오른쪽"}', encoding="utf-8")
    trained("--cache", cache.path, *SMALL, "--output-dir", tmp_path, "--flip-map", pairs)
    config = card_of(tmp_path / "sign_language_classification")["train_config"]
    assert config["flip_map"] == {"왼쪽": "오른쪽"} and config["augmentation"]["flip_probability"] == 0.5
    trained("--cache", cache.path, *SMALL, "--output-dir", tmp_path, "--flip-map", pairs, "--no-augment", "--overwrite")
    config = card_of(tmp_path / "sign_language_classification")["train_config"]
    assert config["augmentation"]["flip_probability"] == 0.5 and config["augmentation"]["crop_scale"] == 1.0
    pairs.write_text("[1]")
    assert "expected an object of glosses" in str(invoke("--cache", cache.path, "--flip-map", pairs).exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give CACHE, or --data-root"),
        (["--train-data-root", "x"], "go together"),
        (["--cache", "x", "--data-root", "y"], "not both"),
        (["--cache", "x", "--model-name", "x3d_s", "--model-variant", "S"], "not both"),
        (["--cache", "x", "--model-name", "x3d_s", "--quantize-model"], "are for efficient_x3d_xs"),
        (["--cache", "x", "--no-augment", "--tempo", "0.5"], "--no-augment excludes --tempo"),
        (["--cache", "x", "--label-smoothing", "1"], "--label-smoothing is 1.0; it must be at least 0 and below 1"),
        (["--cache", "x", "--epochs", "0"], "--epochs is 0; it must be at least 1"),
    ],
)
def test_contradictions_are_usage_errors(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2 and message in result.output


def test_a_model_that_cannot_take_the_input_is_refused_before_anything_is_read() -> None:
    result = invoke("--data-root", "/nowhere", "--model-name", "mvit_base_16x4", "--num-frames", "5")
    assert "mvit_base_16x4 cannot take 5 frames" in str(result.exception)


@pytest.mark.parametrize(
    ("ending", "missing"), [("onnx", "onnxscript"), ("pte", "executorch")], ids=["ONNX", "ExecuTorch"]
)
def test_a_missing_exporter_is_told_before_training(
    ending: str, missing: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    path = tmp_path / f"mobile.{ending}"
    result = invoke("--cache", cache.path, *SMALL, "--output-dir", tmp_path / "out", "--mobile-model-path", path)
    assert f"needs {missing}, not installed" in str(result.exception) and not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_told_before_training(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "mobile.pt"
    result = invoke("--cache", cache.path, *SMALL, "--output-dir", tmp_path / "out", "--mobile-model-path", path)
    assert "nowhere/mobile.pt: cannot be written" in str(result.exception) and not (tmp_path / "out").exists()


ENDLESS = "100000"
"""Epochs, which no machine comes to the end of before it is told to stop."""


PROGRAM = "import sys; from signprep.pipeline.cli import main; main(sys.argv[1:])"


def started(with_models: Interrupter, cache: Cache, folder: Path, *options: object) -> Started:
    program = folder / "program.py"  # Lightning starts the other processes with the first one's command line
    program.write_text(PROGRAM)
    command = ["train", "--cache", cache.path, *SMALL, "--output-dir", folder, *options]
    return with_models.start(program, command, folder)


def test_ctrl_c_saves_says_how_to_go_on_and_it_does(with_models: Interrupter, cache: Cache, tmp_path: Path) -> None:
    endless = ("--epochs", ENDLESS)
    with started(with_models, cache, tmp_path, *endless) as process:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith(f"epoch 3/{ENDLESS}"):
                os.kill(process.pid, signal.SIGINT)
        assert process.wait() == 130, "".join(lines)
    text = "".join(lines)
    assert "stopping after this batch, and saving" in text
    assert "--resume goes on from" in text and "Traceback" not in text
    stopped = int(text.rpartition("stopped in epoch ")[2].partition(";")[0])
    with started(with_models, cache, tmp_path, *endless, "--resume") as process:
        first = next(line for line in process.stderr if line.startswith("epoch "))
    assert int(first.removeprefix("epoch ").partition("/")[0]) in (stopped, stopped + 1)


def trained_by_processes(
    with_models: Interrupter, number: int, cache: Cache, folder: Path, *options: object
) -> tuple[str, str]:
    """Return what they say on stdout and on stderr."""
    with started(with_models, cache, folder, "--devices", number, *options) as process:
        errors = process.stderr.read()
        assert process.wait() == 0, errors
        return process.stdout, errors


def test_two_processes_train_together_and_speak_once(with_models: Interrupter, cache: Cache, tmp_path: Path) -> None:
    output, errors = trained_by_processes(with_models, 2, cache, tmp_path, "--batch-size", 3, "--ema-decay", 0.9)
    assert output.count("best validation accuracy") == 1 and errors.count("classes: 2") == 1
    assert "batch size: 3 on each of 2, epochs: 1, on CPU, 2 processes" in errors
    document = json.loads((tmp_path / "sign_language_classification" / "run.json").read_text(encoding="utf-8"))
    # Four validation clips, two on each process: their accuracy is a multiple of a quarter.
    assert document["result"]["best_val_accuracy"] * 4 == round(document["result"]["best_val_accuracy"] * 4)


@pytest.mark.slow
def test_five_validation_clips_are_enough_for_eight_processes(
    with_models: Interrupter, data_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    label = min((root / "label").glob("*_REAL17_*"))
    write_label(label, [(0.1, 0.4, GLOSSES[0]), (0.5, 0.9, GLOSSES[0])], duration=1.0)
    cache = build_test_cache(root, tmp_path / "five.zarr")
    assert (len(cache.positions("train")), len(cache.positions("val"))) == (8, 5)
    trained_by_processes(with_models, 8, cache, tmp_path, "--batch-size", 2)
    document = json.loads((tmp_path / "sign_language_classification" / "run.json").read_text(encoding="utf-8"))
    accuracy = document["result"]["best_val_accuracy"]
    assert accuracy * 5 == pytest.approx(round(accuracy * 5))


def test_more_processes_than_training_clips_are_refused_at_once(cache: Cache, tmp_path: Path) -> None:
    result = invoke("--cache", cache.path, *SMALL, "--devices", 9, "--output-dir", tmp_path)
    assert isinstance(result.exception, TrainingError)
    assert "has 8 training clips for 9 processes; use fewer devices" in str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler touches what warns, and takes an error for its own
def test_a_compiled_model_trains_and_its_checkpoint_is_like_any_other(cache: Cache, tmp_path: Path) -> None:
    trained("--cache", cache.path, *SMALL, "--output-dir", tmp_path, "--compile")
    state = torch.load(tmp_path / "sign_language_classification" / CHECKPOINTS_FOLDER / "best.ckpt", weights_only=True)
    assert not any("_orig_mod" in name for name in state["state_dict"])


def test_sentences_without_times_of_words_are_refused(tmp_path: Path) -> None:
    result = invoke("--data-root", tmp_path, "--preset", "how2sign", "--output-dir", tmp_path / "out", *SMALL)
    assert result.exit_code == 1 and isinstance(result.exception, TrainingError)
    assert "--preset how2sign: its segments are sentences" in str(result.exception)
    assert not (tmp_path / "out").exists()
