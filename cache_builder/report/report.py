"""The whole way from a cache to its report: figures, findings, comparison, pictures, one file.

In: a cache. Out: an HTML file of at most 20 MB, and a summary of it. Figures and lists come first; pictures get what
room they leave. A cache behind a URL, whose shards would all be fetched for them, shows none unless asked.
"""

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.options import CLIPS_A_CHOSEN_CLASS, CLIPS_A_CLASS, COMPARED_CLIPS, ReportOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import ClipTable, clip_table
from signprep.cache_builder.report.findings import ClipFinding, index_findings
from signprep.cache_builder.report.near_duplicates import ALIKE_KINDS, Comparison, compare_clips, footage_findings
from signprep.cache_builder.report.page import listed_rows, packed_clips, packed_pictures, report_page
from signprep.cache_builder.report.pictures import PicturePlan, make_pictures, plan_pictures, shown_rows
from signprep.cache_builder.report.statistics import cache_name
from signprep.pipeline.datasets.annotations import normal_gloss
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_write, require_writable
from signprep.pipeline.runtime.machine import usable_cores
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import byte_size, counted
from signprep.pipeline.scan.findings import ERROR, WARNING, worst_first

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

    def __str__(self) -> str:
        num_of = Counter(finding.severity for finding in self.findings)
        return (
            f"{self.path}: {counted(self.num_clips, 'clip')}, {counted(self.num_pictures, 'moving picture')}, "
            f"{byte_size(self.num_bytes)}; {counted(num_of[ERROR], 'error')}, {counted(num_of[WARNING], 'warning')}"
        )


def write_report(cache: Cache, path: Path, options: ReportOptions = ReportOptions()) -> WrittenReport:
    """Write the report of a cache. Raises SignprepError if the file cannot be written, or a class is unknown."""
    require_writable(path)
    table = clip_table(cache)
    classes = class_codes(table, options.classes)
    comparison = _compared(table, options)
    findings = worst_first([*index_findings(table), *footage_findings(table, comparison)])
    listed = listed_rows(table, classes)
    clips = packed_clips(table, listed, findings, f"signprep play {shlex.quote(cache_name(cache))}")
    pairs = _pairs_to_show(comparison, listed)
    # The page without its pictures tells how much room they have.
    room = MAX_BYTES - len(report_page(table, findings, clips, pairs).encode()) - _ROOM_FOR_LISTS
    plan, pictures = _pictures(table, classes, comparison, options, room)
    html = report_page(
        table,
        findings,
        clips,
        pairs,
        notes=_notes(table, listed, len(pictures), plan.num_asked - len(pictures)),
        pictures=packed_pictures(listed, plan.quality.side, pictures),
    ).encode()
    with atomic_write(path) as part:
        part.write_bytes(html)
    return WrittenReport(
        path=path,
        num_bytes=len(html),
        num_clips=len(table),
        num_pictures=len(pictures),
        findings=tuple(findings),
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


def _threads(options: ReportOptions) -> int:
    return options.threads or min(8, usable_cores())


def _compared(table: ClipTable, options: ReportOptions) -> Comparison:
    most = options.compare
    if most is None:
        most = COMPARED_CLIPS if _is_read_freely(table.cache) else 0
    num_compared = min(most, int(table.is_ok.sum()))
    with progress_bar("Comparing", num_compared, "clips") as progress:
        return compare_clips(table, most=most, threads=_threads(options), progress=progress)


def _pairs_to_show(comparison: Comparison, listed: NDArray[np.int64]) -> dict[str, list[tuple[int, int]]]:
    """Return pairs to show as pictures, as places in the list of clips, by the kind of finding."""
    places = {row: place for place, row in enumerate(listed.tolist())}
    pairs: dict[str, list[tuple[int, int]]] = {}
    for pair in comparison.pairs[:SHOWN_PAIRS]:
        if all(row in places for row in pair.rows):
            pairs.setdefault(ALIKE_KINDS[pair.difference], []).append((places[pair.rows[0]], places[pair.rows[1]]))
    return pairs


def _pictures(
    table: ClipTable, classes: NDArray[np.int64], comparison: Comparison, options: ReportOptions, room: int
) -> tuple[PicturePlan, dict[int, str]]:
    """Return what was to be shown, and the pictures that there was room for, by row."""
    most = options.clips_per_class
    if most is None:
        default = CLIPS_A_CHOSEN_CLASS if options.classes else CLIPS_A_CLASS
        most = default if options.classes or _is_read_freely(table.cache) else 0
    in_pairs = [row for pair in comparison.pairs[:SHOWN_PAIRS] for row in pair.rows] if most else []
    plan = plan_pictures(table, shown_rows(table, classes, most), room, always=in_pairs)
    with progress_bar("Making pictures", len(plan.rows), "pictures") as progress:
        pictures = make_pictures(table, plan, room, threads=_threads(options), progress=progress)
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
