"""Progress on stderr: one rich bar on a terminal, a plain line now and then without one."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PLAIN_LINE_SECONDS = 10.0


@contextmanager
def progress_bar(description: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show progress while the block runs; yields a function that takes the number done so far."""
    started = time.monotonic()

    def rate(done: int) -> float:
        return done / max(1e-9, time.monotonic() - started)

    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[rate]:.1f}} {unit}/s"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(description, total=total, rate=0.0)
            yield lambda done: progress.update(task, completed=done, rate=rate(done))
        return
    next_line, last_done = started + PLAIN_LINE_SECONDS, 0

    def plain(done: int) -> None:
        nonlocal next_line, last_done
        if done != last_done and (time.monotonic() >= next_line or done == total):
            last_done = done
            next_line = time.monotonic() + PLAIN_LINE_SECONDS
            left = (total - done) / rate(done) if done else 0.0
            line = f"{description}: {done}/{total}, {rate(done):.1f} {unit}/s, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    yield plain
