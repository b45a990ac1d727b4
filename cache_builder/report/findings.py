"""Findings in the label index of a cache: failures, leaks, contradictions, and clips that are spread unevenly.

In: a clip table. Out: findings, the worst first; no clip is decoded. The consequence that `error`, `warning` and `note`
have here: training refuses the cache or would learn wrong labels; somebody who knows the data should look; worth
knowing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.clip_table import ClipTable
from signprep.cache_builder.report.duplicate_videos import same_spans, same_videos
from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec
from signprep.pipeline.datasets.segment import WHOLE_VIDEO_END
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


def index_findings(table: ClipTable, spec: ClipSpec) -> list[ClipFinding]:
    """Return everything that the index tells, the worst first."""
    return worst_first(
        [
            *_failures(table),
            *_leaks(table),
            *_same_labels(table),
            *_same_videos(table),
            *_uneven_classes(table),
            *_missing_views(table),
            *_odd_spans(table, spec),
            *_unknown_names(table),
            *_removed(table),
        ]
    )


def findings_of_rows(
    rows: NDArray[np.int64], kind: str, severity: str, what: str, meaning: str
) -> Iterator[ClipFinding]:
    """Yield the finding that the clips of these rows are `what`, if there are any."""
    if len(rows):
        title = f"{counted(len(rows), 'clip')} {what}"
        yield ClipFinding(kind=kind, severity=severity, title=title, meaning=meaning, rows=rows)


def _failures(table: ClipTable) -> Iterator[ClipFinding]:
    """Find clips that could not be decoded, by reason."""
    by_reason: dict[str, list[int]] = {}
    for row in np.flatnonzero(~table.is_ok).tolist():
        by_reason.setdefault(_failure_reason(table, row), []).append(row)
    for reason, rows in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        yield ClipFinding(
            kind="failed",
            severity=ERROR,
            title=f"{counted(len(rows), 'clip')} could not be decoded ({reason})",
            meaning="Not in the cache.",
            cure="Get the videos again, then run the same build-cache.",
            rows=np.array(rows, np.int64),
            lines=tuple(table.error.of(row) or "" for row in rows),
        )


def _failure_reason(table: ClipTable, row: int) -> str:
    """Return why a clip failed, without its video's name and with N for every number: the same reason in other videos.

    A reason `a.mp4: truncated or damaged at 1.700 s` becomes `truncated or damaged at N s`.
    """
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
        meaning, cure = (
            (
                "Training refuses this cache: validation would ask about what was learnt by heart.",
                "Build it with --split-by auto, or correct the splits in the table it was built from.",
            )
            if leak.forbidden
            else (
                "Accuracy says nothing about people not seen in training; --split-by signer keeps them apart.",
                "",
            )
        )
        yield ClipFinding(
            kind=f"leak-{leak.kind.replace(' ', '-')}",
            severity=ERROR if leak.forbidden else WARNING,
            title=f"{counted(len(leak.names), leak.kind)} both in train and in val",
            meaning=meaning,
            cure=cure,
            rows=rows,
            lines=_videos(table, rows) if column is table.content else leak.names,
        )


def _videos(table: ClipTable, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the names of videos, each once, in place of the hashes of their bytes: a line for each content."""
    names: dict[int, dict[str, None]] = {}
    for row in rows.tolist():
        names.setdefault(int(table.content.codes[row]), {})[table.video.of(row) or ""] = None
    return tuple(" = ".join(videos) for videos in names.values())


def _same_labels(table: ClipTable) -> Iterator[ClipFinding]:
    """Find labels that claim the same seconds of the same video."""
    pairs = same_spans(table)
    for is_contradiction, kind, severity, title, meaning, cure in (
        (
            True,
            "two-glosses",
            ERROR,
            " for two glosses",
            "A model cannot be right about both.",
            "It is meant so only where a segment has several names (--attributes all).",
        ),
        (False, "labelled-twice", WARNING, "", "The same clip counts twice.", ""),
    ):
        if chosen := [pair for pair in pairs if pair.is_contradiction == is_contradiction]:
            yield ClipFinding(
                kind=kind,
                severity=severity,
                title=f"{counted(len(chosen), 'pair')} of labels claim the same seconds of the same video{title}",
                meaning=meaning,
                cure=cure,
                rows=np.unique([row for pair in chosen for row in pair.rows]),
                lines=tuple(
                    f"{' / '.join(dict.fromkeys(pair.glosses))}: "
                    f"{' = '.join(dict.fromkeys(table.where(row) for row in pair.rows))}"
                    for pair in chosen
                ),
            )


def _same_videos(table: ClipTable) -> Iterator[ClipFinding]:
    """Find videos of the same bytes under several names."""
    if groups := same_videos(table):
        yield ClipFinding(
            kind="same-video",
            severity=WARNING,
            title=f"{counted(len(groups), 'video')} under several names, byte for byte",
            meaning="The same footage counts more than once.",
            cure="Delete the copies, or find the video that belongs there.",
            rows=np.unique(np.concatenate([group.rows for group in groups])),
            lines=tuple(f"{' = '.join(group.videos)} ({', '.join(group.glosses)})" for group in groups),
        )


