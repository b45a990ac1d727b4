"""Progress on stderr: one rich bar on a terminal, a plain line now and then without one."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.terminal import Terminal
from signprep.pipeline.runtime.text import printable

PLAIN_LINE_SECONDS = 10.0

Value = TypeVar("Value")


def say(line: str) -> None:
    """Print a line on stderr in the reader's language."""
    print(printable(translated(line)), file=sys.stderr, flush=True)  # noqa: T201


def shows_bars() -> bool:
    """Return whether a bar can move on stderr.

    What a cell of a Jupyter notebook starts has a terminal, too, but the notebook keeps each state of a bar and becomes
    megabytes large. Jupyter sets the variable for its kernels alone.
    """
    return sys.stderr.isatty() and "JPY_PARENT_PID" not in os.environ


def progress_bar(description: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
    """Show progress while the block runs. Yields a function to be called with the number done so far."""
    rate = TextColumn(f"{{task.fields[rate]:.1f}} {translated(unit)}/s")
    return _progress(description, total, (MofNCompleteColumn(), rate), unit)


def byte_progress_bar(description: str, num_bytes: int) -> AbstractContextManager[Callable[[int], None]]:
    """Show progress in bytes while the block runs. Yields a function to be called with their number so far."""
    return _progress(description, num_bytes, (DownloadColumn(), TransferSpeedColumn()), "MB", 1_000_000)


@contextmanager
def _progress(
    description: str, total: int, amounts: tuple[ProgressColumn, ...], unit: str, scale: int = 1
) -> Iterator[Callable[[int], None]]:
    if not shows_bars():
        yield _plain_lines(description, total, unit, scale)
        return
    begin, end = (TextColumn("{task.description}"), BarColumn()), TimeRemainingColumn(elapsed_when_finished=True)
    started = time.monotonic()
    with Progress(*begin, *amounts, end, console=Terminal(stderr=True)) as progress:
        task = progress.add_task(translated(description), total=total, rate=0.0)
        yield lambda done: progress.update(task, completed=done, rate=done / max(1e-9, time.monotonic() - started))


def _plain_lines(description: str, total: int, unit: str, scale: int) -> Callable[[int], None]:
    """Return a function that is called with the number done, and writes a line now and then and one at the end."""
    started = time.monotonic()
    next_line, last_done = started + PLAIN_LINE_SECONDS, 0

    def show(done: int) -> None:
        nonlocal next_line, last_done
        if done != last_done and (time.monotonic() >= next_line or done == total):
            last_done = done
            next_line = time.monotonic() + PLAIN_LINE_SECONDS
            rate = done / max(1e-9, time.monotonic() - started)
            left = (total - done) / rate if rate else 0.0
            digits = 0 if scale == 1 else 1
            amounts = f"{done / scale:.{digits}f}/{total / scale:.{digits}f}"
            say(f"{description}: {amounts}, {rate / scale:.1f} {unit}/s, {left:.0f} s left")

    return show


def progress_without_total(description: str, values: Iterable[Value]) -> Iterator[Value]:
    """Yield values whose number is not known, with a line on stderr now and then."""
    next_line = time.monotonic() + PLAIN_LINE_SECONDS
    for count, value in enumerate(values, start=1):
        if not count % 1000 and time.monotonic() >= next_line:
            next_line += PLAIN_LINE_SECONDS
            say(f"{description}: {count:,} so far")
        yield value
