"""The report of a cache: one HTML file of at most 20 MB.

In: a cache. Out: the file, and a summary of it. Every clip goes into the page as columns of numbers: JSON, compressed
by gzip and written in base64. Half a million rows fit into a few megabytes, no character of a name can mean anything to
HTML, and the browser unpacks them itself. Moving pictures get the room that is left. A cache behind a URL, whose shards
would all be fetched for them, has none unless asked.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from signprep.cache_builder import as_cache
from signprep.cache_builder.options import CLIPS_A_CHOSEN_CLASS, CLIPS_A_CLASS, COMPARED_CLIPS, ReportOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import ClipTable, Named, clip_table
from signprep.cache_builder.report.findings import ClipFinding, index_findings
from signprep.cache_builder.report.near_duplicates import ALIKE_KINDS, Comparison, compare_clips, footage_findings
from signprep.cache_builder.report.overlay import COLOURS_TOLD, Overlay
from signprep.cache_builder.report.pictures import PicturePlan, make_pictures, plan_pictures, shown_rows
from signprep.cache_builder.report.statistics import (
    Balance,
    Durations,
    about_cache,
    balances,
    cache_name,
    coverage,
    durations,
    main_figures,
)
from signprep.pipeline.datasets.annotations import normal_gloss
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.html.page import KIT_SCRIPTS, Chart, packed, render_page, round_up
from signprep.pipeline.runtime.atomic_files import atomic_write, require_writable
from signprep.pipeline.runtime.machine import usable_cores
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import byte_size, counted
from signprep.pipeline.scan.findings import ERROR, WARNING, worst_first

SCRIPTS = ("names", "filter", "pictures", "classes", "coverage", "clips", "start")
"""Files of the one script of the page behind those of all pages, in the order in which they build on one another."""
SHOWN_LINES = 100
"""Lines of a finding that are shown; the list of clips has the others."""
MOST_ROWS = 60
"""Rows of a table; of more classes the largest and the smallest `ENDS` are shown."""
ENDS = 12
LISTED_CLIPS = 600_000
"""The page lists so many clips: those of the first classes of a larger cache."""
FILTERS = ("signer", "view", "split", "source")
"""Columns by which the page filters, besides the gloss."""
MAX_BYTES = 20_000_000
SHOWN_PAIRS = 12
_ROOM_FOR_LISTS = 100_000
"""Bytes left for the lists, whose length is not known before the pictures are."""
FREELY_FETCHED_BYTES = 500_000_000
"""A cache behind a URL of no more stored bytes is read as if it were here."""


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """A summary of a report that was written."""

    path: Path
    num_bytes: int
    num_clips: int
    num_pictures: int
    findings: tuple[ClipFinding, ...]
    overlay: str = ""
    """What is drawn over the pictures, in words."""

    def __str__(self) -> str:
        num_of = Counter(finding.severity for finding in self.findings)
        return (
            f"{self.path}: {counted(self.num_clips, 'clip')}, {counted(self.num_pictures, 'moving picture')}, "
            f"{byte_size(self.num_bytes)}; {counted(num_of[ERROR], 'error')}, {counted(num_of[WARNING], 'warning')}"
            + (f"\n{self.overlay}" if self.overlay else "")
        )


def write_report(cache: Cache | StrPath, path: StrPath, options: ReportOptions = ReportOptions()) -> WrittenReport:
    """Write the report of a cache, which is open or given by its path or URL.

    Raises SignprepError if the file cannot be written, a class is unknown, or the landmarks are of other clips.
    """
    path, cache = as_path(path), as_cache(cache)
    require_writable(path)
    overlay = None if options.landmarks is None else Overlay(cache, options.landmarks)
    table = clip_table(cache)
    classes = class_codes(table, options.classes)
    options = replace(options, threads=options.threads or min(8, usable_cores()))
    comparison = _compared(table, options)
    findings = worst_first([*index_findings(table), *footage_findings(table, comparison)])
    listed = listed_rows(table, classes)
    play = ["signprep", "play", cache_name(cache)]
    play += [] if options.landmarks is None else ["--landmarks", cache_name(options.landmarks)]
    clips = packed_clips(table, listed, findings, shlex.join(play))
    places = {row: place for place, row in enumerate(listed.tolist())}
    page = partial(_page, table, findings, clips, _pairs_to_show(comparison, places))
    # The page without its pictures tells how much room they have.
    room = MAX_BYTES - len(page().encode()) - _ROOM_FOR_LISTS
    plan, pictures = _pictures(table, classes, comparison, options, room, overlay)
    notes = _notes(table, listed, len(pictures), plan.num_asked - len(pictures))
    if overlay is not None and pictures:
        notes.append(f"{overlay}: {COLOURS_TOLD}.")
    html = page(notes=notes, pictures=_packed_pictures(places, plan.quality.side, pictures)).encode()
    with atomic_write(path) as part:
        part.write_bytes(html)
    return WrittenReport(
        path=path,
        num_bytes=len(html),
        num_clips=len(table),
        num_pictures=len(pictures),
        findings=tuple(findings),
        overlay="" if overlay is None else str(overlay),
    )


def class_codes(table: ClipTable, glosses: Sequence[str]) -> NDArray[np.int64]:
    """Return the places of glosses among a cache's classes, or all places if no gloss is given.

    Raises SignprepError if a gloss is not among them.
    """
    names = table.gloss.names
    places = {name: place for place, name in enumerate(names)}
    glosses = [normal_gloss(gloss) for gloss in glosses]
    for gloss in glosses:
        if gloss not in places:
            near = get_close_matches(gloss, table.gloss.known, n=3)
            hint = f"; there is {', '.join(near)}" if near else ""
            raise SignprepError(f"--classes: {gloss!r} is none of the cache's {len(names):,} classes{hint}")
    return np.array([places[gloss] for gloss in glosses] if glosses else range(len(names)), np.int64)


def _is_read_freely(cache: Cache) -> bool:
    stored_bytes = sum(entry.num_bytes for entry in cache.manifest.objects.values())
    return not cache.is_streamed or stored_bytes <= FREELY_FETCHED_BYTES


def _compared(table: ClipTable, options: ReportOptions) -> Comparison:
    most = options.compare
    if most is None:
        most = COMPARED_CLIPS if _is_read_freely(table.cache) else 0
    num_compared = min(most, int(table.is_ok.sum()))
    with progress_bar("Comparing", num_compared, "clips") as progress:
        return compare_clips(table, most=most, threads=options.threads or 1, progress=progress)


def _pairs_to_show(comparison: Comparison, places: Mapping[int, int]) -> dict[str, list[tuple[int, int]]]:
    """Return pairs to show as pictures, as places in the list of clips, by the kind of finding."""
    pairs: dict[str, list[tuple[int, int]]] = {}
    for pair in comparison.pairs[:SHOWN_PAIRS]:
        if all(row in places for row in pair.rows):
            pairs.setdefault(ALIKE_KINDS[pair.difference][0], []).append((places[pair.rows[0]], places[pair.rows[1]]))
    return pairs


def _pictures(
    table: ClipTable,
    classes: NDArray[np.int64],
    comparison: Comparison,
    options: ReportOptions,
    room: int,
    overlay: Overlay | None,
) -> tuple[PicturePlan, dict[int, str]]:
    """Return what was to be shown, and the pictures that there was room for, by row."""
    most = options.clips_per_class
    if most is None:
        default = CLIPS_A_CHOSEN_CLASS if options.classes else CLIPS_A_CLASS
        most = default if options.classes or _is_read_freely(table.cache) else 0
    in_pairs = [row for pair in comparison.pairs[:SHOWN_PAIRS] for row in pair.rows] if most else []
    plan = plan_pictures(table, shown_rows(table, classes, most), room, always=in_pairs, overlay=overlay)
    with progress_bar("Making pictures", len(plan.rows), "pictures") as progress:
        threads = options.threads or 1
        pictures = make_pictures(table, plan, room, threads=threads, overlay=overlay, progress=progress)
    return plan, pictures


def _notes(table: ClipTable, listed: NDArray[np.int64], num_shown: int, num_left_out: int) -> list[str]:
    """Return remarks on what the lists leave out."""
    notes = []
    if not num_shown and not _is_read_freely(table.cache):
        notes.append("No pictures: the clips lie behind a URL. --clips-per-class 1, or --classes, fetches them.")
    elif num_left_out:
        fitting = counted(num_shown, "picture")
        notes.append(f"{fitting} fit into this file; --classes GLOSS makes more of the classes named.")
    if len(listed) < len(table):
        some = f"{len(listed):,} of {len(table):,} clips"
        notes.append(f"The lists have {some}; --classes GLOSS puts the classes named first.")
    return notes


def _page(
    table: ClipTable,
    findings: Sequence[ClipFinding],
    clips: str,
    pairs: Mapping[str, Sequence[tuple[int, int]]],
    *,
    notes: Sequence[str] = (),
    pictures: Mapping[str, Any] | None = None,
) -> str:
    """Return the page: `clips` come from `packed_clips`, `pictures` from `_packed_pictures`.

    `pairs` are clips to show side by side, as places in the list of clips, by kind of finding.
    """
    found = balances(table)
    glosses, lasting = found.pop("gloss", None), durations(table)
    return render_page(
        files("signprep.cache_builder.report") / "web",
        "report.html",
        scripts=[*KIT_SCRIPTS, *(f"{name}.js" for name in SCRIPTS)],
        title=cache_name(table.cache),
        about=about_cache(table.cache),
        figures=[(name, figure, [more]) for name, figure, more in main_figures(table)],
        table=table,
        findings=findings,
        pairs=pairs,
        splits=table.split.names,
        balances=[
            _balance_table(balance, f"{name.capitalize()}s ({len(balance.names):,})", range(len(balance.names)))
            for name, balance in found.items()
            if name == "split" or len(balance.names) > 1
        ],
        classes=_class_tables(glosses) if glosses else None,
        durations=_durations(lasting) if lasting else None,
        coverage=coverage(table),
        clips=clips,
        notes=notes,
        pictures=pictures or {},
        shown_lines=SHOWN_LINES,
        most_rows=MOST_ROWS,
    )


def _balance_table(balance: Balance, title: str, places: Sequence[int]) -> dict[str, Any]:
    """Return the names at these places with their clips in each split, as far as there is room, and what is left."""
    shown, left = places[:MOST_ROWS], places[MOST_ROWS:]
    return {
        "title": title,
        "column": balance.column,
        "rows": [(balance.names[place], balance.clips[place].tolist()) for place in shown],
        "longest": int(balance.totals.max(initial=0)),
        "num_left": len(left),
        "clips_left": int(balance.totals[list(left)].sum()),
    }


def _class_tables(balance: Balance) -> dict[str, Any]:
    """Return clips by class: all of a few classes, else a curve with the largest and the smallest."""
    totals = balance.totals
    order = np.argsort(-totals, kind="stable").tolist()
    if len(order) <= MOST_ROWS:
        return {"curve": None, "tables": [_balance_table(balance, f"Classes ({len(order):,})", order)]}
    told = (
        f"{len(order):,} classes of {int(totals.min()):,} to {counted(int(totals.max()), 'clip')}; half of them have "
        f"{int(np.median(totals)):,} or fewer."
    )
    ends = (("Largest classes", order[:ENDS]), ("Smallest classes", order[: -ENDS - 1 : -1]))
    tables = [_balance_table(balance, title, places) for title, places in ends]
    return {"curve": _class_curve(totals), "told": told, "tables": tables}


def _durations(lasting: Durations) -> dict[str, Any]:
    """Return a chart of how many clips last how long, and its quantiles in a sentence."""
    edges, clips = lasting.edges_seconds.tolist(), lasting.clips.tolist()
    chart = _chart_of_clips("Durations of the clips", max(clips), (edges[0], edges[-1]))
    for start, end, number in zip(edges[:-1], edges[1:], clips, strict=True):
        chart.column(start, end, number, f"{start:g} to {end:g} s: {number:,} clips")
    chart.x_axis({edge: f"{edge:g} s" for edge in edges[:: -(-len(clips) // 7)]})  # about seven labels
    least, low, median, high, most = lasting.quantiles_seconds
    chart.mark(median, f"median {median:.2f} s")
    told = (
        f"From {least:.2f} to {most:.2f} s, half of the clips under {median:.2f} s, nine tenths between {low:.2f} and "
        f"{high:.2f} s."
    )
    return {"chart": chart.svg(), "told": told}


def _class_curve(clips: NDArray[np.int64]) -> Markup:
    """Return a chart of the numbers of clips of all classes, the largest class first, as an area of steps."""
    ordered = np.sort(clips)[::-1]
    num_classes = len(ordered)
    chart = _chart_of_clips("Clips of the classes, the largest first", int(ordered[0]), (0, num_classes))
    shown = np.linspace(0, num_classes - 1, min(600, num_classes)).round().astype(int).tolist()
    steps = [(place + width, int(ordered[place])) for place in shown for width in (0, num_classes / len(shown))]
    chart.line("area", [(0, 0), *steps, (num_classes, 0)])
    labels = [round((num_classes - 1) * quarter / 4) for quarter in range(5)]
    chart.x_axis({num_classes * quarter / 4: f"{place + 1:,}." for quarter, place in enumerate(labels)})
    return chart.svg()


def _chart_of_clips(title: str, most_clips: int, x_range: tuple[float, float]) -> Chart:
    end = round_up(most_clips)
    chart = Chart(title=title, x_range=x_range, y_range=(0, end))
    chart.y_axis({end * quarter // 4: f"{end * quarter // 4:,}" for quarter in range(5)}, unit="clips")
    return chart


def listed_rows(table: ClipTable, first_classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that the page lists, in the order of positions: all, or whole classes up to `LISTED_CLIPS`.

    `first_classes`, places among the glosses, come first if there is no room for all.
    """
    if len(table) <= LISTED_CLIPS:
        return np.arange(len(table))
    num_classes = len(table.gloss.names)
    order = np.concatenate([first_classes, np.setdiff1d(np.arange(num_classes), first_classes)])
    sizes = np.bincount(table.gloss.codes, minlength=num_classes)[order]
    fitting = order[np.cumsum(sizes) <= LISTED_CLIPS]
    return np.flatnonzero(np.isin(table.gloss.codes, fitting))


