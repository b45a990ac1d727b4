"""The predictions of the best validation, and the report of the run, which is made of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.text import first_line
from signprep.training.model.classifier import SignClassifier, Validation
from signprep.training.report.answers import Answers
from signprep.training.report.page import write_run_report
from signprep.training.runtime.run_folder import REPORT

_TYPES = {
    "positions": torch.int32,
    "labels": torch.int32,
    "predicted": torch.int32,
    "ranks": torch.int32,
    "confidence": torch.float32,
}
"""Columns of a validation that checkpoints keep, 20 bytes a clip, so that a run that goes on has them still."""


class BestValidation(Callback):
    """Keeps the predictions of the best epoch, whose weights best.ckpt has: the first one of the highest accuracy."""

    def __init__(self) -> None:
        self.epoch = 0
        """The epoch that they are of, from 1 on; 0 before the first validation."""
        self._columns: dict[str, torch.Tensor] = {}
        self._accuracy = -1.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the predictions if this is the best epoch so far."""
        assert isinstance(pl_module, SignClassifier)
        if pl_module.validation is None:
            return
        accuracy = pl_module.validation.figures()["accuracy"]
        if accuracy > self._accuracy:
            self._accuracy, self.epoch = accuracy, trainer.current_epoch + 1
            self._columns = _columns(pl_module.validation)

    def answers(self, cache: Cache) -> Answers | None:
        """Return the predictions for clips of this cache; None before the first validation."""
        if not self._columns:
            return None
        columns = {name: column.numpy() for name, column in self._columns.items()}
        integers = {name: columns[name].astype("int64") for name in ("positions", "labels", "predicted", "ranks")}
        return Answers.of(cache, cache.vocabulary.glosses, **integers, confidence=columns["confidence"])

    def write_report(self, run_folder: Path, cache: Cache, seconds: float, log: Callable[[str], None]) -> None:
        """Write the report of a run that took so many seconds; where that fails, say so: no run fails by its report."""
        try:
            write_run_report(run_folder, cache, self.answers(cache), epoch=self.epoch, seconds=seconds)
            log(f"report: {run_folder / REPORT}")
        except Exception as error:
            told = (
                f"{type(error).__name__}: {first_line(error)}" if not isinstance(error, SignprepError) else str(error)
            )
            log(f"{run_folder / REPORT}: was not written ({told})")

    def state_dict(self) -> dict[str, Any]:
        """Return what a run that goes on needs."""
        return {"epoch": self.epoch, "accuracy": self._accuracy, "columns": dict(self._columns)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the predictions from before the run went on."""
        self.epoch, self._accuracy = state_dict["epoch"], state_dict["accuracy"]
        self._columns = {name: state_dict["columns"][name].cpu() for name in _TYPES if name in state_dict["columns"]}


def _columns(validation: Validation) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(getattr(validation, name)).to(type_) for name, type_ in _TYPES.items()}
