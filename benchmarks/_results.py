"""RESULTS.md: what the benchmarks found, the goals first, and what was lost or missing with the rest.

In: a section for each benchmark. Out: the Markdown file, and a folder beside it, of its name, with a chart each.
"""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks._chart import bar_chart
from benchmarks._goals import GOALS
from benchmarks._peers import PEERS
from benchmarks._size import Size
from signprep.pipeline.runtime.machine import processor


@dataclass(frozen=True, kw_only=True)
class Section:
    """One benchmark: what it says of itself, what it recorded (see `_report.Recorded`), and how it ran."""

    name: str
    docstring: str
    seconds: float
    load: float
    """Programs that wanted a core in the minute before."""
    error: str
    parts: list[dict[str, Any]] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def write_results(path: Path, sections: Sequence[Section], *, command: str, size: Size) -> None:
    folder = path.parent / path.stem.lower()
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [_head(sections, command, size), _goals(sections), _peers(sections)]
    for section in sections:
        blocks.append(f"## {section.name}\n\n{section.docstring}")
        if section.error:
            blocks.append(f"**It failed**: `{section.error}`. What it found before is below.")
        if section.charts:
            (folder / f"{section.name}.svg").write_text(bar_chart(section.charts), encoding="utf-8")
            alternative = "; ".join(chart["title"] for chart in section.charts)
            blocks.append(f"![{alternative}]({folder.name}/{section.name}.svg)")
        for tabular, parts in groupby(section.parts, key=lambda part: "table" in part):
            found = [_table(part["table"]) if tabular else f"- {part['line']}" for part in parts]
            blocks += found if tabular else ["\n".join(found)]
        if section.missing:
            blocks.append("\n".join(f"- {peer} was not measured: {why}" for peer, why in section.missing.items()))
        blocks.append(f"Took {section.seconds:.0f} s.")
    path.write_text("\n\n".join(block for block in blocks if block) + "\n", encoding="utf-8")


def _head(sections: Sequence[Section], command: str, size: Size) -> str:
    loads = [section.load for section in sections]
    rows = [
        ["", ""],
        ["date", f"{datetime.now(UTC):%Y-%m-%d}, {sum(section.seconds for section in sections) / 60:.1f} minutes"],
        ["command", f"`{command}`, sizes: {size}"],
        ["signprep", f"{version('signprep')}{_revision()}"],
        ["machine", f"{os.cpu_count()} CPUs, {processor()}, {platform.system()} {platform.machine()}"],
        ["Python", platform.python_version()],
        ["load before each benchmark", f"{min(loads):.1f} to {max(loads):.1f} (the runs before count too)"],
    ]
    warning = (
        "**Toy sizes: these figures mean nothing; they show that the benchmarks run.**\n\n" if size is Size.TOY else ""
    )
    return (
        "# What the benchmarks found\n\n"
        f"{warning}Written by the command below; do not edit. Figures are medians of rounds in which all ways take\n"
        "turns, in the same run, on the same clips. **Compare ratios only**: absolute times mean nothing on shared\n"
        "machines, and this may be one. Videos are rendered signing, 1080p where nothing else is said; compression\n"
        "and decoding of real footage differ. Where a peer is ahead of us, its bar is orange and says so.\n\n"
        f"{_table(rows)}"
    )


def _revision() -> str:
    """Return the commit, where this is a checkout."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f", commit {done.stdout.strip()}"


def _goals(sections: Sequence[Section]) -> str:
    figures = {name: value for section in sections for name, value in section.figures.items()}
    rows = [["benchmark", "what", "goal", "measured", "", "earlier runs"]]
    for name, goal in GOALS.items():
        value = figures.get(name)
        shown = "" if value is None else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
        rows.append([goal.benchmark, goal.text, goal.target, shown, goal.verdict(value), goal.earlier])
    return f"## Goals\n\n{_table(rows)}"


def _peers(sections: Sequence[Section]) -> str:
    ran = {section.name for section in sections}
    missing = {peer for section in sections for peer in section.missing}
    rows = [["peer", "version", "used in", "how it is set"]]
    for peer in PEERS:
        if ran & set(peer.used_in):
            state = peer.version or "**not installed: not measured**"
            if peer.version and peer.name in missing:
                state += ", **did not run**"
            rows.append([peer.name, state, ", ".join(peer.used_in), peer.settings])
    return (
        f"## Peers\n\nEach as its own documentation advises.\n\n{_table(rows)}"
        if len(rows) > 1
        else "## Peers\n\nNone."
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    first, *others = ([_cell(cell) for cell in row] for row in rows)
    numeric = len(first) > 2 and all(len(cell) < 30 for row in others for cell in row[1:])
    rule = ["---", *("--:" if numeric else "---" for _ in first[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (first, rule, *others))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
