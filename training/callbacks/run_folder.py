"""The folder of a training run: which files are a run's own, and that no run takes another one's place unasked.

OUTPUT_DIR/EXPERIMENT_NAME/checkpoints/       best.ckpt (by validation accuracy), last.ckpt
OUTPUT_DIR/EXPERIMENT_NAME/tensorboard_logs/  for `tensorboard --logdir`
OUTPUT_DIR/EXPERIMENT_NAME/metrics.csv        a row an epoch
OUTPUT_DIR/EXPERIMENT_NAME/run.json           options, model, cache, versions, what came of it
"""

from pathlib import Path

from signprep.pipeline.errors import TrainingError
from signprep.training.callbacks.checkpoint_io import LAST

BEST = "best.ckpt"
CHECKPOINTS_FOLDER, LOGS_FOLDER = "checkpoints", "tensorboard_logs"


def require_own(resume: Path, run_folder: Path) -> None:
    """Raise TrainingError if a checkpoint is another run's: its best epochs lie there, and would be missing here."""
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
    """Make the folder. Raise TrainingError if it cannot be written, or has another run's checkpoints to be kept."""
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
