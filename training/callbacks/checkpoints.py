"""The checkpoints of a run, what guards them, and the folder that they lie in; no run replaces another one unasked.

OUTPUT_DIR/EXPERIMENT_NAME/checkpoints/       best.ckpt (by validation accuracy), last.ckpt
OUTPUT_DIR/EXPERIMENT_NAME/tensorboard_logs/  for `tensorboard --logdir`
OUTPUT_DIR/EXPERIMENT_NAME/metrics.csv        a row an epoch
OUTPUT_DIR/EXPERIMENT_NAME/run.json           options, model, cache, versions, what came of it
OUTPUT_DIR/EXPERIMENT_NAME/report.html        what came of it, to look at; learning_curves.png beside it
OUTPUT_DIR/EXPERIMENT_NAME/profile_trace.json.gz  of --profile
"""

import os
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
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import SignprepError, TrainingError
from signprep.pipeline.runtime.atomic_files import remove_torn
from signprep.pipeline.runtime.text import first_of
from signprep.training.loader import Batch
from signprep.training.model.checkpoint import write_checkpoint
from signprep.training.runtime.run_folder import BEST, CHECKPOINTS_FOLDER, CURVES, LAST, REPORT

EPOCHS, LOGS_FOLDER = "epoch*-accuracy*.ckpt", "tensorboard_logs"
TRACE = "profile_trace.json.gz"
STEPS_BETWEEN_CHECKS = 16
"""Steps between two looks at the loss on a GPU, or at the other ranks: each look waits for all queued work."""
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def require_own(resume: Path, run_folder: Path) -> None:
    """Raise TrainingError for another run's checkpoint: that run's best epochs would be missing in this folder."""
    if resume.resolve().parent != (run_folder / CHECKPOINTS_FOLDER).resolve():
        raise TrainingError(
            f"{resume}: is not of the run in {run_folder}; a run goes on in its own folder: give its --output-dir and "
            f"--experiment-name, or begin a new run with these weights by --pretrained {resume}"
        )


def remove_earlier_run(run_folder: Path) -> None:
    """Remove the checkpoints and logs that this run will not write over, so that nothing is taken for its own."""
    checkpoints = run_folder / CHECKPOINTS_FOLDER
    written = [path for name in (BEST, LAST, EPOCHS) for path in checkpoints.glob(name)]
    seen = [path for name in (TRACE, REPORT, CURVES) for path in run_folder.glob(name)]
    for path in [*written, *(run_folder / LOGS_FOLDER).glob("events.out.*"), *seen]:
        path.unlink()


def prepare_folder(run_folder: Path, *, replace: bool) -> None:
    """Make the folder. Raise TrainingError if it cannot be written, or holds checkpoints that are to be kept."""
    folder = run_folder / CHECKPOINTS_FOLDER
    found = [folder / name for name in (BEST, LAST) if (folder / name).is_file()]
    if found and not replace:
        raise TrainingError(
            f"{found[0]}: is there from an earlier run; --resume goes on with it, --overwrite replaces it, and another "
            "--experiment-name keeps it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be written ({error.strerror}); choose another --output-dir") from error


