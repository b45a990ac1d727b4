"""The record of a run: metrics.csv with a row an epoch, run.json, and images of the best validation for the loggers.

run.json holds the run's options, model, cache and versions from its start, and its result from its end.
"""

import csv
import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.options import check_types
from signprep.pipeline.runtime.atomic_files import atomic_write, write_json
from signprep.pipeline.runtime.machine import package_version
from signprep.training.callbacks.checkpoints import STEPS_BETWEEN_CHECKS
from signprep.training.callbacks.loggers import Pictures
from signprep.training.config import TrainConfig
from signprep.training.model.checkpoint import NOT_A_CARD, ModelMetadata, check_resumable
from signprep.training.model.classifier import SignClassifier
from signprep.training.runtime.run_folder import BEST, CHECKPOINTS_FOLDER, LAST, RUN, read_run

RUN_VERSION = 1

COLUMNS = (
    "epoch", "step", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/top5_accuracy",
    "val/mean_class_accuracy", "learning_rate", "train/clips_per_second", "train/data_wait_percent",
)  # fmt: skip
MATRIX_SIZE = 512
"""Side of the confusion matrix's image in pixels, about."""
DARK, BRIGHT = np.array([20, 24, 40]), np.array([255, 214, 92])
"""Colours of none and of all of a class's clips."""
STRIP_CLIPS, STRIP_FRAMES, STRIP_SIZE = 8, 8, 96
PACKAGES = ("signprep", "torch", "lightning", "pytorchvideo", "torchmetrics", "numpy", "zarr")


def versions() -> dict[str, str | None]:
    """Return the versions of the packages that a run depends on; None where one is not installed."""
    found = {"python": platform.python_version()} | {name: package_version(name) for name in PACKAGES}
    if torch.cuda.is_available():
        found["cuda"] = torch.version.cuda
    return found


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """Outcome of a run."""

    best_checkpoint: Path
    last_checkpoint: Path
    best_val_accuracy: float
    """Accuracy over all validation clips at the best epoch."""
    epochs: int
    seconds: float
    clips_per_second: float
    """Rate of the training steps of this run, without those of a run that it resumed."""
    data_wait_percent: float
    """Share of the time of training steps that was spent waiting for clips."""


