"""A sweep from its start, or from where it was stopped, to its table and picture."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from signprep.pipeline.cli.command import Command
from signprep.pipeline.errors import StoppedError, TrainingError
from signprep.training.runtime.sweep.options import SweepOptions
from signprep.training.runtime.sweep.space import Space, trial_words
from signprep.training.runtime.sweep.study import FAILED, Study, TrialRecord
from signprep.training.runtime.sweep.summary import shown, write_summary
from signprep.training.runtime.sweep.trial import described, run_trial

LOCK = ".sweep.lock"
MOST_FAILURES = 3
"""So many trials that fail with one message before any has not are one mistake, and end the sweep."""


def sweep(space: Space, options: SweepOptions, command: Command, log: Callable[[str], None]) -> Study:
    """Run trials until there are as many as asked for, and return their study.

    Args:
        space: the options of trials.
        options: of the sweep.
        command: `train`.
        log: takes a line for each trial and epoch.

    Raises:
        StoppedError: it was interrupted; the same call goes on with the trial that was running.
        TrainingError: its folder cannot be used, or the first trials all fail for one reason.
    """
    folder = space.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be written ({error.strerror}); choose another output-dir") from error
    with _held(folder), _stopped_by_schedulers():
        study = Study(folder, space, options)
        try:
            while len(study.ended()) < options.trials:
                _one_trial(study, space, options, command, log)
                write_summary(folder, study.trials(), space, options)
                _require_some_success(study.trials(), folder)
        except KeyboardInterrupt:
            raise StoppedError(f"{folder}: stopped; the same command goes on with the trial that was running") from None
        write_summary(folder, study.trials(), space, options)
        return study


def _one_trial(study: Study, space: Space, options: SweepOptions, command: Command, log: Callable[[str], None]) -> None:
    trial = study.next_trial()
    place = f"trial {trial.number}/{options.trials}"
    log(f"{place}: {shown(trial.values)}")
    words = trial_words(space, command, trial.values)
    words = ["train", *words, f"--output-dir={space.folder}", f"--experiment-name={trial.name}"]
    outcome = run_trial(
        words,
        space.folder / trial.name,
        options.metric,
        is_bad=lambda epoch, value: study.is_bad(trial, epoch, value),
        log=lambda line: log(f"{place}, {line}"),
    )
    value = study.best_of(outcome.values)
    study.end(trial, outcome.state, value, epochs=len(outcome.values), error=outcome.error)
    best = study.best()
    log(f"{place}: {described(outcome, options.metric, None if best is None else best.value)}")


def _require_some_success(trials: list[TrialRecord], folder: Path) -> None:
    """Raise TrainingError if the first trials have all failed with one message."""
    alike = {(trial.state, trial.error) for trial in trials}
    if len(trials) == MOST_FAILURES and len(alike) == 1 and trials[0].state == FAILED:
        raise TrainingError(f"{folder}: the first {MOST_FAILURES} trials failed alike: {trials[0].error}")


@contextmanager
def _stopped_by_schedulers() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the right to sweep in a folder. Raises TrainingError if another process holds it."""
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise TrainingError(
            f"{folder}: another process sweeps there; wait for it, or give another experiment-name"
        ) from None
    try:
        yield
    finally:
        lock.release()
