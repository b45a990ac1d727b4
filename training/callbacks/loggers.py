"""Where a run's curves go besides metrics.csv: TensorBoard, a table of all steps, Weights & Biases, MLflow.

In: names of loggers and the run's folder. Out: Lightning's loggers, which write into that folder unless the
environment names a server. Only the first process of a run has any but TensorBoard's.
"""

import csv
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from numpy.typing import NDArray

from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.text import first_line, json_text
from signprep.training.callbacks.checkpoints import LOGS_FOLDER
from signprep.training.config import CSV, MLFLOW, TENSORBOARD, WANDB
from signprep.training.runtime.launch import Launch

TABLE_FOLDER = "csv_logs"
PROJECT = "signprep"
"""The project of Weights & Biases, and the experiment of MLflow, unless WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME says
otherwise."""
WITHOUT_SERVER = {
    WANDB: "`wandb login` lets this machine in, WANDB_MODE=offline writes to the run's folder",
    MLFLOW: "without MLFLOW_TRACKING_URI it writes to the run's folder, which takes mlflow, not mlflow-skinny alone",
}

Log = Callable[[str], None]


class _TableWriter(ExperimentWriter):
    """Lightning's writer, which goes on with a table instead of removing it."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.metrics_keys = list(csv.DictReader(file).fieldnames or [])


class _MLFlow(MLFlowLogger):
    """Lightning's logger, for which a server that is gone for a while ends no training."""

    def __init__(self, log: Log, **options: Any) -> None:
        super().__init__(**options)
        self._tell, self._is_gone = log, False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log, unless the server has failed before; say so the first time."""
        with self._unless_gone() as is_there:
            if is_there:
                super().log_metrics(metrics, step)

    def add_picture(self, name: str, image: NDArray[np.uint8], text_name: str, text: str) -> None:
        """Keep an image and a text as files of the run, in place of earlier ones."""
        with self._unless_gone() as is_there:
            if is_there:
                self.experiment.log_image(self.run_id, image, f"{name}.png")
                self.experiment.log_text(self.run_id, text, text_name)

    @contextmanager
    def _unless_gone(self) -> Iterator[bool]:
        from mlflow.exceptions import MlflowException

        try:
            yield not self._is_gone
        except MlflowException as error:
            self._is_gone = True
            self._tell(f"warning: MLflow gets no more of this run ({first_line(error)}); metrics.csv has its epochs")

    def finalize(self, status: str = "success") -> None:
        """Leave the end to `RunLoggers`, which knows what came of the run."""


class RunLoggers:
    """The loggers of one run."""

    def __init__(self, names: Sequence[str], folder: Path, *, next_step: int | None, known: object, log: Log) -> None:
        """Make them; `known` is the record of an earlier process of the run, which goes on with `next_step`."""
        self._folder, self._next_step, self._log = folder, next_step, log
        known = known if next_step is not None and isinstance(known, dict) else {}
        self._ids: dict[str, str] = {name: value for name, value in known.items() if isinstance(value, str)}
        makers = {TENSORBOARD: self._tensorboard, CSV: self._table, WANDB: self._wandb, MLFLOW: self._mlflow}
        is_first = Launch.of_environment().is_first
        self.names, self.all = tuple(dict.fromkeys(names)), list[Logger]()
        for name in self.names:
            if is_first or name == TENSORBOARD:
                with _errors_of(name):
                    self.all.append(makers[name]())

    def _tensorboard(self) -> Logger:
        return TensorBoardLogger(
            str(self._folder), name=LOGS_FOLDER, version="", default_hp_metric=False, purge_step=self._next_step
        )

    def _table(self) -> Logger:
        return CSVLogger(self._folder, name=TABLE_FOLDER, version="", flush_logs_every_n_steps=1)

    def _wandb(self) -> Logger:
        self._ids.setdefault(WANDB, os.environ.get("WANDB_RUN_ID") or uuid4().hex[:8])
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        return WandbLogger(name=self._folder.name, save_dir=self._folder, project=project, id=self._ids[WANDB])

    def _mlflow(self) -> Logger:
        folder, uri = self._folder.resolve(), os.environ.get("MLFLOW_TRACKING_URI")
        return _MLFlow(
            self._log,
            experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
            run_name=self._folder.name,
            tracking_uri=uri or f"sqlite:///{folder / 'mlflow.db'}",
            artifact_location=None if uri else (folder / "mlflow_artifacts").as_uri(),
            run_id=self._ids.get(MLFLOW),
        )

    @property
    def record(self) -> dict[str, str | None]:
        """Return for the run's record the names of the loggers, each with the id that its server knows the run by."""
        return {name: self._ids.get(name) for name in self.names}

    def start(self, document: Mapping[str, Any]) -> None:
        """Begin to log, or go on.

        Args:
            document: of the run, whose values become hyperparameters.

        Raises:
            TrainingError: a server is not there, or does not let this user in.
        """
        hyperparameters = _hyperparameters(document)
        for logger in self.all:
            if isinstance(logger, CSVLogger):
                self._start_table(logger, hyperparameters)
            elif isinstance(logger, WandbLogger):
                with _errors_of(WANDB), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    logger.log_hyperparams(hyperparameters)
            elif isinstance(logger, _MLFlow):
                with _errors_of(MLFLOW):
                    self._start_mlflow(logger, hyperparameters)

    def _start_table(self, logger: CSVLogger, hyperparameters: dict[str, Any]) -> None:
        """Take back the rows behind the checkpoint that the run goes on from; of another run, take back all."""
        path = Path(logger.log_dir) / ExperimentWriter.NAME_METRICS_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = [row for row in reader if _is_before(row.get("step"), self._next_step)]
            with atomic_write(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, reader.fieldnames or ["step"], extrasaction="ignore")
                table.writeheader()
                table.writerows(rows)
        logger._experiment = _TableWriter(log_dir=logger.log_dir)
        logger.log_hyperparams(hyperparameters)
        logger.experiment.save()

    def _start_mlflow(self, logger: _MLFlow, hyperparameters: dict[str, Any]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            logger.experiment  # noqa: B018  (which begins the run)
        except MlflowException:
            if MLFLOW not in self._ids:
                raise
            self._log(f"MLflow does not know the run {self._ids.pop(MLFLOW)}: it gets a new one")
            logger._run_id = None
        run_id = self._ids[MLFLOW] = str(logger.run_id)
        client = logger.experiment
        client.update_run(run_id, status="RUNNING")
        there = client.get_run(run_id).data.params  # which MLflow lets nobody change
        flat = {name: value for name, value in _flat(hyperparameters).items() if name not in there}
        logger.log_hyperparams(flat)

    def end(self, status: str, best_accuracy: float | None, document: Mapping[str, Any]) -> None:
        """Tell the loggers what came of the run. Raises OSError where a file cannot be written."""
        for logger in self.all:
            if isinstance(logger, TensorBoardLogger):
                if best_accuracy is not None:
                    _end_tensorboard(logger, best_accuracy, document)
            elif isinstance(logger, WandbLogger):
                if logger._experiment is not None:
                    if best_accuracy is not None:
                        logger.experiment.summary["best/val_accuracy"] = best_accuracy
                    logger.experiment.finish(exit_code=0 if status == "finished" else 1)
            elif isinstance(logger, _MLFlow) and logger._initialized:
                self._end_mlflow(logger, status, best_accuracy)

    def _end_mlflow(self, logger: _MLFlow, status: str, best_accuracy: float | None) -> None:
        from mlflow.exceptions import MlflowException

        if best_accuracy is not None:
            logger.log_metrics({"best/val_accuracy": best_accuracy})
        try:
            words = {"finished": "FINISHED", "stopped": "KILLED"}
            logger.experiment.set_terminated(str(logger.run_id), words.get(status, "FAILED"))
        except MlflowException as error:
            self._log(f"warning: MLflow does not know that this run has ended ({first_line(error)})")


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Turn what a logger says when it begins into a TrainingError."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] != name:
            raise
        raise TrainingError(
            f"--logger {name} cannot begin ({first_line(error):.300}); {WITHOUT_SERVER.get(name, '')}"
        ) from error


def _end_tensorboard(logger: TensorBoardLogger, best_accuracy: float, document: Mapping[str, Any]) -> None:
    """Add the run to TensorBoard's table of options."""
    try:
        options = {"model": document["model"], **document["options"]}
        logger.log_hyperparams(options, {"best/val_accuracy": best_accuracy})
        logger.experiment.close()  # which the line above has opened again: its thread would go on writing
    except ValueError as error:
        if isinstance(error.__cause__, OSError):  # Lightning wraps what it meets
            raise error.__cause__ from error
        raise


def _hyperparameters(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what run.json says of a run, with numbers in place of long lists."""
    cache = {name: value for name, value in document["cache"].items() if name != "glosses"}
    options = {
        name: json_text(value, indent=None) if name == "flip_map" and value else value
        for name, value in document["options"].items()
    }
    return {**document, "cache": {**cache, "classes": len(document["cache"]["glosses"])}, "options": options}


def _flat(document: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested values under names such as `model/name`, as MLflow takes them."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        found |= _flat(value, f"{above}{name}/") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return found


def _is_before(step: str | None, next_step: int | None) -> bool:
    return next_step is not None and (step or "").isdecimal() and int(step or 0) < next_step


class Pictures:
    """Sends pictures with their texts to the loggers of a trainer that show any."""

    def __init__(self, trainer: Trainer) -> None:
        self._loggers = [each for each in trainer.loggers if not isinstance(each, CSVLogger)]
        self._epoch, self._step = trainer.current_epoch + 1, trainer.global_step

    def __bool__(self) -> bool:
        return bool(self._loggers)

    def add(self, name: str, image: NDArray[np.uint8], text_name: str, text: str) -> None:
        """Add an image, uint8 [H, W, 3], and a text in Markdown."""
        for logger in self._loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(name, image, self._epoch, dataformats="HWC")
                logger.experiment.add_text(text_name, text, self._epoch)
            elif isinstance(logger, WandbLogger):
                logger.log_image(name, [image], step=self._step, caption=[text])
            elif isinstance(logger, _MLFlow):
                logger.add_picture(name, image, f"{text_name}.md", text)