class EpochTable(Callback):
    """Writes metrics.csv after each epoch, a row for each; a resumed run keeps the rows of the epochs before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[Mapping[str, Any]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the table, or cut it off where the run goes on."""
        if not trainer.is_global_zero:
            return
        self._rows = []
        if trainer.current_epoch and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                found = (row for row in csv.DictReader(file) if (row.get("epoch") or "").isdecimal())  # whole rows
                self._rows = [row for row in found if int(row["epoch"]) <= trainer.current_epoch]
        self._write()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch's row."""
        figures: dict[str, Any] = {name: f"{float(value):.6g}" for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero:
            return
        self._rows.append(figures | {"epoch": trainer.current_epoch + 1, "step": trainer.global_step})
        self._write()

    def _write(self) -> None:
        with atomic_write(self._path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            table.writeheader()
            table.writerows(self._rows)


class StepCurves(Callback):
    """Logs loss and learning rate of each step of the optimiser, several steps at a time.

    A look at a loss waits for all that is queued on a GPU; it comes as seldom as that of `LossGuard`, and right behind
    it. With several ranks the loss is that of the first one's clips.
    """

    def __init__(self) -> None:
        self._losses: list[Tensor] = []
        """Of the batches since the last step."""
        self._steps: list[tuple[int, Tensor, float]] = []
        """Number, loss and learning rate of steps that are not written yet."""
        self._rate = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the learning rate, which the schedule changes behind the step; of several, the highest."""
        self._rate = max(group["lr"] for group in trainer.optimizers[0].param_groups)
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss, the mean of those of the batches whose gradients were added up."""
        self._losses.append(outputs["mean_loss"])
        if trainer.global_step == self._step:
            return
        self._steps.append((trainer.global_step, torch.stack(self._losses).mean(), self._rate))
        self._losses = []
        if len(self._steps) >= STEPS_BETWEEN_CHECKS:
            self.write(trainer)

    def write(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Write what is noted."""
        steps, self._steps = self._steps, []
        if not steps or not trainer.loggers or not trainer.is_global_zero:
            return
        losses = torch.stack([noted for _number, noted, _rate in steps]).tolist()
        for (number, _loss, rate), loss in zip(steps, losses, strict=True):
            for logger in trainer.loggers:
                logger.log_metrics({"step/loss": loss, "step/learning_rate": rate}, step=number)

    on_train_epoch_end = on_save_checkpoint = on_exception = write


def earlier_result(
    run_folder: Path, resume: Path | None, metadata: ModelMetadata, config: TrainConfig
) -> TrainResult | None:
    """Return the result of this very run, if it has trained to its end and only the export behind that is missing."""
    document, last = read_run(run_folder), run_folder / CHECKPOINTS_FOLDER / LAST
    fields, is_same = document.get("result"), False
    with suppress(*NOT_A_CARD):
        is_same = TrainConfig.from_dict(document["options"]) == config
    if not is_same or fields is None or (resume is not None and resume.resolve() != last.resolve()):
        return None
    paths = {"best_checkpoint": last.with_name(BEST), "last_checkpoint": last}
    with suppress(CheckpointError, TypeError):  # not whole, or of other clips
        for path in paths.values():
            check_resumable(path, metadata, config)
        result = TrainResult(**{**fields, **paths})
        check_types(result)
        return result
    return None


def unfinished_run(
    run_folder: Path, resume: Path | None, metadata: ModelMetadata, config: TrainConfig
) -> tuple[Path | None, bool]:
    """Return from where the run of a folder goes on that has not ended, and whether it begins anew.

    The same command goes on, with `resume` or without it; where no checkpoint was saved, it begins anew. Another
    command finds an earlier run, as ever.
    """
    last = run_folder / CHECKPOINTS_FOLDER / LAST
    if not last.is_file():
        is_other = resume is not None and resume.resolve() != last.resolve()
        return (resume, False) if is_other else (None, True)
    if resume is None:
        with suppress(CheckpointError):
            check_resumable(last, metadata, config)
            return last, False
    return resume, False


@contextmanager
def ending(run_folder: Path) -> Iterator[None]:
    """Write into the record that a run has ended, behind the block; or that it has failed, behind an error."""
    try:
        yield
    except BaseException:
        with suppress(OSError, SignprepError):  # what went wrong before is what the user has to know
            _write_status(run_folder, "failed")
        raise
    _write_status(run_folder, "finished")


def _write_status(run_folder: Path, status: str) -> None:
    write_json(run_folder / RUN, {**read_run(run_folder), "status": status})


@contextmanager
def without_writers_tracebacks() -> Iterator[None]:
    """Keep TensorBoard's thread from printing that a disk is full, which the run then ends with in one line."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not issubclass(arguments.exc_type, OSError):
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def write_run(path: Path, document: Mapping[str, Any]) -> None:
    """Write run.json, whole or not at all. Raises SignprepError if it cannot be written."""
    write_json(path, {"run_version": RUN_VERSION, **document})


def confusion_image(matrix: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the matrix as an image, uint8 [H, H, 3]: rows are correct classes, columns predicted ones."""
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    each = max(1, MATRIX_SIZE // len(matrix))
    # Small shares of a class are mistakes, which the image is about: the root makes them visible.
    pixels = DARK + np.sqrt(shares)[..., None] * (BRIGHT - DARK)
    return pixels.round().astype(np.uint8).repeat(each, axis=0).repeat(each, axis=1)


def confused_table(matrix: NDArray[np.int64], glosses: Sequence[str]) -> str:
    """Return the most frequent mistakes as a table in Markdown."""
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    lines = ["| correct | predicted | times | of |", "|---|---|---|---|"]
    for place in np.argsort(-wrong, axis=None, kind="stable")[:20]:
        row, column = divmod(int(place), len(matrix))
        if wrong[row, column]:
            names = (glosses[number].replace("|", "\\|") for number in (row, column))
            lines.append(f"| {' | '.join(names)} | {wrong[row, column]} | {matrix[row].sum()} |")
    return "\n".join(lines)


def clip_strips(cache: Cache, positions: Sequence[int]) -> NDArray[np.uint8]:
    """Return clips as rows of frames, uint8 [rows, columns, 3]."""
    frames = np.linspace(0, cache.clip_spec.num_frames - 1, min(STRIP_FRAMES, cache.clip_spec.num_frames)).round()
    step = max(1, cache.clip_spec.size // STRIP_SIZE)
    rows = [np.concatenate(cache.rgb(position)[frames.astype(int), ::step, ::step], axis=1) for position in positions]
    return np.concatenate(rows, axis=0)


class ValidationImages(Callback):
    """Adds images of the validation that is the best so far: the confusion matrix and mistaken clips."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._best = -1.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the images if this is the best epoch so far."""
        assert isinstance(pl_module, SignClassifier)
        validation = pl_module.validation
        pictures = Pictures(trainer)
        if validation is None or not pictures or not trainer.is_global_zero:
            return
        accuracy = validation.figures()["accuracy"]
        if accuracy <= self._best:
            return
        self._best = accuracy
        glosses, matrix = self._cache.vocabulary.glosses, validation.confusion()
        pictures.add("val/confusion", confusion_image(matrix), "val/confused", confused_table(matrix, glosses))
        mistaken = validation.mistaken()[:STRIP_CLIPS]
        if not len(mistaken):
            return
        positions = [int(position) for position in validation.positions[mistaken]]
        lines = [
            f"{row}. {glosses[validation.labels[place]]} was taken for {glosses[validation.predicted[place]]} "
            f"({validation.confidence[place]:.2f}): {self._cache.segment_id(position)}"
            for row, (place, position) in enumerate(zip(mistaken, positions, strict=True), start=1)
        ]
        pictures.add("val/mistaken", clip_strips(self._cache, positions), "val/mistaken", "\n".join(lines))
