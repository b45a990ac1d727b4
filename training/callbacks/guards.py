"""Guards of a run: against a loss that is no number, against lost work when it is stopped, against a slow loader.

Order matters: LossGuard comes before anything is saved.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.text import first_of
from signprep.training.loader import Batch
from signprep.training.model.datamodule import ClipData

STEPS_BETWEEN_CHECKS = 16
"""Steps between two looks at the loss on a GPU, or at the other ranks: each look waits for all queued work."""

SHOWN_SEGMENTS = 8

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequested(Exception):  # noqa: N818  (no error: the run was saved and ends)
    """The run was asked to stop; last.ckpt holds all of it."""


class LossGuard(Callback):
    """Stops a run whose loss is no number, and names the clips of the first such batch."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._seen: list[tuple[int, Tensor, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Check the loss, on a GPU several at a time."""
        self._seen.append((batch_idx, outputs["loss"].detach(), batch.positions))
        if pl_module.device.type == "cpu" or len(self._seen) >= STEPS_BETWEEN_CHECKS:
            self.check(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check before the epoch is saved."""
        self.check(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check before anything is saved."""
        self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Raise TrainingError if a loss since the last look was no number."""
        if not self._seen:
            return
        seen, self._seen = self._seen, []
        finite = torch.isfinite(torch.stack([loss for _, loss, _ in seen])).tolist()
        if all(finite):
            return
        batch_idx, loss, positions = seen[finite.index(False)]
        names = [self._cache.segment_id(int(position)) for position in positions]
        shown = first_of(names, SHOWN_SEGMENTS, " and {} more")
        raise TrainingError(
            f"the loss became {float(loss)} in batch {batch_idx + 1} of epoch {trainer.current_epoch + 1}, of the "
            f"clips {shown}; what was saved is from before it. A smaller --learning-rate, --gradient-clip 1 or "
            f"--precision {'bf16-mixed' if trainer.precision == '16-mixed' else '32'} is the usual cure"
        )


class Throughput(Callback):
    """Logs clips/s and the share of the training time that was spent waiting for clips, epoch by epoch."""

    def __init__(self, data: ClipData) -> None:
        self._data = data
        self._started = 0.0
        self._waited_before = 0.0
        self._num_clips = 0
        self.total_seconds = 0.0
        """Time of training steps, without validation."""
        self.total_wait_seconds = 0.0
        self.total_clips = 0

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


class SaveLast(Callback):
    """Writes last.ckpt at the end of each epoch, every `minutes`, and when the run is asked to stop.

    Between two steps nothing is half done: a run that goes on from there takes the very steps it would have taken.
    """

    def __init__(self, path: Path, minutes: float, log: Callable[[str], None]) -> None:
        self.path = path
        self._minutes = minutes
        self._log = log
        self._saved = time.monotonic()
        self.stop_requested = False

    @contextmanager
    def signals_restored(self) -> Iterator[None]:
        """Give signals back to their former handlers when the block ends."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, and listen to signals in place of Lightning, which would stop between any two lines."""
        self._saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in _STOP_SIGNALS:
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Ask for a stop; the second time, interrupt at once."""
        if self.stop_requested:
            raise KeyboardInterrupt
        self.stop_requested = True
        self._log("stopping after this batch, and saving; once more to stop at once")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Save if it is time; not between the batches of one step, and not where validation follows."""
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        # Ranks that trained on while another one stopped would wait for it for ever.
        if trainer.world_size > 1 and batch_idx % STEPS_BETWEEN_CHECKS:
            return
        stop = self._any(trainer, self.stop_requested)
        if stop or self._any(trainer, time.monotonic() - self._saved > 60 * self._minutes):
            self._save(trainer)
        if stop:
            raise StopRequested

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run that was asked to stop during validation or at the end of an epoch."""
        if self._any(trainer, self.stop_requested):
            raise StopRequested

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()

    @staticmethod
    def _any(trainer: Trainer, flag: bool) -> bool:
        return trainer.strategy.reduce_boolean_decision(flag, all=False) if trainer.world_size > 1 else flag
