"""One training run: from a cache to best.ckpt, last.ckpt and TensorBoard logs.

OUTPUT_DIR/EXPERIMENT_NAME/checkpoints/       best.ckpt (by validation accuracy), last.ckpt
OUTPUT_DIR/EXPERIMENT_NAME/tensorboard_logs/  for `tensorboard --logdir`
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import signprep.training.torchvision_operators  # noqa: F401  (before lightning)

from lightning import LightningModule, Trainer, seed_everything  # isort: skip
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, RichProgressBar  # isort: skip
from lightning.pytorch.loggers import TensorBoardLogger  # isort: skip

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import TrainingError
from signprep.pipeline.splits import leaks
from signprep.training.classifier import ModelCard, SignClassifier
from signprep.training.config import TrainConfig
from signprep.training.loader import ClipLoader
from signprep.training.model_spec import ModelSpec, parameter_counts

BEST, LAST = "best.ckpt", "last.ckpt"
CHECKPOINTS_FOLDER, LOGS_FOLDER = "checkpoints", "tensorboard_logs"


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What came of a run."""

    best_checkpoint: Path
    last_checkpoint: Path
    best_val_accuracy: float
    """Of all validation clips, at the best epoch."""
    epochs: int
    seconds: float


def split_positions(cache: Cache, report: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions to train on and to validate on.

    Raises:
        TrainingError: a split is empty, there is one gloss only, or a take or a video is in both splits.
    """
    train, val = cache.positions("train"), cache.positions("val")
    for name, positions in (("train", train), ("val", val)):
        if not len(positions):
            raise TrainingError(
                f"{cache.path}: has no clips in its split {name!r}; build it from data of at least two signers or takes"
            )
    if len(np.unique(cache.labels()[train])) < 2:
        raise TrainingError(f"{cache.path}: its training clips are all of one gloss; there is nothing to tell apart")
    columns = [cache.index[name].cast(pa.string()).to_pylist() for name in ("split", "take", "video_hash", "signer")]
    found = leaks(zip(*columns, strict=True))
    forbidden = [str(leak) for leak in found if leak.forbidden]
    if forbidden:
        raise TrainingError(f"{cache.path}: training and validation overlap: {'; '.join(forbidden)}")
    for leak in found:
        report(f"take care, accuracy will not tell of new people: {leak}")
    return train, val


def train(
    cache: Cache,
    spec: ModelSpec,
    config: TrainConfig,
    run_folder: Path,
    *,
    gpus: int = 0,
    report: Callable[[str], None] = print,
) -> TrainResult:
    """Train a model on a cache's training split and keep the checkpoint that validates best.

    Args:
        cache: open, finished.
        spec: of the model.
        config: options.
        run_folder: gets checkpoints and logs.
        gpus: how many to use; 0 trains on the CPU.
        report: takes the lines that tell people what is trained on what.

    Raises:
        TrainingError: the cache cannot train this model, or the run cannot start.
    """
    train_positions, val_positions = split_positions(cache, report)
    if cache.clip_spec.num_frames < spec.num_frames:
        raise TrainingError(
            f"{cache.path}: stores {cache.clip_spec.num_frames} frames a clip but {spec.name} needs {spec.num_frames}; "
            f"build a cache with --frames {spec.num_frames}, or train with --num-frames {cache.clip_spec.num_frames}"
        )
    seed_everything(config.seed, verbose=False)
    card = ModelCard(
        model_spec=spec,
        clip_spec=cache.clip_spec,
        vocabulary=cache.vocabulary,
        cache_fingerprint=cache.fingerprint,
    )
    classifier = SignClassifier(card, config)
    for line in _header(cache, classifier, len(train_positions), len(val_positions)):
        report(line)
    shared: dict[str, Any] = {"num_workers": config.num_workers, "pin_memory": config.pin_memory and gpus > 0}
    train_loader = ClipLoader(
        cache=cache, positions=train_positions, batch_size=config.batch_size, shuffle=True, seed=config.seed, **shared
    )
    val_loader = ClipLoader(cache=cache, positions=val_positions, batch_size=config.batch_size, **shared)
    started = time.monotonic()
    trainer = _trainer(config, run_folder, gpus)
    trainer.fit(classifier, train_loader, val_loader)
    if trainer.interrupted:
        raise KeyboardInterrupt
    checkpoints = trainer.checkpoint_callback
    assert isinstance(checkpoints, ModelCheckpoint) and checkpoints.best_model_score is not None
    return TrainResult(
        best_checkpoint=run_folder / CHECKPOINTS_FOLDER / BEST,
        last_checkpoint=run_folder / CHECKPOINTS_FOLDER / LAST,
        best_val_accuracy=float(checkpoints.best_model_score),
        epochs=config.epochs,
        seconds=time.monotonic() - started,
    )


def _header(cache: Cache, classifier: SignClassifier, num_train: int, num_val: int) -> list[str]:
    spec, config = classifier.card.model_spec, classifier.config
    total, trainable = parameter_counts(classifier.model)
    glosses = list(cache.vocabulary.glosses)
    shown = str(glosses[:20])[:-1] + (f", ... {len(glosses) - 20} more]" if len(glosses) > 20 else "]")
    return [
        f"cache: {cache.path}",
        f"training clips: {num_train}, validation clips: {num_val}",
        f"classes: {len(glosses)}",
        f"class list: {shown}",
        f"model: {spec.name}, {spec.num_frames} frames of {spec.crop_size} x {spec.crop_size}",
        f"   parameters: {total:,}",
        f"   trainable parameters: {trainable:,}",
        f"batch size: {config.batch_size}, epochs: {config.epochs}",
    ]


def _trainer(config: TrainConfig, run_folder: Path, gpus: int) -> Trainer:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning speaks of its own DataLoader options, which are not ours, and of its own internals.
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
    folder = run_folder / CHECKPOINTS_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be written ({error.strerror}); choose another --output-dir") from error
    checkpoints = ModelCheckpoint(
        dirpath=folder, filename="best", monitor="val/accuracy", mode="max", save_last=True,
        enable_version_counter=False,
    )  # fmt: skip
    bar = RichProgressBar() if sys.stderr.isatty() else EpochLines()
    return Trainer(
        max_epochs=config.epochs,
        accelerator="gpu" if gpus else "cpu",
        devices=gpus or 1,
        precision=config.precision,  # type: ignore[arg-type]
        logger=TensorBoardLogger(str(run_folder), name=LOGS_FOLDER, version=""),
        callbacks=[checkpoints, bar],
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )


class EpochLines(Callback):
    """A line an epoch on stderr, where there is no terminal for a bar."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's figures."""
        seconds = time.monotonic() - self._started
        metrics = ", ".join(f"{name} {float(value):.3f}" for name, value in sorted(trainer.logged_metrics.items()))
        print(  # noqa: T201
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}: {metrics}, {seconds:.1f} s",
            file=sys.stderr,
            flush=True,
        )
