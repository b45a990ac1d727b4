"""The record of a run as files that people and programs read: metrics.csv, a row an epoch, and run.json.

run.json has what the run was given (options, model, cache, versions) from its start, and what came of it at the end.
"""

import csv
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before lightning)
from signprep.pipeline.runtime.atomic_files import write_json
from signprep.pipeline.runtime.machine import package_version

from lightning import LightningModule, Trainer  # isort: skip
from lightning.pytorch.callbacks import Callback  # isort: skip

METRICS, RUN = "metrics.csv", "run.json"
RUN_VERSION = 1

COLUMNS = (
    "epoch",
    "step",
    "train/loss",
    "train/accuracy",
    "val/loss",
    "val/accuracy",
    "val/top5_accuracy",
    "val/mean_class_accuracy",
    "learning_rate",
    "train/clips_per_second",
    "train/data_wait_percent",
)
PACKAGES = ("signprep", "torch", "lightning", "pytorchvideo", "torchmetrics", "numpy", "zarr")


def versions() -> dict[str, str | None]:
    """Return the versions of what a run depends on; None for what is not installed."""
    found = {"python": platform.python_version()} | {name: package_version(name) for name in PACKAGES}
    if torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
    return found


class EpochTable(Callback):
    """Writes a row of metrics.csv after each epoch; a resumed run keeps the rows of the epochs before."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the table, or cut it off where the run goes on."""
        if not trainer.is_global_zero:
            return
        rows: list[dict[str, str]] = []
        if trainer.current_epoch and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["epoch"]) <= trainer.current_epoch]
        with self._path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            table.writeheader()
            table.writerows(rows)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row."""
        figures: dict[str, Any] = {name: f"{float(value):.6g}" for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero:
            return
        figures |= {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS, extrasaction="ignore").writerow(figures)


def write_run(path: Path, document: Mapping[str, Any]) -> None:
    """Write run.json, whole or not at all. Raises SignprepError if it cannot be written."""
    write_json(path, {"run_version": RUN_VERSION, **document})
