"""Findings in the label index of a cache: failures, leaks, contradictions, and clips that are spread unevenly.

In: a clip table. Out: findings, the worst first; no clip is decoded. The consequence that `error`, `warning` and `note`
have here: training refuses the cache or would learn wrong labels; somebody who knows the data should look; worth
knowing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.clip_table import ClipTable
from signprep.pipeline.clip_spec import SEGMENT_SPAN
from signprep.pipeline.datasets.annotations import WHOLE_VIDEO_END
from signprep.pipeline.datasets.splits import leaks
from signprep.pipeline.runtime.text import counted
from signprep.pipeline.scan.findings import ERROR, NOTE, WARNING, Finding, worst_first
from signprep.pipeline.video.demux import GET_AGAIN
from signprep.pipeline.video.frame_times import span_of_segment

CUT_SECONDS = 0.05
"""A clip that lacks this much of its span is called cut short: labels round to hundredths."""
FAR_FROM_MEDIAN = 3.0
"""A clip so many times longer or shorter than the median is worth a look."""
RARE = 10
"""A class with a tenth of the median class's clips is called rare."""
SAME_SPAN = 0.5
"""Two labels claim the same seconds if they share at least this part of the time that either covers."""

_LEAKING = (
    ERROR,
    "Training refuses this cache: validation would ask about what was learnt by heart.",
    "Build it with --split-by auto, or correct the splits in the table it was built from.",
)
_LOOK_AT_PAIRS = "Look at them: a sign repeated very exactly may look so too."
_SHOWS_NOTHING = (WARNING, "A frozen or covered camera, or a label in a pause: look at a few of them.", "")
_ODD_LENGTH = (NOTE, "The label may be wrong: look at a few of them.", "")
CATALOGUE = {
    "failed": (ERROR, "Not in the cache.", "Get the videos again, then run the same build-cache."),
    "leak-take": _LEAKING,
    "leak-video-content": _LEAKING,
    "two-glosses": (
        ERROR,
        "A model cannot be right about both.",
        "It is meant so only where a segment has several names (--attributes all).",
    ),
    "class-empty": (ERROR, "A model never sees it.", ""),
    "damaged": (ERROR, "`signprep verify` tells which files; with --repair it makes them again from the videos.", ""),
    "alike-across-splits": (ERROR, "Validation asks about what was learnt by heart.", _LOOK_AT_PAIRS),
    "leak-signer": (
        WARNING,
        "Accuracy says nothing about people not seen in training; --split-by signer keeps them apart.",
        "",
    ),
    "labelled-twice": (WARNING, "The same clip counts twice.", ""),
    "same-video": (
        WARNING,
        "The same footage counts more than once.",
        "Delete the copies, or find the video that belongs there.",
    ),
    "class-not-in-train": (WARNING, "A model cannot learn it, and is asked about it.", ""),
    "class-not-in-val": (WARNING, "Nobody can say whether the model knows it.", ""),
    "class-rare": (WARNING, "A model will hardly ever answer it.", ""),
    "views-missing": (
        WARNING,
        "Others of their source have them: a download may be incomplete, or a video failed.",
        "",
    ),
    "cut-short": (WARNING, "What was asked for lies partly outside the video; the clip shows the part inside.", ""),
    "alike-across-glosses": (WARNING, "One of the two labels may be wrong.", _LOOK_AT_PAIRS),
    "alike": (WARNING, "The same performance counts twice.", _LOOK_AT_PAIRS),
    "still": _SHOWS_NOTHING,
    "dark": _SHOWS_NOTHING,
    "frames-repeat": (NOTE, "Their spans have fewer frames than a clip.", ""),
    "very-short": _ODD_LENGTH,
    "very-long": _ODD_LENGTH,
    "no-signer": (NOTE, "Nothing can tell whether the same person is in both splits.", ""),
    "no-split": (NOTE, "They are neither trained on nor validated with.", ""),
    "removed": (NOTE, "Their videos or labels are gone from the data.", "`signprep compact` gives back their bytes."),
    "compared": (NOTE, "--compare N compares N of them.", ""),
}
"""Severity, meaning and cure by kind of finding."""


