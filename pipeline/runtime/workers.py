"""Work in other processes that outlive a call: joblib keeps its workers for the next one."""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TypeVar

from joblib import Parallel, delayed, effective_n_jobs

Result = TypeVar("Result")


def start_workers(num_workers: int) -> None:
    """Start joblib's processes, -1 for all cores, so that Ctrl-C is for this process alone, which ends them.

    They inherit that it is blocked: one that came while they import would show its traceback.
    """
    if num_workers == 1 or not hasattr(signal, "pthread_sigmask") or threading.current_thread() is not _MAIN:
        return
    from joblib.externals.loky.backend import resource_tracker as lokys_tracker

    for tracker in (resource_tracker, lokys_tracker):
        tracker.ensure_running()  # which would unblock the signal, were it started later
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        Parallel(n_jobs=num_workers)(delayed(os.getpid)() for _ in range(effective_n_jobs(num_workers)))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_MAIN = threading.main_thread()


def run_in(folder: Path, work: Callable[..., Result], *arguments: object) -> Result:
    """Call `work` in a folder: relative paths mean that of the caller, not that of the worker's first call."""
    if Path.cwd() != folder:
        os.chdir(folder)
    return work(*arguments)
