"""Work in chunks over processes, in order, with few chunks in memory; and a count where no end is known.

The trade-off: batches. The next one starts when the last chunk of the one before is done, so that only the calling
process touches the database.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from joblib import Parallel, delayed

from signprep.pipeline.runtime.machine import usable_cores
from signprep.pipeline.runtime.progress import PLAIN_LINE_SECONDS
from signprep.pipeline.runtime.workers import run_in, start_workers

CHUNKS_A_WORKER = 8
"""In one batch: enough that a slow chunk does not leave other workers idle for long."""

Result = TypeVar("Result")


def in_processes(work: Callable[..., Result], calls: Iterable[tuple[Any, ...]], workers: int) -> Iterator[Result]:
    """Yield the results of all calls in order; what makes a single chunk runs in this process."""
    calls = iter(calls)
    first = list(islice(calls, 2))
    if workers == 1 or len(first) < 2:
        yield from (work(*call) for call in chain(first, calls))
        return
    calls = chain(first, calls)
    processes = workers if workers > 0 else usable_cores()
    start_workers(processes)
    with Parallel(n_jobs=processes, return_as="generator") as parallel:
        while batch := list(islice(calls, CHUNKS_A_WORKER * processes)):
            yield from parallel(delayed(run_in)(Path.cwd(), work, *call) for call in batch)


class CountLine:
    """Tells on stderr now and then how far something without a known end has come."""

    def __init__(self, description: str) -> None:
        self._description, self._count = description, 0
        self._next = time.monotonic() + PLAIN_LINE_SECONDS

    def add(self) -> None:
        """Count one more."""
        self._count += 1
        if not self._count % 1000 and time.monotonic() >= self._next:
            self._next += PLAIN_LINE_SECONDS
            print(f"{self._description}: {self._count:,} so far", file=sys.stderr, flush=True)  # noqa: T201
