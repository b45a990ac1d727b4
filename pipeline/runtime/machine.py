"""This machine: its processor and cores, the versions installed on it, and worker processes."""

import os
import platform
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return Python's version and those of the packages that are installed."""
    found = {name: package_version(name) for name in packages}
    return {"python": platform.python_version()} | {name: value for name, value in found.items() if value is not None}


@cache
def package_version(name: str) -> str | None:
    """Return a package's version, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, system and load as plain JSON types."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        # Timings are not to be trusted if more processes wanted a core than there are.
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


Result = TypeVar("Result")


def start_workers(num_workers: int) -> None:
    """Start joblib's processes, -1 for all cores, with Ctrl-C blocked in them: this process gets it and ends them."""
    if folder_is_gone():  # then no path can mean it, and Python starts no process in it
        os.chdir(os.sep)
    if (
        num_workers == 1
        or not hasattr(signal, "pthread_sigmask")
        or threading.current_thread() is not threading.main_thread()
    ):
        return
    from joblib import Parallel, delayed, effective_n_jobs
    from joblib.externals.loky.backend import resource_tracker as lokys_tracker

    for tracker in (resource_tracker, lokys_tracker):
        tracker.ensure_running()  # which would unblock the signal, were it started later
    # A Ctrl-C that comes while the workers import would show their tracebacks, so they inherit that it is blocked.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        Parallel(n_jobs=num_workers)(delayed(os.getpid)() for _ in range(effective_n_jobs(num_workers)))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def folder_is_gone() -> bool:
    """Return True if somebody has removed the working folder of this process."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def run_in(folder: Path, work: Callable[..., Result], *arguments: object) -> Result:
    """Call `work` in the caller's folder, which relative paths are meant from; a worker stays where it was before."""
    if folder_is_gone() or Path.cwd() != folder:
        os.chdir(folder)
    return work(*arguments)


def in_processes(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """Yield the results of all calls in order, with few of them in memory; a single call runs in this process.

    The next batch starts when the last call of the one before is done, so that only this process touches a database.
    """
    calls = iter(calls)
    first = list(islice(calls, 2))
    if workers == 1 or len(first) < 2:
        yield from (work(*call) for call in chain(first, calls))
        return
    from joblib import Parallel, delayed

    calls = chain(first, calls)
    processes = workers if workers > 0 else usable_cores()
    start_workers(processes)
    with Parallel(n_jobs=processes, return_as="generator") as parallel:
        # Enough calls in a batch that a slow one does not leave other workers idle for long.
        while batch := list(islice(calls, 8 * processes)):
            yield from parallel(delayed(run_in)(Path.cwd(), work, *call) for call in batch)
