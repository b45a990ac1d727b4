"""The folder of a run: where it goes, its name among those of other runs, and the devices that it is for.

Light, since the command line needs it before it imports torch.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from glob import escape
from pathlib import Path
from typing import Any, Self

import click

from signprep.pipeline.errors import TrainingError
from signprep.pipeline.options import machine_option, option
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.text import counted
from signprep.training.config import LOGGERS, MLFLOW, NO_LOGGER, TENSORBOARD, WANDB, Devices
from signprep.training.runtime.launch import Launch

CHECKPOINTS_FOLDER, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"
METRICS, RUN = "metrics.csv", "run.json"
REPORT, CURVES = "report.html", "learning_curves.png"
RUN_NAME_VARIABLE = "SIGNPREP_RUN_NAME"
"""Environment variable by which processes that Lightning starts find the name that the first one has chosen."""

Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where a run goes, and what it runs on."""

    gpus: int | None = machine_option(
        None, "Train on this many GPUs of each machine, by default on one if there is one.", minimum=0
    )
    devices: int | None = machine_option(
        None, "Train on this many GPUs of each machine, or in so many processes without GPUs.", minimum=1
    )
    num_nodes: int = machine_option(1, "Train on this many machines.", minimum=1)
    output_dir: Path = option(Path("outputs"), "Put the folders of runs, and caches, into this folder.")
    experiment_name: str = option(
        "sign_language_classification",
        "Call the folder of the run so. Without it, a second run gets the number 2 behind this name, and so on.",
    )
    overwrite: bool = option(False, "Replace a run of the same name.")
    resume: str | None = option(
        None,
        "Continue a run that was stopped, from this checkpoint; without a value, from the last one of the run.",
        value_if_bare="last",
        metavar="[CHECKPOINT]",
    )
    profile: bool = option(
        False,
        "Say after some steps where their time goes, and write a trace of others to profile_trace.json.gz of the run.",
    )

    loggers: tuple[str, ...] = option(
        (),
        "Write curves for TensorBoard, into a table of all steps (csv), to Weights & Biases, to MLflow, or not at all; "
        "repeat it for several.",
        name="--logger",
        choices=LOGGERS,
        shown_default=TENSORBOARD,
    )

    def __post_init__(self) -> None:
        if NO_LOGGER in self.loggers and len(set(self.loggers)) > 1:
            raise ValueError(f"loggers are {', '.join(self.loggers)}; none goes with no other")

    @property
    def logger_names(self) -> tuple[str, ...]:
        """Return the names of the loggers of the run, of which there may be none."""
        return tuple(name for name in self.loggers or (TENSORBOARD,) if name != NO_LOGGER)

    def require_loggers(self) -> None:
        """Raise SignprepError, with the command that helps, unless the loggers that are asked for are installed."""
        for name in {WANDB, MLFLOW}.intersection(self.loggers):
            require_extra(name, name)

    def numbered(self, launch: Launch, *, is_typed: bool, is_same: Callable[[Mapping[str, Any]], bool]) -> Self:
        """Return the options of a run with a name of its own, unless one was typed, or processes cannot agree on one.

        Args:
            launch: which process this is. Those that Lightning starts get the name from the first one.
            is_typed: True if the name was.
            is_same: tells of the options in a run's record if they are those of this command.
        """
        if is_typed or self.overwrite or launch.by is not None or self.num_nodes > 1:
            return self
        name = self.experiment_name
        if launch.local_rank and RUN_NAME_VARIABLE in os.environ:
            return replace(self, experiment_name=os.environ[RUN_NAME_VARIABLE])
        if self.resume is None:
            name = run_name(self.output_dir, name, is_same)
        elif self.resume == "last":
            name = numbered(name, max(numbers_of(self.output_dir, name), default=1))
        elif re.fullmatch(rf"{re.escape(name)}(-\d+)?", found := Path(self.resume).resolve().parent.parent.name):
            name = found
        os.environ[RUN_NAME_VARIABLE] = name
        return replace(self, experiment_name=name)

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.output_dir / self.experiment_name

    def checkpoint(self) -> Path | None:
        """Return the checkpoint that is resumed from."""
        if self.resume == "last":
            return self.folder / CHECKPOINTS_FOLDER / LAST
        return Path(self.resume) if self.resume else None

    def available_devices(self, launch: Launch, log: Log) -> Devices:
        """Return the devices of this machine that are asked for, or that the processes were started for.

        Raises UsageError if there are too few, or other ones than were started; TrainingError if several GPUs are asked
        for and torch can use none.
        """
        import torch

        available = torch.cuda.device_count()
        asked, num_nodes = self.gpus if self.gpus is not None else self.devices, self.num_nodes
        if launch.by is not None:
            if asked not in (None, 0, launch.per_node) or num_nodes not in (1, launch.num_nodes):
                raise click.UsageError(
                    f"{launch.by} has started {launch.per_node} processes on each of "
                    f"{counted(launch.num_nodes, 'machine')}, which is not what --gpus, --devices and --num-nodes ask "
                    "for; leave them out"
                )
            asked, num_nodes = launch.per_node if asked is None else asked, launch.num_nodes
        if asked is not None and 0 < available < asked:
            raise click.UsageError(
                f"{asked} GPUs asked for, this machine has {available}"
                + ("; each process has to see all GPUs of its machine (--gpus-per-node)" if launch.by == "srun" else "")
            )
        if self.gpus and not available:
            if self.gpus > 1:
                raise TrainingError(
                    f"{self.gpus} GPUs asked for, and torch {torch.__version__} can use none here; look whether "
                    "`nvidia-smi` lists them and torch was installed for CUDA, or train on the CPU by --gpus 0"
                )
            log("this machine has no GPU that torch can use: training on the CPU, slowly")
        if not available or self.gpus == 0:
            processes = launch.per_node if launch.by is not None else self.devices or 1
            return Devices(processes=processes, num_nodes=num_nodes)
        return Devices(gpus=asked or 1, num_nodes=num_nodes)


