"""The description of a cache as people read it in a terminal: tables with bars, and what to look at.

In: a cache's figures and findings. Out: text on a rich console. Names come from label files: they are text, never
markup.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.columns import ClipColumns
from signprep.cache_builder.report.findings import Finding
from signprep.cache_builder.report.overview import clip_shape
from signprep.cache_builder.report.statistics import Balance, Durations, balances, durations
from signprep.pipeline.runtime.text import byte_size, counted

BAR_WIDTH = 32
COLOURS = ("blue", "yellow", "green", "magenta", "white")
"""Of the splits, in their order."""
GRAVITY_STYLES = {"wrong": "bold red", "look": "yellow", "note": "dim"}
FILLS = "█▒░▓▚"
"""Of the splits: where there are no colours, bars still tell them apart."""
LEVELS = "▁▂▃▄▅▆▇█"
SHOWN_LINES = 3


def print_cache(
    cache: Cache,
    description: dict[str, Any],
    columns: ClipColumns,
    findings: Sequence[Finding],
    console: Console,
    *,
    most: int = 10,
) -> None:
    """Print what is in a cache: its settings, clips by name and split, durations, and what was found."""
    _print_overview(cache, description, console)
    for balance in balances(columns).values():
        _print_balance(balance, columns.split.names, console, most)
    if found := durations(columns):
        _print_durations(found, console)
    for finding in findings:
        console.print()
        style = GRAVITY_STYLES[finding.gravity]
        console.print(Text.assemble((f"{finding.gravity:5} ", style), (finding.title, "bold")), soft_wrap=True)
        console.print(Padding(Text(finding.meaning, style="dim"), (0, 0, 0, 6)))
        for line in finding.examples(columns, SHOWN_LINES):
            console.print(Text(f"      {line}"), soft_wrap=True)
        num_more = (len(finding.lines) or len(finding.rows)) - SHOWN_LINES
        if num_more > 0:
            console.print(Text(f"      and {num_more:,} more", style="dim"))


def _print_overview(cache: Cache, description: dict[str, Any], console: Console) -> None:
    ratio = description["ratio_to_raw_rgb"]
    size = byte_size(description["stored_bytes"]) + (f", {ratio:.3f} of their size as raw RGB" if ratio else "")
    overview = Table(show_header=False, box=None, pad_edge=False)
    rows = [
        ("cache", description["path"]),
        ("format", f"{description['format_version']}, codec {description['codec']}"),
        ("clips", f"{description['clips']:,} of {description['positions']:,}, in {description['shards']:,} shards"),
        ("clip", clip_shape(cache.clip_spec)),
        ("classes", f"{description['classes']:,}"),
        ("videos", f"{description['videos']:,}, of {counted(description['takes'], 'take')}"),
        ("size", size),
        ("fingerprint", description["fingerprint"]),
    ]
    for name, value in rows:
        overview.add_row(Text(name, style="bold"), Text(value))
    console.print(overview)


def _print_balance(balance: Balance, splits: Sequence[str | None], console: Console, most: int) -> None:
    """Print the names with the most clips, each with a bar of its splits."""
    totals = balance.totals
    order = np.argsort(-totals, kind="stable").tolist()
    is_of_splits = balance.column == "split"
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(f"{balance.column} ({len(totals):,})", min_width=12, overflow="fold", header_style="bold")
    table.add_column("clips", justify="right")
    if not is_of_splits:
        for place, split in enumerate(splits):
            table.add_column(
                f"{FILLS[place % len(FILLS)]} {split or '-'}",
                justify="right",
                header_style=COLOURS[place % len(COLOURS)],
            )
    table.add_column("")
    for place in order[:most]:
        parts = balance.clips[place].tolist()
        numbers = [] if is_of_splits else [f"{number:,}" for number in parts]
        bar = _bar(parts, int(totals.max()))
        table.add_row(Text(balance.names[place] or "-"), f"{totals[place]:,}", *numbers, bar)
    if rest := order[most:]:
        numbers = [] if is_of_splits else [f"{number:,}" for number in balance.clips[rest].sum(axis=0).tolist()]
        table.add_row(Text(f"... {len(rest):,} more", style="dim"), f"{int(totals[rest].sum()):,}", *numbers, "")
    console.print()
    console.print(table)


def _bar(parts: Sequence[int], longest: int) -> Text:
    """Return a bar of parts, a colour each, as long as their sum is of `longest`."""
    bar, total = Text(), 0
    for place, part in enumerate(parts):
        before, total = total, total + part
        length = round(BAR_WIDTH * total / max(1, longest)) - round(BAR_WIDTH * before / max(1, longest))
        bar.append(FILLS[place % len(FILLS)] * length, style=COLOURS[place % len(COLOURS)])
    return bar if bar.plain or not total else Text("▏")


def _print_durations(found: Durations, console: Console) -> None:
    least, _, median, _, most = found.quantiles_seconds
    heights = np.ceil(found.clips / max(1, found.clips.max()) * (len(LEVELS) - 1)).astype(int)
    drawn = "".join(LEVELS[height] for height in heights.tolist())
    console.print()
    console.print(
        Text.assemble(
            ("seconds a clip", "bold"), f"  {least:.2f} ", (drawn, "blue"), f" {most:.2f}, median {median:.2f}"
        )
    )
