"""Runs get names of their own, and `train --config run.json` repeats one."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.training.runtime.launch import Launch
from signprep.training.runtime.run_folder import RUN_NAME_VARIABLE, RunOptions, run_name

SMALL = ["--num-frames", "2", "--size", "32", "--epochs", "1", "--batch-size", "4"]
NAME = "sign_language_classification"
ALONE = Launch()


def train(*arguments: object) -> None:
    result = CliRunner().invoke(cli, ["train", *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)


def figures_of(run: Path) -> list[dict[str, str]]:
    """What each epoch came to, without what depends on the machine's speed."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return [
            {name: row[name] for name in row if name.partition("/")[2][:3] in ("los", "acc")}
            for row in csv.DictReader(file)
        ]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return found


def test_a_run_is_repeated_by_its_record_bit_for_bit(cache: Cache, tmp_path: Path) -> None:
    train(cache.path, *SMALL, "--learning-rate", "0.01", "--output-dir", tmp_path)
    train("--config", tmp_path / NAME / "run.json")
    first, second = weights_of(tmp_path / NAME), weights_of(tmp_path / f"{NAME}-2")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert figures_of(tmp_path / NAME) == figures_of(tmp_path / f"{NAME}-2")
    train("--config", tmp_path / NAME / "run.json", "--learning-rate", "0.1", "--experiment-name", "fast")
    assert figures_of(tmp_path / "fast") != figures_of(tmp_path / NAME)
    train("--config", tmp_path / "fast" / "run.json")
    assert (tmp_path / "fast-2" / "run.json").is_file(), "a name that comes from a file gets a number"


def write_run(folder: Path, status: str, **options: Any) -> None:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    document = {"run_version": 1, "status": status, "command": {"name": "train", "options": options}}
    (folder / "run.json").write_text(json.dumps(document))


def next_name(folder: Path, **options: Any) -> str:
    return run_name(folder, "run", lambda recorded: recorded == options)


def test_names_count_on_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    assert next_name(tmp_path) == "run"
    (tmp_path / "run").mkdir()
    assert next_name(tmp_path) == "run", "an empty folder is no run"
    write_run(tmp_path / "run", "finished", epochs=1)
    assert next_name(tmp_path, epochs=1) == "run-2"
    write_run(tmp_path / "run-2", "stopped", epochs=1)
    assert next_name(tmp_path, epochs=1) == "run-2", "the same command goes on"
    assert next_name(tmp_path, epochs=2) == "run-3", "another one does not"
    write_run(tmp_path / "run-3", "finished", epochs=2)
    assert next_name(tmp_path, epochs=1) == "run-2", "though others came since"
    write_run(tmp_path / "run-2", "finished", epochs=1)
    write_run(tmp_path / "run-11", "finished")
    for other in ("run-x", "run-1", "run-012", "runner-30", "run-12 (copy)"):
        write_run(tmp_path / other, "finished")
    assert next_name(tmp_path) == "run-12"
    (tmp_path / "run-12").mkdir()
    (tmp_path / "run-12" / "run.json").write_text("{")
    (tmp_path / "run-12" / "checkpoints").mkdir()
    (tmp_path / "run-12" / "checkpoints" / "best.ckpt").write_bytes(b"")
    assert next_name(tmp_path) == "run-13", "a damaged record, but a run"


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv(RUN_NAME_VARIABLE, raising=False)
    write_run(tmp_path / NAME, "finished")
    write_run(tmp_path / f"{NAME}-2", "finished")

    def name_of(launch: Launch = ALONE, *, is_typed: bool = False, **options: Any) -> str:
        run = RunOptions(output_dir=tmp_path, **options)
        return run.numbered(launch, is_typed=is_typed, is_same=lambda recorded: False).experiment_name

    yield name_of
    os.environ.pop(RUN_NAME_VARIABLE, None)


def test_a_given_name_is_kept_and_resume_takes_the_last_run(chosen: Any, tmp_path: Path) -> None:
    assert chosen() == f"{NAME}-3"
    assert chosen(is_typed=True) == NAME
    assert chosen(overwrite=True) == NAME
    assert chosen(resume="last") == f"{NAME}-2"
    assert chosen(resume=str(tmp_path / NAME / "checkpoints" / "last.ckpt")) == NAME
    assert chosen(resume=str(tmp_path / f"{NAME}-2" / "checkpoints" / "last.ckpt")) == f"{NAME}-2"
    assert chosen(resume="elsewhere.ckpt") == NAME


def test_processes_of_one_run_agree_on_its_name(chosen: Any, tmp_path: Path) -> None:
    assert chosen() == f"{NAME}-3"
    write_run(tmp_path / f"{NAME}-3", "running")
    assert chosen(Launch(rank=1, local_rank=1)) == f"{NAME}-3", "the first process has told it to those that it starts"
    assert chosen(Launch(by="torchrun", rank=1, local_rank=1, per_node=2)) == NAME, "nobody tells it to these"
    assert chosen(num_nodes=2) == NAME
