"""Clips/s, and progress on stderr: a bar on a terminal, else a line a minute; and a line for each epoch that ended."""

import time
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.progress import say, shows_bars
from signprep.pipeline.runtime.terminal import Terminal
from signprep.training.loader import Batch
from signprep.training.model.datamodule import ClipData

SECONDS_BETWEEN_UPDATES = 0.5
"""Time between two looks at loss and accuracy: on a GPU, each look waits for all queued work."""
SECONDS_BETWEEN_LINES = 60.0
"""Time between two lines within an epoch, where there is no terminal."""


class Throughput(Callback):
    """Logs clips/s and the share of the training time that was spent waiting for clips, epoch by epoch."""

    def __init__(self, data: ClipData) -> None:
        self._data = data
        self._started, self._waited_before, self._num_clips = 0.0, 0.0, 0
        self.total_seconds, self.total_wait_seconds, self.total_clips = 0.0, 0.0, 0
        """Sums over the training steps of this run, without validation."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._started, self._waited_before, self._num_clips = time.perf_counter(), self._data.wait_seconds, 0

    on_train_start = on_train_epoch_start  # a run that goes on within an epoch does not begin that one anew

    def rates(self) -> tuple[float, float]:
        """Return clips/s and the percentage of waiting in this epoch so far."""
        seconds = max(1e-9, time.perf_counter() - self._started)
        return self._num_clips / seconds, 100 * (self._data.wait_seconds - self._waited_before) / seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count; at the last batch, before validation, log."""
        self._num_clips += len(batch) * trainer.world_size
        if not trainer.is_last_batch:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        clips_per_second, wait_percent = self.rates()
        figures = {
            "train/clips_per_second": clips_per_second,
            "train/data_wait_percent": wait_percent,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
        }
        pl_module.log_dict(figures, on_step=False, on_epoch=True, batch_size=1)
        self.total_seconds += time.perf_counter() - self._started
        self.total_wait_seconds += self._data.wait_seconds - self._waited_before
        self.total_clips += self._num_clips


class EpochProgress(Callback):
    """Shows loss, accuracy, clips/s and the share of waiting."""

    def __init__(self, throughput: Throughput, num_classes: int) -> None:
        self._throughput, self._num_classes = throughput, num_classes
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._updated = self._started = time.monotonic()
        self._correct, self._clips = torch.zeros(()), 0
        """Counts of this epoch on this rank: to ask the others at every step would take time."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar; a run that goes on within an epoch does not begin that one anew."""
        self._begin(pl_module)
        if not (trainer.is_global_zero and shows_bars()):
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._bar = Progress(*columns, console=Terminal(stderr=True))
        self._task = self._bar.add_task("", total=None, figures="")
        self._bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin an epoch."""
        self._begin(pl_module)
        if self._bar is not None:
            total = trainer.num_training_batches
            self._bar.reset(self._task, total=total, description=translated(_epoch_of(trainer)), figures="")

    def _begin(self, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._correct, self._clips = torch.zeros((), device=pl_module.device), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Move on by a batch; show its figures now and then."""
        if not trainer.is_global_zero:
            return
        self._correct += outputs["correct"]
        self._clips += len(batch)
        now, total = time.monotonic(), trainer.num_training_batches
        since = now - self._updated
        if self._bar is None:
            if since > SECONDS_BETWEEN_LINES and not trainer.is_last_batch:  # whose epoch has a line of its own
                self._updated = now
                say(f"{_epoch_of(trainer)}, batch {batch_idx + 1}/{total}: {self._figures(outputs)}")
            return
        self._bar.update(self._task, completed=batch_idx + 1, total=total)
        if since > SECONDS_BETWEEN_UPDATES or trainer.is_last_batch:
            self._updated = now
            self._bar.update(self._task, figures=translated(self._figures(outputs)))

    def _figures(self, outputs: Any) -> str:
        clips_per_second, wait_percent = self._throughput.rates()
        accuracy = float(self._correct) / self._clips
        loss = f"loss {float(outputs['mean_loss']):.3f}, accuracy {accuracy:.3f}"
        return f"{loss}, {clips_per_second:.1f} clips/s, wait {wait_percent:.1f} %"

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the bar of a validation."""
        if self._bar is not None:
            self._bar.reset(
                self._task, description=translated("validation"), figures="", total=sum(trainer.num_val_batches)
            )

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Move on by a batch."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's line."""
        self._updated = time.monotonic()
        # All ranks look, because to look is to gather what the others have.
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if not trainer.is_global_zero:
            return
        # Among five classes or fewer, every prediction is among the first five.
        five = f"top-5 {figures['val/top5_accuracy']:.3f}, " if self._num_classes > 5 else ""
        say(
            f"{_epoch_of(trainer)}: loss {figures['train/loss']:.3f}, accuracy {figures['train/accuracy']:.3f}; "
            f"validation: loss {figures['val/loss']:.3f}, accuracy {figures['val/accuracy']:.3f}, "
            f"{five}by class {figures['val/mean_class_accuracy']:.3f}; "
            f"{figures['train/clips_per_second']:.1f} clips/s, wait {figures['train/data_wait_percent']:.1f} %, "
            f"{time.monotonic() - self._started:.1f} s"
        )

    def teardown(self, *_: Any, **__: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.update(self._task, visible=False)
            self._bar.stop()
            self._bar = None

    on_exception = teardown


def _epoch_of(trainer: Trainer) -> str:
    return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