def no_rows() -> NDArray[np.int64]:
    """Return no rows, int64 [0]."""
    return np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class ClipFinding(Finding):
    """A finding about clips of a cache."""

    rows: NDArray[np.int64] = field(default_factory=no_rows)
    """Rows of the clip table, of the clips concerned."""
    lines: tuple[str, ...] = ()
    """The classes, takes or groups of videos concerned, where the finding is not about single clips."""

    @property
    def count(self) -> int:
        """Return how many lines `examples` has at most."""
        return len(self.lines) or len(self.rows)

    def examples(self, table: ClipTable, most: int) -> list[str]:
        """Return what is concerned, a line each, `most` at most."""
        return list(self.lines[:most]) or [table.where(row) for row in self.rows[:most].tolist()]


def found(kind: str, title: str, *, rows: NDArray[np.int64] | None = None, lines: Sequence[str] = ()) -> ClipFinding:
    """Return a finding of a kind of `CATALOGUE`."""
    severity, meaning, cure = CATALOGUE[kind]
    rows = no_rows() if rows is None else rows
    return ClipFinding(
        kind=kind, severity=severity, title=title, meaning=meaning, cure=cure, rows=rows, lines=tuple(lines)
    )


def found_in_clips(rows: NDArray[np.int64], kind: str, what: str) -> Iterator[ClipFinding]:
    """Yield the finding that the clips of these rows are `what`, if there are any."""
    if len(rows):
        yield found(kind, f"{counted(len(rows), 'clip')} {what}", rows=rows)


def index_findings(table: ClipTable) -> list[ClipFinding]:
    """Return everything that the index tells, the worst first."""
    finders = (
        _failures,
        _leaks,
        _same_labels,
        _same_videos,
        _uneven_classes,
        _missing_views,
        _odd_spans,
        _unknown_names,
        _removed,
    )
    return worst_first([finding for find in finders for finding in find(table)])


def _failures(table: ClipTable) -> Iterator[ClipFinding]:
    """Find clips that could not be decoded, by reason."""
    by_reason: dict[str, list[int]] = {}
    for row in np.flatnonzero(~table.is_ok).tolist():
        by_reason.setdefault(_failure_reason(table, row), []).append(row)
    for reason, rows in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        title = f"{counted(len(rows), 'clip')} could not be decoded ({reason})"
        yield found("failed", title, rows=np.array(rows, np.int64), lines=[table.error.of(row) or "" for row in rows])


def _failure_reason(table: ClipTable, row: int) -> str:
    """Return why a clip failed, without its video's name and with N for numbers, as in `truncated at N s`."""
    error, video = table.error.of(row) or "no reason is known", table.video.of(row) or ""
    return re.sub(r"\d[\d,]*(?:\.\d+)?", "N", error.replace(video, "").lstrip(": ").removesuffix(GET_AGAIN))


def _leaks(table: ClipTable) -> Iterator[ClipFinding]:
    """Find takes, video contents and signers that are in both splits."""
    named = {"take": table.take, "video content": table.content, "signer": table.signer}
    names = [np.array(column.names, object)[column.codes].tolist() for column in (table.split, *named.values())]
    for leak in leaks(zip(*names, strict=True)):
        column, leaked = named[leak.kind], set(leak.names)
        codes = [code for code, name in enumerate(column.names) if name in leaked]
        rows = np.flatnonzero(np.isin(column.codes, codes))
        lines = _videos(table, rows) if column is table.content else leak.names
        title = f"{counted(len(leak.names), leak.kind)} both in train and in val"
        yield found(f"leak-{leak.kind.replace(' ', '-')}", title, rows=rows, lines=lines)


