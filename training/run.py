"""One training run: from a cache to the checkpoints, logs and record that callbacks/checkpoints.py lists."""

import logging
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401

from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping

from signprep.cache_builder import as_cache
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.streaming import StreamedCache
from signprep.pipeline.errors import CheckpointError, StoppedError, TrainingError
from signprep.pipeline.options import require_type
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import first_line, printable
from signprep.training.callbacks.averaging import MovingAverage
from signprep.training.callbacks.best_validation import BestValidation
from signprep.training.callbacks.checkpoints import (
    AtomicCheckpointIO,
    BestCheckpoint,
    BestEpochs,
    LossGuard,
    SaveLast,
    StopRequested,
    held,
    prepare_folder,
    remove_earlier_run,
    require_own,
)
from signprep.training.callbacks.header import header
from signprep.training.callbacks.loggers import RunLoggers
from signprep.training.callbacks.profile import StepProfile
from signprep.training.callbacks.progress import EpochProgress, Throughput
from signprep.training.callbacks.record import (
    EpochTable,
    StepCurves,
    TrainResult,
    ValidationImages,
    earlier_result,
    ending,
    unfinished_run,
    versions,
    without_writers_tracebacks,
    write_run,
)
from signprep.training.config import TENSORBOARD, Devices, Recipe, TrainConfig
from signprep.training.data.epoch_order import WINDOW_CLIPS, BatchPlan
from signprep.training.model.checkpoint import ModelMetadata, check_resumable, precision_of
from signprep.training.model.classifier import SignClassifier
from signprep.training.model.datamodule import (
    ClipData,
    balanced_class_weights,
    frame_spacing,
    require_clips_for,
    split_positions,
)
from signprep.training.model.pretrained import load_own_weights, prepare_model
from signprep.training.model.recipe import Begun, settled
from signprep.training.model_spec import ModelSpec, load_function, parameter_counts
from signprep.training.model_spec.bfloat16 import require_sound_bfloat16, with_sound_convolutions
from signprep.training.runtime.device import resolved, switches_set
from signprep.training.runtime.memory import is_out_of_memory, keep_freed_memory, out_of_memory
from signprep.training.runtime.run_folder import BEST, CHECKPOINTS_FOLDER, LAST, METRICS, RUN, did_not_end, read_run

MONITORED = "val/accuracy"


def _tell(line: str) -> None:
    print(printable(translated(line)))  # noqa: T201