@contextmanager
def held(run_folder: Path) -> Iterator[None]:
    """Hold the right to train in a folder; what a killed process was writing there is removed.

    The right ends with the process, however that ends. Raises TrainingError if another process holds it.
    """
    lock = _lock_of(run_folder / CHECKPOINTS_FOLDER)
    try:
        for folder in (run_folder, run_folder / CHECKPOINTS_FOLDER):
            remove_torn(folder)
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock_of(folder: Path) -> int | None:
    """Return a descriptor that holds a folder until it is closed; None on systems that cannot lock a folder."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise TrainingError(
            f"{folder}: another process trains there; wait for it, or choose another --experiment-name"
        ) from error
    except OSError:  # a network drive without locks
        pass
    return descriptor


class BestCheckpoint(ModelCheckpoint):
    """Keeps best.ckpt; knows its score even after the run's folder was moved, when Lightning would forget it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of the run that goes on, with the paths that its files have now."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath), Path(path).name)) if path else path

        state = {**state_dict, "dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = here(state[name])
        state["best_k_models"] = {here(path): score for path, score in state["best_k_models"].items()}
        super().load_state_dict(state)


class BestEpochs(BestCheckpoint):
    """Keeps the best epochs beside best.ckpt. Class names of callbacks are keys in checkpoints, and stay."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove epochs that a process has saved just before it was killed: they are trained again."""
        super().on_train_start(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        for path in Path(str(self.dirpath)).glob(EPOCHS):
            number = path.name.removeprefix("epoch").partition("-")[0]
            if number.isdecimal() and int(number) >= trainer.current_epoch and str(path) not in self.best_k_models:
                path.unlink()


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one that is there, and then in its place.

    Lightning writes it to the folder of temporary files and moves it, which from one file system to another is a copy:
    a full disk leaves the beginning of a checkpoint in the place of a good one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint. Raises TrainingError if its disk is full or cannot be written."""
        target = Path(path)
        try:
            write_checkpoint(target, checkpoint)
        except SignprepError as error:
            last = target.with_name(LAST)
            then = f", and the same command goes on{f' from {last}' if last.is_file() else ''}"
            raise TrainingError(f"{error}{then}") from error


class StopRequested(Exception):  # noqa: N818  (no error: the run was saved and ends)
    """The run was asked to stop; last.ckpt holds all of it."""


class LossGuard(Callback):
    """Stops a run whose loss is no number, and names the clips of the first such batch.

    It comes before all other callbacks, so that nothing is saved after such a batch.
    """

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

    def check(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Raise TrainingError if a loss since the last look was no number."""
        if not self._seen:
            return
        seen, self._seen = self._seen, []
        finite = torch.isfinite(torch.stack([loss for _, loss, _ in seen])).tolist()
        if all(finite):
            return
        batch_idx, loss, positions = seen[finite.index(False)]
        names = [self._cache.segment_id(int(position)) for position in positions]
        shown = first_of(names, 8, " and {} more")
        raise TrainingError(
            f"the loss became {float(loss)} in batch {batch_idx + 1} of epoch {trainer.current_epoch + 1}, of the "
            f"clips {shown}; what was saved is from before it. A smaller --learning-rate, --gradient-clip 1 or "
            f"--precision {'bf16-mixed' if trainer.precision == '16-mixed' else '32'} is the usual cure"
        )

    on_train_epoch_end = on_save_checkpoint = check


class SaveLast(Callback):
    """Writes last.ckpt at the end of each epoch, every `minutes`, and when the run is asked to stop.

    Between two steps nothing is half done: a run that goes on from there takes the very steps it would have taken.
    """

    def __init__(self, path: Path, minutes: float, log: Callable[[str], None]) -> None:
        self.path, self._minutes, self._log = path, minutes, log
        self._saved = time.monotonic()
        self.stop_requested = self.has_started = False

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

    def on_train_batch_start(self, *_: Any) -> None:
        """Note that all was taken from the checkpoint that the run goes on from."""
        self.has_started = True

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Ask for a stop; the second time, interrupt at once."""
        if self.stop_requested:
            raise KeyboardInterrupt
        self.stop_requested = True
        # By another thread: a line that this one was writing has to end first.
        line = "stopping after this batch, and saving; once more to stop at once"
        threading.Thread(target=self._log, args=(line,)).start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Save if it is time; not between the batches of one step, and not where validation follows."""
        if trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        # Ranks that trained on while another one stopped would wait for it for ever.
        steps = (batch_idx + 1) // trainer.accumulate_grad_batches
        if trainer.world_size > 1 and (steps - 1) % STEPS_BETWEEN_CHECKS:
            return
        stop = self._any(trainer, self.stop_requested)
        if stop or self._any(trainer, time.monotonic() - self._saved > 60 * self._minutes):
            self.save(trainer)
        if stop:
            raise StopRequested

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run that was asked to stop during validation or at the end of an epoch."""
        if self._any(trainer, self.stop_requested):
            raise StopRequested

    def save(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Write last.ckpt, and start the clock again."""
        trainer.save_checkpoint(self.path)
        self._saved = time.monotonic()

    on_train_epoch_end = save

    @staticmethod
    def _any(trainer: Trainer, flag: bool) -> bool:
        return trainer.strategy.reduce_boolean_decision(flag, all=False) if trainer.world_size > 1 else flag