def _videos(table: ClipTable, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the names of videos, each once, in place of the hashes of their bytes: a line for each content."""
    names: dict[int, dict[str, None]] = {}
    for row in rows.tolist():
        names.setdefault(int(table.content.codes[row]), {})[table.video.of(row) or ""] = None
    return tuple(" = ".join(videos) for videos in names.values())


def _same_labels(table: ClipTable) -> Iterator[ClipFinding]:
    """Find labels that claim the same seconds of the same bytes."""
    same = [pair for rows in _rows_by_content(table) for pair in _same_spans(table, rows)]
    codes = table.gloss.codes
    for kind, differ, what in (("two-glosses", True, " for two glosses"), ("labelled-twice", False, "")):
        if pairs := [pair for pair in same if (codes[pair[0]] != codes[pair[1]]) == differ]:
            yield found(
                kind,
                f"{counted(len(pairs), 'pair')} of labels claim the same seconds of the same video{what}",
                rows=np.unique(pairs),
                lines=[
                    f"{' / '.join(dict.fromkeys(str(table.gloss.of(row)) for row in pair))}: "
                    f"{' = '.join(dict.fromkeys(table.where(row) for row in pair))}"
                    for pair in pairs
                ],
            )


def _rows_by_content(table: ClipTable) -> list[NDArray[np.int64]]:
    """Return the rows of each video's bytes that have more than one row, in their order."""
    order = np.argsort(table.content.codes, kind="stable")
    starts = np.flatnonzero(np.diff(table.content.codes[order])) + 1
    return [rows for rows in np.split(order, starts) if len(rows) > 1]


def _same_spans(table: ClipTable, rows: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of these rows whose labels share `SAME_SPAN` of their time."""
    starts, ends = table.label_start_seconds, table.label_end_seconds
    ordered = rows[np.argsort(starts[rows], kind="stable")].tolist()
    for place, row in enumerate(ordered):
        for other in ordered[place + 1 :]:
            if starts[other] >= ends[row]:  # and so do all later ones
                break
            covered = max(ends[row], ends[other]) - starts[row]
            shared = min(ends[row], ends[other]) - starts[other]
            if covered > 0 and shared / covered >= SAME_SPAN:
                yield row, other


def _same_videos(table: ClipTable) -> Iterator[ClipFinding]:
    """Find videos of the same bytes under several names, those with the most clips first."""
    groups = [rows for rows in _rows_by_content(table) if len(np.unique(table.video.codes[rows])) > 1]
    groups.sort(key=len, reverse=True)
    if groups:
        yield found(
            "same-video",
            f"{counted(len(groups), 'video')} under several names, byte for byte",
            rows=np.unique(np.concatenate(groups)),
            lines=[
                f"{' = '.join(table.video.sorted_names(rows))} ({', '.join(table.gloss.sorted_names(rows))})"
                for rows in groups
            ],
        )


def _uneven_classes(table: ClipTable) -> Iterator[ClipFinding]:
    """Find classes without clips, without clips in a split, and with few."""
    clips = table.gloss.counts(table.is_ok)
    yield from _of_classes(table, clips == 0, "class-empty", "without any clip")
    for split in ("train", "val"):
        if split in table.split.names:
            in_split = table.is_ok & (table.split.codes == table.split.names.index(split))
            lacks = (table.gloss.counts(in_split) == 0) & (clips > 0)
            yield from _of_classes(table, lacks, f"class-not-in-{split}", f"without a {split} clip")
    if (clips > 0).any():
        rare = (clips > 0) & (clips * RARE <= np.median(clips[clips > 0]))
        yield from _of_classes(table, rare, "class-rare", "with a tenth of the median class's clips or fewer")


def _of_classes(table: ClipTable, chosen: NDArray[np.bool_], kind: str, what: str) -> Iterator[ClipFinding]:
    """Yield the finding that the chosen classes, bool [classes], are `what`, if there are any."""
    codes = np.flatnonzero(chosen)
    if len(codes):
        rows = np.flatnonzero(np.isin(table.gloss.codes, codes) & table.is_ok)
        title = f"{counted(len(codes), 'class', 'classes')} {what}"
        yield found(kind, title, rows=rows, lines=[str(table.gloss.names[code]) for code in codes])


def _missing_views(table: ClipTable) -> Iterator[ClipFinding]:
    """Find takes without a view that others of the same source have."""
    views, ok = table.view, table.is_ok
    expected = np.zeros((len(table.source.names), len(views.names)), np.bool_)
    expected[table.source.codes[ok], views.codes[ok]] = True
    has = np.zeros((len(table.take.names), len(views.names)), np.bool_)
    has[table.take.codes[ok], views.codes[ok]] = True
    source_of = np.zeros(len(table.take.names), np.int64)
    source_of[table.take.codes] = table.source.codes
    lacks = expected[source_of] & ~has & has.any(axis=1, keepdims=True)
    # Rows without a view tell nothing about views.
    if None in views.names:
        lacks[has[:, -1]] = lacks[:, -1] = False
    takes = np.flatnonzero(lacks.any(axis=1))
    if len(takes):
        missing = [", ".join(str(views.names[code]) for code in np.flatnonzero(lacks[take])) for take in takes]
        yield found(
            "views-missing",
            f"{counted(len(takes), 'take')} without all views",
            rows=np.flatnonzero(np.isin(table.take.codes, takes)),
            lines=[f"{table.take.names[take]}: no {names}" for take, names in zip(takes, missing, strict=True)],
        )


def _odd_spans(table: ClipTable) -> Iterator[ClipFinding]:
    """Find clips that the end of their video cut short, that show frames twice, or that last oddly long."""
    ok, durations, spec = table.is_ok, table.durations_seconds, table.cache.clip_spec
    cut = np.flatnonzero(ok & _is_cut(table))
    yield from found_in_clips(cut, "cut-short", "cut short by the start or end of the video")
    for finding in found_in_clips(np.flatnonzero(ok & table.is_repeating), "frames-repeat", "with frames shown twice"):
        yield replace(finding, meaning=f"Their spans have fewer than {spec.num_frames} frames.")
    if spec.span == SEGMENT_SPAN and ok.any():
        median = float(np.median(durations[ok]))
        short = np.flatnonzero(ok & (durations * FAR_FROM_MEDIAN < median))
        yield from found_in_clips(short, "very-short", f"less than a third of the median {median:.2f} s")
        long = np.flatnonzero(ok & (durations > FAR_FROM_MEDIAN * median))
        yield from found_in_clips(long, "very-long", f"over three times the median {median:.2f} s")


def _is_cut(table: ClipTable) -> NDArray[np.bool_]:
    """Return where a clip lacks a part of the span that was asked for."""
    spec = table.cache.clip_spec
    before, after = span_of_segment(0.0, 0.0, spec)
    starts, ends = table.label_start_seconds, table.label_end_seconds
    if spec.span != SEGMENT_SPAN:
        starts = ends = (starts + ends) / 2
    starts_late, ends_early = starts + before + CUT_SECONDS, ends + after - CUT_SECONDS
    is_cut = (table.start_seconds > starts_late) | (table.end_seconds < ends_early)
    return is_cut & (table.label_end_seconds < WHOLE_VIDEO_END)


def _unknown_names(table: ClipTable) -> Iterator[ClipFinding]:
    """Find clips of which nobody knows the signer or the split."""
    for name in ("signer", "split"):
        column = table.named(name)
        if None in column.names:
            rows = np.flatnonzero(table.is_ok & (column.codes == len(column.names) - 1))
            yield from found_in_clips(rows, f"no-{name}", f"of no known {name}")


def _removed(table: ClipTable) -> Iterator[ClipFinding]:
    """Find clips that an update removed."""
    if table.num_removed:
        yield found("removed", f"{counted(table.num_removed, 'clip')} removed since the cache was built")