def did_not_end(run_folder: Path) -> bool:
    """Return True if the run of a folder was stopped or has failed, or its process was killed, or still runs."""
    return read_run(run_folder).get("status") in ("running", "stopped", "failed")


def run_name(output_dir: Path, name: str, is_same: Callable[[Mapping[str, Any]], bool]) -> str:
    """Return the name of the next run: NAME, NAME-2, NAME-3 and so on, or that of an earlier one, to go on with it.

    Args:
        output_dir: holds the folders of the runs.
        name: of the first run.
        is_same: tells of the options in a run's record if they are those of the next one. A run that has not ended goes
            on if they are; so does one whose record does not tell them.
    """
    numbers = numbers_of(output_dir, name)
    for number in sorted(numbers, reverse=True):
        folder = output_dir / numbered(name, number)
        document = read_run(folder)
        command = document.get("command")
        options = command.get("options") if isinstance(command, dict) else None
        if did_not_end(folder) and (options is None or is_same(options)):
            return folder.name
        is_empty = not document and not any((folder / CHECKPOINTS_FOLDER).glob("*.ckpt"))
        if is_empty and number == max(numbers):
            return folder.name
    return numbered(name, max(numbers, default=0) + 1)


def numbers_of(output_dir: Path, name: str) -> list[int]:
    """Return the numbers of the runs of a name whose folders are there."""
    pattern = re.compile(rf"{re.escape(name)}-([2-9]|[1-9]\d{{1,8}})")
    found = [match for path in output_dir.glob(f"{escape(name)}-*") if (match := pattern.fullmatch(path.name))]
    return [int(match[1]) for match in found] + ([1] if (output_dir / name).exists() else [])


def numbered(name: str, number: int) -> str:
    """Return the name of a run: the first one has no number."""
    return name if number == 1 else f"{name}-{number}"


def read_run(run_folder: Path) -> dict[str, Any]:
    """Return a run's record, empty if there is none or it is damaged."""
    with suppress(OSError, ValueError, RecursionError):
        document = json.loads((run_folder / RUN).read_bytes())
        return document if isinstance(document, dict) else {}
    return {}