def _uneven_classes(table: ClipTable) -> Iterator[ClipFinding]:
    """Find classes without clips, without clips in a split, and with few."""
    clips = table.gloss.counts(table.is_ok)
    yield from _of_classes(table, clips == 0, "class-empty", ERROR, "without any clip", "A model never sees it.")
    meanings = {
        "train": "A model cannot learn it, and is asked about it.",
        "val": "Nobody can say whether the model knows it.",
    }
    for split, meaning in meanings.items():
        if split in table.split.names:
            in_split = table.is_ok & (table.split.codes == table.split.names.index(split))
            lacks = (table.gloss.counts(in_split) == 0) & (clips > 0)
            yield from _of_classes(table, lacks, f"class-not-in-{split}", WARNING, f"without a {split} clip", meaning)
    if (clips > 0).any():
        rare = (clips > 0) & (clips * RARE <= np.median(clips[clips > 0]))
        what = "with a tenth of the median class's clips or fewer"
        yield from _of_classes(table, rare, "class-rare", WARNING, what, "A model will hardly ever answer it.")


def _of_classes(
    table: ClipTable, chosen: NDArray[np.bool_], kind: str, severity: str, what: str, meaning: str
) -> Iterator[ClipFinding]:
    codes = np.flatnonzero(chosen)
    if len(codes):
        yield ClipFinding(
            kind=kind,
            severity=severity,
            title=f"{counted(len(codes), 'class', 'classes')} {what}",
            meaning=meaning,
            rows=np.flatnonzero(np.isin(table.gloss.codes, codes) & table.is_ok),
            lines=tuple(str(table.gloss.names[code]) for code in codes),
        )


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
        yield ClipFinding(
            kind="views-missing",
            severity=WARNING,
            title=f"{counted(len(takes), 'take')} without all views",
            meaning="Others of their source have them: a download may be incomplete, or a video failed.",
            rows=np.flatnonzero(np.isin(table.take.codes, takes)),
            lines=tuple(f"{table.take.names[take]}: no {names}" for take, names in zip(takes, missing, strict=True)),
        )


def _odd_spans(table: ClipTable, spec: ClipSpec) -> Iterator[ClipFinding]:
    """Find clips that the end of their video cut short, that show frames twice, or that last oddly long."""
    ok, durations = table.is_ok, table.durations_seconds
    yield from findings_of_rows(
        np.flatnonzero(ok & _is_cut(table, spec)),
        "cut-short",
        WARNING,
        "cut short by the start or end of the video",
        "What was asked for lies partly outside the video; the clip shows the part inside.",
    )
    meaning = f"Their spans have fewer than {spec.num_frames} frames."
    repeating = np.flatnonzero(ok & table.is_repeating)
    yield from findings_of_rows(repeating, "frames-repeat", NOTE, "with frames shown twice", meaning)
    if spec.span == SEGMENT_SPAN and ok.any():
        median = float(np.median(durations[ok]))
        for kind, chosen, what in (
            ("very-short", durations * FAR_FROM_MEDIAN < median, "less than a third of"),
            ("very-long", durations > FAR_FROM_MEDIAN * median, "over three times"),
        ):
            meaning = "The label may be wrong: look at a few of them."
            rows, what = np.flatnonzero(ok & chosen), f"{what} the median {median:.2f} s"
            yield from findings_of_rows(rows, kind, NOTE, what, meaning)


def _is_cut(table: ClipTable, spec: ClipSpec) -> NDArray[np.bool_]:
    """Return where a clip lacks a part of the span that was asked for."""
    before, after = span_of_segment(0.0, 0.0, spec)
    starts, ends = table.label_start_seconds, table.label_end_seconds
    if spec.span != SEGMENT_SPAN:
        starts = ends = (starts + ends) / 2
    starts_late, ends_early = starts + before + CUT_SECONDS, ends + after - CUT_SECONDS
    is_cut = (table.start_seconds > starts_late) | (table.end_seconds < ends_early)
    return is_cut & (table.label_end_seconds < WHOLE_VIDEO_END)


def _unknown_names(table: ClipTable) -> Iterator[ClipFinding]:
    """Find clips of which nobody knows the signer or the split."""
    for name, column, meaning in (
        ("signer", table.signer, "Nothing can tell whether the same person is in both splits."),
        ("split", table.split, "They are neither trained on nor validated with."),
    ):
        if None in column.names:
            rows = np.flatnonzero(table.is_ok & (column.codes == len(column.names) - 1))
            yield from findings_of_rows(rows, f"no-{name}", NOTE, f"of no known {name}", meaning)


def _removed(table: ClipTable) -> Iterator[ClipFinding]:
    """Find clips that an update removed."""
    if table.num_removed:
        yield ClipFinding(
            kind="removed",
            severity=NOTE,
            title=f"{counted(table.num_removed, 'clip')} removed since the cache was built",
            meaning="Their videos or labels are gone from the data.",
            cure="`signprep compact` gives back their bytes.",
        )
