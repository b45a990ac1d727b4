"""What every benchmark prints (the machine, versions, tables) and, on the way, records for RESULTS.md."""

import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from benchmarks._goals import GOALS
from signprep.pipeline.runtime.machine import package_version, processor

if TYPE_CHECKING:
    import psutil

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a chart."""

    name: str
    value: float
    ours: bool = False
    part: bool = False
    """A part of the work that ours does, no other way to do it: being ahead is no win."""
    note: str = ""
    """Shown after the ratio, such as a size on disk."""


@dataclass(kw_only=True)
class Recorded:
    """What one benchmark has found; plain values, so that it travels as JSON between processes."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    """Tables and lines in the order in which they were printed: {"table": rows} or {"line": text}."""
    charts: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """By the names of `GOALS`."""
    missing: dict[str, str] = field(default_factory=dict)
    """Peers that could not be measured, and why."""


RECORDED = Recorded()
"""Of this process: the runner gives each benchmark a process of its own."""


def forget_peak() -> None:
    """Have the most memory counted from now on, where the system can: what was prepared is gone."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib(process: int | str = "self") -> float:
    """Return the most memory that this process has held, or on Linux another one, in MiB."""
    status = Path(f"/proc/{process}/status")
    if status.is_file():  # unlike getrusage's, this one starts anew with each program
        return next(
            int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM:")
        )
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def cpu_seconds_of(process: "psutil.Process") -> float:
    """Return the processor seconds of a process; of this one by a clock finer than psutil's hundredths of a second."""
    if process.pid == os.getpid():
        return time.process_time()
    times = process.cpu_times()
    return times.user + times.system


def cpu_seconds_of_all() -> float:
    """Return the processor seconds of this process and those below it, its servers; without psutil its own."""
    try:
        import psutil
    except ImportError:
        return time.process_time()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = cpu_seconds_of(psutil.Process()) + ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a session that has ended counts as its parent's
            times = process.cpu_times()
            total += cpu_seconds_of(process) + times.children_user + times.children_system
    return total


def print_line(text: str) -> None:
    """Print a finding that is no table."""
    print(f"  {text}")
    RECORDED.parts.append({"line": text})


def print_machine(packages: Sequence[str]) -> None:
    versions = [f"{package} {package_version(package) or 'missing'}" for package in packages]
    print(f"  {os.cpu_count()} CPUs, {processor()}; Python {platform.python_version()}, {', '.join(versions)}")
    RECORDED.parts.append({"line": f"Versions: {', '.join(versions)}."})


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, the first one left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = (f"{cell:{'<' if k == 0 else '>'}{widths[k]}}" for k, cell in enumerate(row))
        print("  " + "   ".join([first, *others]))
    RECORDED.parts.append({"table": [list(row) for row in rows]})


def print_missing(peer: str, error: object) -> None:
    """Print that a peer was not measured, and why; it is never left out in silence."""
    reason = " ".join(f"{type(error).__name__}: {error}".split()) if isinstance(error, Exception) else str(error)
    reason = reason.replace(f"{ROOT}/", "").replace(str(ROOT), ".")
    reason = reason if len(reason) <= 200 else f"{reason[:197]}..."
    print(f"  {peer} is missing ({reason})")
    RECORDED.missing[peer] = reason


def chart(title: str, unit: str, bars: Sequence[Bar], *, more_is_better: bool = False) -> None:
    """Record a chart; ratios are those of the first of our bars to each other one."""
    values = [asdict(bar) for bar in bars]
    RECORDED.charts.append({"title": title, "unit": unit, "bars": values, "more_is_better": more_is_better})


def figure(goal: str, value: float) -> None:
    """Record what was measured of a goal."""
    assert goal in GOALS, goal
    RECORDED.figures[goal] = float(value)
