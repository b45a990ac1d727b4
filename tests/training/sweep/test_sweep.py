"""A sweep trains, goes on where it was stopped or killed, ends bad trials, and survives those that fail."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("optuna")

from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import SignprepError, TrainingError
from signprep.training.cli.train import train
from signprep.training.runtime.run_folder import read_run
from signprep.training.runtime.sweep.options import SweepOptions
from signprep.training.runtime.sweep.run import sweep
from signprep.training.runtime.sweep.space import read_space
from signprep.training.runtime.sweep.study import COMPLETE, FAILED, PRUNED, Study
from signprep.training.runtime.sweep.trial import run_trial
from tests.waiting import until

SMALL = ["--num-frames=2", "--size=32", "--batch-size=4", "--logger=none"]


@pytest.fixture
def file(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "내 sweep.yaml"
    path.write_text(
        f"cache: {cache.path}\nnum-frames: 2\nsize: 32\nbatch-size: 4\nlogger: [none]\nepochs: 1\n"
        "learning-rate: {low: 1e-4, high: 1e-2, log: true}\nsweep: {trials: 1}\n",
        encoding="utf-8",
    )
    return path


def invoked(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["sweep", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 1, f"{result.output}{result.exception}"
    return result.exit_code, result.output


def test_a_sweep_ends_with_the_command_that_repeats_the_best_trial(file: Path) -> None:
    code, output = invoked(file)
    assert code == 0, output
    folder = Path("outputs") / "내 sweep"
    best = folder / "trial-1" / "run.json"
    assert f"train --config '{best}'" in output.splitlines()[-1] and "trial-1" in output and "complete" in output
    document = json.loads(best.read_bytes())
    assert document["status"] == "finished" and 1e-4 <= document["options"]["learning_rate"] <= 1e-2
    assert document["command"]["options"]["learning_rate"] == document["options"]["learning_rate"]
    assert {path.name for path in folder.iterdir()} >= {"study.db", "trials.csv", "sweep.svg", "trial-1"}
    code, again = invoked(file)
    assert code == 0 and "next: " in again and "trial 2" not in again, "all trials are there"


def test_a_mistake_ends_the_sweep_before_the_first_trial(file: Path, tmp_path: Path) -> None:
    text = file.read_text(encoding="utf-8")
    for change, told in [
        (
            text.replace("epochs: 1", "epoch: 1"),
            "내 sweep.yaml:6: epoch: train has no such option; did you mean 'epochs'",
        ),
        (
            text.replace("trials: 1", "trails: 1"),
            "sweep has no option 'trails'; expected some of trials, metric, pruner",
        ),
        (text.replace("trials: 1", "trials: 0"), "sweep: trials is 0; it must be at least 1"),
        (text.replace("trials: 1", "metric: val/acc"), "metric is 'val/acc'; it must be one of val/accuracy"),
        (text.replace("trials: 1", "trials: many"), "trials is 'many'; it must be int"),
    ]:
        file.write_text(change, encoding="utf-8")
        code, output = invoked(file)
        assert code == 2 and told in output, output
    file.write_text(text.replace("cache: ", f"cache: {tmp_path}/nowhere.zarr #"), encoding="utf-8")
    code, output = invoked(file)
    assert code == 1 and "nowhere.zarr" in output
    assert not list(tmp_path.glob("outputs/*/trial-*"))


@pytest.mark.slow
def test_trials_that_fail_alike_end_the_sweep_and_others_do_not(cache: Cache, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("epochs: 1", "augment: nowhere:nothing"), encoding="utf-8")
    space, lines = read_space(file, train), list[str]()
    with pytest.raises(TrainingError, match=r"the first 3 trials failed alike: .*nowhere"):
        sweep(space, SweepOptions(trials=9), train, lines.append)
    assert [trial.state for trial in Study(space.folder, space, SweepOptions()).trials()] == [FAILED] * 3
    assert any("failed after 0 epochs: " in line for line in lines)


@pytest.mark.slow
def test_a_bad_trial_is_ended_and_its_run_is_saved(cache: Cache, tmp_path: Path) -> None:
    words = ["train", str(cache.path), *SMALL, "--epochs=500", f"--output-dir={tmp_path}", "--experiment-name=trial-1"]
    told: list[int] = []

    def is_bad(epoch: int, value: float) -> bool:
        told.append(epoch)
        return epoch >= 2

    outcome = run_trial(words, tmp_path / "trial-1", "val/accuracy", is_bad=is_bad, log=lambda line: None)
    assert outcome.state == PRUNED and told[:2] == [1, 2] and len(outcome.values) < 500
    assert read_run(tmp_path / "trial-1")["status"] == "stopped"
    assert (tmp_path / "trial-1" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_was_stopped_or_killed_goes_on_with_its_trial(
    number: signal.Signals, file: Path, tmp_path: Path
) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace("epochs: 1", "epochs: 40"), encoding="utf-8")
    folder = tmp_path / "outputs" / "내 sweep"
    metrics = folder / "trial-1" / "metrics.csv"
    command = [sys.executable, "-m", "signprep.pipeline.cli", "sweep", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    until(lambda: metrics.is_file() and metrics.read_text().count("\n") > 2, alive=lambda: process.poll() is None)
    os.kill(process.pid, number)
    output, _ = process.communicate()
    if number != signal.SIGKILL:
        assert process.returncode == 130 and "the same command goes on with the trial that was running" in output
    until(lambda: read_run(folder / "trial-1").get("status") == "stopped")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "trial 1/1: " in done.stderr and "next: " in done.stderr
    assert "going on from" in (folder / "trial-1" / "output.txt").read_text(encoding="utf-8")
    space = read_space(file, train)
    assert [(trial.state, trial.epochs) for trial in Study(folder, space, SweepOptions()).trials()] == [(COMPLETE, 40)]


@pytest.mark.slow
def test_two_sweeps_in_one_folder_are_refused(file: Path) -> None:
    from filelock import FileLock

    folder = Path("outputs") / "내 sweep"
    folder.mkdir(parents=True)
    with FileLock(folder / ".sweep.lock"), pytest.raises(SignprepError, match="another process sweeps there"):
        sweep(read_space(file, train), SweepOptions(), train, lambda line: None)
