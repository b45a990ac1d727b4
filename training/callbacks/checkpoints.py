"""The checkpoints of a run and the folder that they lie in; no run takes another one's place unasked.

OUTPUT_DIR/EXPERIMENT_NAME/checkpoints/       best.ckpt (by validation accuracy), last.ckpt
OUTPUT_DIR/EXPERIMENT_NAME/tensorboard_logs/  for `tensorboard --logdir`
OUTPUT_DIR/EXPERIMENT_NAME/metrics.csv        a row an epoch
OUTPUT_DIR/EXPERIMENT_NAME/run.json           options, model, cache, versions, what came of it
"""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from signprep.pipeline.errors import SignprepError, TrainingError
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.text import byte_size

BEST, LAST = "best.ckpt", "last.ckpt"
CHECKPOINTS_FOLDER, LOGS_FOLDER = "checkpoints", "tensorboard_logs"


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
    written = [path for name in (BEST, LAST, "epoch*-accuracy*.ckpt") for path in checkpoints.glob(name)]
    for path in [*written, *(run_folder / LOGS_FOLDER).glob("events.out.*")]:
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


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one that is there, and then in its place.

    Lightning writes it to the folder of temporary files and moves it, which from one file system to another is a copy:
    a full disk leaves the beginning of a checkpoint in the place of a good one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint. Raises TrainingError if its disk is full or cannot be written."""
        # In memory first: on a full disk torch's own writer ends the whole program.
        data = io.BytesIO()
        torch.save(checkpoint, data)
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as beside, beside.open("wb") as file:
                file.write(data.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except (SignprepError, OSError) as error:
            last = target.with_name(LAST)
            what_then = f"--resume goes on from {last}" if last.is_file() else "start again with --overwrite"
            raise TrainingError(
                f"{error}; a checkpoint takes {byte_size(len(data.getbuffer()))}. Make room, and {what_then}"
            ) from error
