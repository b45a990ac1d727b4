"""Curves go to the loggers that are asked for, also when a run goes on; what servers get lies in the run's folder."""

import csv
import json
import sqlite3
import struct
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import SignprepError, StoppedError, TrainingError
from signprep.training.callbacks.checkpoints import SaveLast, StopRequested
from signprep.training.config import TrainConfig
from tests.training.small_runs import run

CONFIG = TrainConfig(epochs=2, batch_size=4)
SMALL = ["--num-frames", "2", "--size", "32", "--epochs", "1", "--batch-size", "4"]
CURVES = {"val/accuracy", "val/loss", "train/loss", "learning_rate", "step/loss", "step/learning_rate"}
needs_wandb = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")


def stopped_and_resumed(cache: Cache, folder: Path, monkeypatch: pytest.MonkeyPatch, *loggers: str) -> None:
    """Save behind the second step, stop behind the third, and go on."""

    def stops(self: SaveLast, trainer: Any, *_: object) -> None:
        if trainer.global_step == 2:
            self.save(trainer)
        if trainer.global_step == 3:
            raise StopRequested

    with monkeypatch.context() as patch:
        patch.setattr(SaveLast, "on_train_batch_end", stops)
        patch.setattr(SaveLast, "on_train_epoch_end", lambda *_: None)
        with pytest.raises(StoppedError):
            run(cache, folder, CONFIG, loggers=loggers)
    run(cache, folder, CONFIG, loggers=loggers)


def test_a_table_has_each_step_once_though_the_run_was_stopped(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_and_resumed(cache, tmp_path, monkeypatch, "csv")
    with (tmp_path / "csv_logs" / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() >= CURVES
    assert [row["step"] for row in rows if row["step/loss"]] == ["1", "2", "3", "4"]
    assert len([row for row in rows if row["val/accuracy"]]) == CONFIG.epochs
    assert "batch_size: 4" in (tmp_path / "csv_logs" / "hparams.yaml").read_text(encoding="utf-8")
    assert not (tmp_path / "tensorboard_logs").exists()
    assert json.loads((tmp_path / "run.json").read_bytes())["loggers"] == {"csv": None}


def test_a_run_that_replaces_another_begins_its_table_anew(cache: Cache, tmp_path: Path) -> None:
    for _ in range(2):
        run(cache, tmp_path, loggers=("csv", "tensorboard"), overwrite=True)
    with (tmp_path / "csv_logs" / "metrics.csv").open(encoding="utf-8") as file:
        assert [row["step"] for row in csv.DictReader(file) if row["step/loss"]] == ["1", "2"]
    assert list((tmp_path / "tensorboard_logs").glob("events.*"))


def test_without_loggers_a_run_has_its_record_and_its_table_of_epochs(cache: Cache, tmp_path: Path) -> None:
    command = ["train", str(cache.path), *SMALL, "--output-dir", str(tmp_path), "--experiment-name", "run"]
    result = CliRunner().invoke(cli, [*command, "--logger", "none"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"checkpoints", "metrics.csv", "run.json"}
    assert not list(tmp_path.rglob("events.*"))
    document = json.loads((tmp_path / "run" / "run.json").read_bytes())
    assert document["command"]["options"]["loggers"] == ["none"] and document["loggers"] == {}
    result = CliRunner().invoke(cli, [*command, "--overwrite", "--logger", "none", "--logger", "csv"])
    assert result.exit_code == 2 and "--logger are none, csv; none goes with no other" in result.output
    result = CliRunner().invoke(cli, [*command, "--logger", "tensorbord"])
    assert result.exit_code == 2 and "'tensorbord' is not one of 'tensorboard', 'csv', 'wandb'" in result.output


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_what_is_not_installed_is_named_before_the_training(name: str, cache: Cache, tmp_path: Path) -> None:
    if find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    result = CliRunner().invoke(cli, ["train", str(cache.path), "--logger", name, "--output-dir", str(tmp_path)])
    assert isinstance(result.exception, SignprepError)
    assert f"needs {name}, not installed here" in str(result.exception) and f"[{name}]" in str(result.exception)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_RUN_ID", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    warnings.filterwarnings("ignore", module="(wandb|mlflow|sqlalchemy|pydantic|alembic)")


def wandb_records(path: Path) -> list[Any]:
    """Return what a file of wandb holds: records in blocks of 32 KiB, each part of one behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts, found = path.read_bytes(), 7, b"", []
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts, place = parts + data[place + 7 : place + 7 + length], place + 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(wandb_internal_pb2.Record())
            found[-1].ParseFromString(parts)
            parts = b""
    return found


@needs_wandb
def test_weights_and_biases_gets_all_without_a_network_and_goes_on_under_one_id(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    stopped_and_resumed(cache, tmp_path / "내 run", monkeypatch, "tensorboard", "wandb")
    known_as = json.loads((tmp_path / "내 run" / "run.json").read_bytes())["loggers"]["wandb"]
    files = sorted((tmp_path / "내 run" / "wandb").glob(f"offline-run-*-{known_as}/run-{known_as}.wandb"))
    assert len(files) >= 1 and not list(tmp_path.glob("wandb"))
    records = [record for path in files for record in wandb_records(path)]
    curves = {"/".join(item.nested_key) or item.key for record in records for item in record.history.item}
    assert curves >= CURVES
    config = {item.key: item.value_json for record in records for item in record.run.config.update}
    config |= {item.key: item.value_json for record in records for item in record.config.update}
    assert json.loads(config["options"])["batch_size"] == 4 and json.loads(config["cache"])["classes"] == 2
    assert list((tmp_path / "내 run" / "wandb").rglob("media/images/val/confusion*.png"))
    import wandb

    assert wandb.run is None, "the run has ended"


@needs_mlflow
def test_mlflow_gets_all_in_a_file_of_the_run_and_goes_on_with_one_run(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    folder = tmp_path / "내 run"
    stopped_and_resumed(cache, folder, monkeypatch, "mlflow")
    with sqlite3.connect(folder / "mlflow.db") as database:
        runs = database.execute("select run_uuid, name, status from runs").fetchall()
        params = dict(database.execute("select key, value from params").fetchall())
        steps = database.execute("select distinct step from metrics where key = 'step/loss' order by step").fetchall()
        metrics = {name for (name,) in database.execute("select distinct key from metrics")}
    database.close()
    known_as = json.loads((folder / "run.json").read_bytes())["loggers"]["mlflow"]
    assert runs == [(known_as, "내 run", "FINISHED")]
    assert params["options/batch_size"] == "4" and params["cache/classes"] == "2"
    assert metrics >= CURVES | {"best/val_accuracy"} and steps == [(1,), (2,), (3,), (4,)]
    assert list((folder / "mlflow_artifacts").rglob("val/confusion.png"))
    assert not (Path.cwd() / "mlruns").exists() and not (Path.cwd() / "mlflow.db").exists()


@needs_mlflow
def test_a_server_of_mlflow_that_is_not_there_is_one_line(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: None
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(TrainingError, match=r"--logger mlflow cannot begin .*MLFLOW_TRACKING_URI"):
        run(cache, tmp_path, loggers=("mlflow",))