def packed_clips(table: ClipTable, rows: NDArray[np.int64], findings: Sequence[ClipFinding], command: str) -> str:
    """Return the listed rows and what was found about them; a position added to `command` plays a clip."""
    places = np.full(len(table), -1)
    places[rows] = np.arange(len(rows))
    document: dict[str, Any] = {
        "command": command,
        "position": table.positions[rows].tolist(),
        "ok": table.is_ok[rows].astype(int).tolist(),
        "start": np.round(table.start_seconds[rows], 3).tolist(),
        "end": np.round(table.end_seconds[rows], 3).tolist(),
        "findings": [
            {"title": finding.title, "rows": [place for place in places[finding.rows].tolist() if place >= 0]}
            for finding in findings
        ],
    }
    for name in ("gloss", *FILTERS, "video", "error"):
        document[name] = _named(table.named(name), rows, keep_all=name in ("gloss", *FILTERS))
    return packed(document)


def _packed_pictures(places: Mapping[int, int], side: int, by_row: Mapping[int, str]) -> dict[str, Any]:
    """Return the pictures of the listed rows, `side` pixels wide: each one's place in the list, and its base64."""
    shown = [row for row in by_row if row in places]
    return {"side": side, "clips": [places[row] for row in shown], "webp": [by_row[row] for row in shown]}


def _named(column: Named, rows: NDArray[np.int64], *, keep_all: bool) -> dict[str, Any]:
    """Return a column as names and codes, without names that no listed row has unless `keep_all`."""
    if keep_all:
        return {"names": column.names, "codes": column.codes[rows].tolist()}
    used, codes = np.unique(column.codes[rows], return_inverse=True)
    return {"names": [column.names[code] for code in used.tolist()], "codes": codes.tolist()}
