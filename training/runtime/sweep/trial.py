"""One trial of a sweep: `signprep train` as a process of its own, watched epoch by epoch.

A process that memory runs out for, or that dies, takes nothing else with it, and leaves no memory behind; several GPUs
work as ever. It costs the seconds that torch takes to import.
"""

import csv
import ctypes
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from signprep.pipeline.runtime.text import counted
from signprep.training.runtime.run_folder import METRICS, RUN_NAME_VARIABLE, read_run
from signprep.training.runtime.sweep.study import COMPLETE, FAILED, PRUNED

OUTPUT = "output.txt"
SECONDS_BETWEEN_LOOKS = 0.5
_PREFIXES = ("signprep: error: ", "signprep: ")
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a trial."""

    state: str
    values: Sequence[float]
    """Of the metric, one an epoch."""
    error: str = ""


def run_trial(
    words: Sequence[str], folder: Path, metric: str, *, is_bad: Callable[[int, float], bool], log: Callable[[str], None]
) -> Outcome:
    """Train, or go on with a trial that was interrupted.

    Args:
        words: the command line behind `signprep`.
        folder: of the trial's run.
        metric: a column of metrics.csv.
        is_bad: is told the value of each epoch, and says whether the trial ends there.
        log: takes a line for each epoch.

    Raises KeyboardInterrupt, once the trial has saved, if this process was interrupted.
    """
    if read_run(folder).get("status") == "finished":  # the sweep ended before it could note that
        return Outcome(state=COMPLETE, values=[value for _, value in _epochs(folder, metric)])
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / OUTPUT).open("ab") as output:
        process = _start(words, output.fileno())
        try:
            is_pruned = _watched(process, folder, metric, is_bad, log)
        except BaseException:
            _stop(process, log)
            raise
    values = [value for _, value in _epochs(folder, metric)]
    if process.returncode == 0 and any(map(math.isfinite, values)):
        return Outcome(state=COMPLETE, values=values)
    if is_pruned:
        return Outcome(state=PRUNED, values=values)
    return Outcome(state=FAILED, values=values, error=_error(process.returncode, folder / OUTPUT))


def _start(words: Sequence[str], output: int) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if name != RUN_NAME_VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-m", "signprep.pipeline.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the sweep, which passes it on once: a second one would not save
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    """Let the kernel ask this process to save and stop when the sweep is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _watched(
    process: "subprocess.Popen[bytes]",
    folder: Path,
    metric: str,
    is_bad: Callable[[int, float], bool],
    log: Callable[[str], None],
) -> bool:
    """Wait for the end of a process; return True if it was ended because the trial is bad."""
    known, is_pruned = 0, False
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_BETWEEN_LOOKS)
        for epoch, value in _epochs(folder, metric)[known:]:
            known += 1
            log(f"epoch {epoch}: {metric} {value:.4g}")
            if math.isfinite(value) and is_bad(epoch, value) and not is_pruned and process.poll() is None:
                is_pruned = True
                process.terminate()
        if process.returncode is not None:
            return is_pruned


def _stop(process: "subprocess.Popen[bytes]", log: Callable[[str], None]) -> None:
    """Let a process save and end; kill it if this one is interrupted again."""
    try:
        if process.poll() is None:
            process.terminate()
            log("stopping, and saving; once more to stop at once")
        process.wait()
    except BaseException:
        process.kill()
        process.wait()
        raise


def _epochs(folder: Path, metric: str) -> list[tuple[int, float]]:
    """Return number and value of each epoch that has ended."""
    with suppress(OSError), (folder / METRICS).open(newline="", encoding="utf-8") as file:
        return [(int(row["epoch"]), float(row[metric])) for row in csv.DictReader(file)]
    return []


def _error(code: int, output: Path) -> str:
    """Return why a process has failed: its last line, or what ended it."""
    if sys.platform != "win32" and code == -signal.SIGKILL:
        return "was killed, as systems do that run out of memory"
    lines = output.read_text(encoding="utf-8", errors="replace").split("\n")
    told = [line for line in lines if line.startswith(_PREFIXES)] or [line for line in lines if line.strip()]
    if not told:
        return f"ended with exit code {code}"
    line = told[-1]
    for prefix in _PREFIXES:
        line = line.removeprefix(prefix)
    return line.strip()[:500]


def described(outcome: Outcome, metric: str, best: float | None) -> str:
    """Return the line that tells what came of a trial; `best` is the value of the best one so far."""
    epochs = counted(len(outcome.values), "epoch")
    if outcome.state == FAILED:
        return f"failed after {epochs}: {outcome.error}"
    top = "" if best is None else f"; the best so far is {best:.4g}"
    last = f"{outcome.values[-1]:.4g}" if outcome.values else "nothing"
    if outcome.state == PRUNED:
        return f"ended early, after {epochs}: {metric} {last}{top}"
    return f"{epochs}{top}"