def train(
    cache: Cache | StrPath,
    spec: ModelSpec,
    config: TrainConfig,
    run_folder: StrPath,
    *,
    devices: Devices = Devices(),
    resume: StrPath | None = None,
    overwrite: bool = False,
    more_follows: bool = False,
    profile: bool = False,
    recipe: Recipe | None = None,
    command: Mapping[str, Any] | None = None,
    loggers: Sequence[str] = (TENSORBOARD,),
    log: Callable[[str], None] = _tell,
) -> TrainResult:
    """Train a model on a cache's training split and keep the checkpoint that validates best.

    Args:
        cache: open, or its path or URL.
        spec: the model and its input.
        config: options.
        run_folder: gets checkpoints, logs and the record.
        devices: GPUs or processes to train on.
        resume: the checkpoint to go on from, its last.ckpt.
        overwrite: take the place of a run that is there already.
        more_follows: let the record say that the run has not ended, until the caller's `ending` says so.
        profile: measure where the time of steps goes, say it, and write a trace of some.
        recipe: replace those values of `spec` and `config` that it sets and that were not given; None takes all as
            they are.
        command: the options of a command line that asked for it, for the record.
        loggers: where curves go besides metrics.csv: some of tensorboard, csv, wandb and mlflow.
        log: takes the lines that tell people what is trained on what.

    Raises:
        TrainingError: the cache cannot train this model, the run cannot start or go on, or its loss is no number.
        StoppedError: it was asked to stop; its checkpoint is saved.
        CheckpointError: weights to begin or go on with do not load or do not fit.
    """
    run_folder = as_path(run_folder)
    resume = None if resume is None else as_path(resume)
    cache = as_cache(cache)
    for name, value, kind in (("spec", spec, ModelSpec), ("config", config, TrainConfig)):
        require_type(name, value, kind)
    train_positions, val_positions = split_positions(cache, log)
    goes_on, taken = resume is not None or (not overwrite and did_not_end(run_folder)), None
    if recipe is not None:
        begun = Begun.at(resume or run_folder / CHECKPOINTS_FOLDER / LAST) if goes_on else None
        step_clips = config.batch_size * devices.num_ranks * config.accumulate_batches
        clips_shown = config.epochs * len(train_positions)
        spec, config, taken = settled(recipe, spec, config, step_clips=step_clips, clips_shown=clips_shown, begun=begun)
    require_clips_for(cache, spec)
    if len(train_positions) < devices.num_ranks:
        raise TrainingError(
            f"{cache}: has {len(train_positions)} training clips for {devices.num_ranks} processes; use fewer devices"
        )
    if config.sync_batchnorm and not devices.gpus:
        raise TrainingError("--sync-batchnorm is for GPUs: torch has no such norms on a CPU; leave it out")
    if isinstance(cache, StreamedCache):
        cache.require_room(len(cache) if config.balanced_sampling else WINDOW_CLIPS)
    metadata = ModelMetadata(
        model_spec=spec,
        clip_spec=cache.clip_spec,
        vocabulary=cache.vocabulary,
        cache_fingerprint=cache.fingerprint,
    )
    augment = load_function(config.augment, "augmentation") if config.augment else None
    before = precision_of(resume or run_folder / CHECKPOINTS_FOLDER / LAST) if goes_on and devices.gpus else None
    config = resolved(config, devices, content=spec.content, earlier_precision=before)
    if not overwrite and did_not_end(run_folder):
        earlier = earlier_result(run_folder, resume, metadata, config)
        if earlier is not None:
            log(f"{run_folder}: was trained to its end before")
            with nullcontext() if more_follows else ending(run_folder):
                return earlier
        resume, overwrite = unfinished_run(run_folder, resume, metadata, config)
    if resume is not None:
        require_own(resume, run_folder)
        contents = check_resumable(resume, metadata, config)
    prepare_folder(run_folder, replace=overwrite or resume is not None)
    if not devices.gpus:
        keep_freed_memory()
    seed_everything(config.seed, verbose=False)
    model, pretrained_spacing = prepare_model(spec, config, cache.vocabulary)
    if resume is not None:
        load_own_weights(model, spec, contents, str(resume))
    if config.precision == "bf16-mixed" and not devices.gpus:
        require_sound_bfloat16(with_sound_convolutions(model), spec.name, spec.input_shape)
    plan = BatchPlan(num_clips=len(train_positions), batch_size=config.batch_size, num_ranks=devices.num_ranks)
    classifier = SignClassifier(
        metadata,
        config,
        model,
        total_steps=config.epochs * -(-len(plan) // config.accumulate_batches),
        class_weights=balanced_class_weights(cache, train_positions) if config.class_weights == "balanced" else None,
        augment=augment,
        taken=taken,
        frame_spacing=frame_spacing(cache, train_positions, spec.num_frames),
    )
    if resume is not None:
        log(f"going on from {resume}")
    for line in header(cache, classifier, train_positions, val_positions, devices, pretrained_spacing):
        log(line)
    data = ClipData(cache, spec, config, train=train_positions, val=val_positions)
    next_step = None if resume is None else int(contents["global_step"]) + 1
    run = _Run(run_folder, classifier, data, cache, devices, log, more_follows, profile, next_step, command, loggers)
    return run.fit(resume, overwrite=overwrite)


@dataclass
class _Run:
    """A trainer with all that it needs, from its start to its record."""

    folder: Path
    classifier: SignClassifier
    data: ClipData
    cache: Cache
    devices: Devices
    log: Callable[[str], None]
    more_follows: bool
    profile: bool
    next_step: int | None
    """The step that a run goes on with: what an earlier process has logged of it and later ones is taken back."""
    command: Mapping[str, Any] | None
    loggers: Sequence[str]

    def __post_init__(self) -> None:
        self._checkpoints = self.folder / CHECKPOINTS_FOLDER
        self._throughput = Throughput(self.data)
        self._best_validation = BestValidation()
        self._save_last = SaveLast(self._checkpoints / LAST, self.classifier.config.save_minutes, self.log)
        self._best = self._best_checkpoints(BestCheckpoint, filename="best", enable_version_counter=False)
        known = read_run(self.folder).get("loggers")
        self._loggers = RunLoggers(self.loggers, self.folder, next_step=self.next_step, known=known, log=self.log)
        self._trainer = self._make_trainer()

    def _write_run(self, **outcome: Any) -> None:
        """Write run.json: everything that the run was given, and its outcome up to now."""
        write_run(self.folder / RUN, self._document() | {"loggers": self._loggers.record} | outcome)

    def _document(self) -> dict[str, Any]:
        """Return everything that the run was given."""
        cache = self.cache
        document: dict[str, Any] = {
            "options": self.classifier.config.to_dict(),
            "recipe": None if self.classifier.taken is None else self.classifier.taken.to_dict(),
            "model": self.classifier.metadata.model_spec.to_dict(),
            "parameters": dict(zip(("all", "trainable"), parameter_counts(self.classifier.model), strict=True)),
            "cache": {
                "path": str(cache),
                "fingerprint": cache.fingerprint,
                "clip_spec": cache.clip_spec.to_dict(),
                "glosses": list(cache.vocabulary.glosses),
            },
            "devices": str(self.devices),
            "versions": versions(),
        }
        if self.command is not None:
            document["command"] = {"name": "train", "options": dict(self.command)}
        return document

    def fit(self, resume: Path | None, *, overwrite: bool) -> TrainResult:
        """Train to the end, or to where it is stopped."""
        with without_writers_tracebacks(), held(self.folder) if self._trainer.is_global_zero else nullcontext():
            return self._fit(resume, overwrite=overwrite)

    def _fit(self, resume: Path | None, *, overwrite: bool) -> TrainResult:
        started = time.monotonic()
        status = "failed"
        try:
            if self._trainer.is_global_zero:
                if overwrite and resume is None:
                    remove_earlier_run(self.folder)
                self._write_run(status="running")
                self._loggers.start(self._document())
                self._write_run(status="running")
            switched = switches_set(self.classifier.config, self.devices)
            with self._errors_for_users(), self._save_last.signals_restored(), switched, warnings.catch_warnings():
                # Lightning speaks of its own DataLoader options, which are not ours, and of its own internals.
                warnings.filterwarnings("ignore", module="lightning")
                warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
                warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
                self._trainer.fit(self.classifier, datamodule=self.data, ckpt_path=resume, weights_only=True)
            status = "finished"
        except StoppedError:
            status = "stopped"
            raise
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if resume is None or self._save_last.has_started:  # by then nothing is taken from the checkpoint any more
                raise
            raise CheckpointError(
                f"{resume}: no run can go on from it ({type(error).__name__}: {first_line(error)}); "
                f"--pretrained {resume} begins a new one with its weights"
            ) from error
        except OSError as error:  # checkpoints, logs and the record are written as it runs
            raise self._unwritable(error) from error
        finally:
            self.data.close()
            if self._trainer.is_global_zero and status != "finished":
                with suppress(OSError):  # what went wrong before is what the user has to know
                    self._write_run(status=status)
                    self._loggers.end(status, None, {})
                self._write_report(time.monotonic() - started)
        result = self._result(time.monotonic() - started)
        try:
            self._loggers.end(status, result.best_val_accuracy, self._document())
        except OSError as error:
            raise self._unwritable(error) from error
        if self._trainer.is_global_zero:
            paths = {"best_checkpoint": str(result.best_checkpoint), "last_checkpoint": str(result.last_checkpoint)}
            self._write_report(result.seconds)  # first: a run whose result is known has its report
            self._write_run(status="running" if self.more_follows else status, result=vars(result) | paths)
        return result

    def _write_report(self, seconds: float) -> None:
        self._best_validation.write_report(self.folder, self.cache, seconds, self.log)

    def _unwritable(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"{error.filename or self.folder}: cannot be written or read ({error.strerror or error}); the same "
            "command goes on from the last epoch that was saved"
        )

    @contextmanager
    def _errors_for_users(self) -> Iterator[None]:
        """Turn a stop and missing memory into errors that say what to do."""
        try:
            yield
        except (StopRequested, SystemExit) as stop:
            saved = self._save_last.path.is_file()
            how = f"--resume goes on from {self._save_last.path}" if saved else "nothing was saved yet"
            raise StoppedError(f"stopped in epoch {self._trainer.current_epoch + 1}; {how}") from stop
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            spec, batch_size = self.classifier.metadata.model_spec, self.classifier.config.batch_size
            traceback.clear_frames(error.__traceback__)  # they hold the batch that did not fit
            device = self._trainer.strategy.root_device  # the model is back in the computer's memory by now
            model = self.classifier.model.to(device)
            raise out_of_memory(model, spec.name, spec.input_shape, batch_size, device) from error

    def _result(self, seconds: float) -> TrainResult:
        score, trained = self._best.best_model_score, max(1e-9, self._throughput.total_seconds)
        assert score is not None
        return TrainResult(
            best_checkpoint=self._checkpoints / BEST,
            last_checkpoint=self._checkpoints / LAST,
            best_val_accuracy=float(score),
            epochs=self._trainer.current_epoch,
            seconds=seconds,
            clips_per_second=self._throughput.total_clips / trained,
            data_wait_percent=100 * self._throughput.total_wait_seconds / trained,
        )

    def _make_trainer(self) -> Trainer:
        config, devices = self.classifier.config, self.devices
        for name in ("lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.WARNING)
        return Trainer(
            max_epochs=config.epochs,
            accelerator="gpu" if devices.gpus else "cpu",
            devices=devices.per_node,
            num_nodes=devices.num_nodes,
            strategy="ddp" if devices.num_ranks > 1 else "auto",
            precision=config.precision,  # type: ignore[arg-type]
            gradient_clip_val=config.gradient_clip,
            accumulate_grad_batches=config.accumulate_batches,
            deterministic=config.deterministic,
            sync_batchnorm=config.sync_batchnorm and devices.num_ranks > 1,
            logger=self._loggers.all,
            plugins=[AtomicCheckpointIO()],
            callbacks=self._callbacks(),
            enable_model_summary=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            log_every_n_steps=10,
        )

    def _callbacks(self) -> list[Callback]:
        """Return them in the order in which Lightning calls them."""
        config = self.classifier.config
        callbacks: list[Callback] = [LossGuard(self.cache)]
        if config.ema_decay:
            callbacks.append(MovingAverage(config.ema_decay))
        callbacks += [
            self._throughput,
            EpochProgress(self._throughput, len(self.cache.vocabulary)),
            StepCurves(),
            EpochTable(self.folder / METRICS),
            self._best_validation,
            ValidationImages(self.cache),
        ]
        if config.early_stopping is not None:
            callbacks.append(EarlyStopping(MONITORED, mode="max", patience=config.early_stopping))
        callbacks.append(self._save_last)
        if config.save_top_k > 1:
            name = "epoch{epoch:03d}-accuracy{val/accuracy:.3f}"
            options = {"save_top_k": config.save_top_k, "auto_insert_metric_name": False}
            callbacks.append(self._best_checkpoints(BestEpochs, filename=name, **options))
        callbacks.append(self._best)
        measured = StepProfile(self.folder, self.data, self.log)
        return [measured, *callbacks, measured.last] if self.profile else callbacks

    def _best_checkpoints(self, kind: type[BestCheckpoint], **options: Any) -> BestCheckpoint:
        """Return what keeps the best epochs; it decides before last.ckpt is written, which carries what it knows."""
        return kind(dirpath=self._checkpoints, monitor=MONITORED, mode="max", save_on_train_epoch_end=False, **options)
