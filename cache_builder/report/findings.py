"""All findings of a cache: those of its index, and those of its clips where they were compared."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.clip_table import ClipTable, Named
from signprep.cache_builder.report.duplicate_videos import same_spans, same_videos
from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec
from signprep.pipeline.datasets.segment import WHOLE_VIDEO_END
from signprep.pipeline.datasets.splits import leaks
from signprep.pipeline.runtime.text import counted
from signprep.pipeline.video.demux import GET_AGAIN
from signprep.pipeline.video.frame_times import span_of_segment

WRONG, LOOK, NOTE = "wrong", "look", "note"


def no_rows() -> NDArray[np.int64]:
    """Return no rows, int64 [0]."""
    return np.zeros(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something to look at."""

    kind: str
    """A short word: the same for the same kind of finding in every cache."""
    gravity: str
    """`wrong`, `look` or `note`."""
    title: str
    meaning: str
    """What follows from it, and what to do."""
    rows: NDArray[np.int64] = field(default_factory=no_rows)
    """Of the columns: the clips concerned."""
    lines: tuple[str, ...] = ()
    """What is concerned, where that is not single clips: classes, takes, groups of videos."""

    def examples(self, columns: ClipTable, most: int) -> list[str]:
        """Return what is concerned, a line each, `most` at most."""
        return list(self.lines[:most]) or [columns.where(row) for row in self.rows[:most].tolist()]


def by_gravity(findings: list[Finding]) -> list[Finding]:
    """Return findings with the gravest first, those of equal gravity in their order."""
    return sorted(findings, key=lambda finding: (WRONG, LOOK, NOTE).index(finding.gravity))


def of_clips(chosen: NDArray[np.bool_], kind: str, gravity: str, what: str, meaning: str) -> Iterator[Finding]:
    """Yield the finding that these clips are `what`, if there are any."""
    rows = np.flatnonzero(chosen)
    if len(rows):
        title = f"{counted(len(rows), 'clip')} {what}"
        yield Finding(kind=kind, gravity=gravity, title=title, meaning=meaning, rows=rows)


def failure_reason(columns: ClipTable, row: int) -> str:
    """Return why a clip failed, without its video's name and with N for every number: the same reason in other videos.

    A reason `a.mp4: truncated or damaged at 1.700 s` becomes `truncated or damaged at N s`.
    """
    error, video = columns.error.of(row) or "no reason is known", columns.video.of(row) or ""
    return re.sub(r"\d[\d,]*(?:\.\d+)?", "N", error.replace(video, "").lstrip(": ").removesuffix(GET_AGAIN))


def failures(columns: ClipTable) -> Iterator[Finding]:
    """Find clips that could not be decoded, by reason."""
    by_reason: dict[str, list[int]] = {}
    for row in np.flatnonzero(~columns.is_ok).tolist():
        by_reason.setdefault(failure_reason(columns, row), []).append(row)
    for reason, rows in sorted(by_reason.items(), key=lambda pair: -len(pair[1])):
        yield Finding(
            kind="failed",
            gravity=WRONG,
            title=f"{counted(len(rows), 'clip')} could not be decoded ({reason})",
            meaning="Not in the cache. Get the videos again, then run the same build-cache.",
            rows=np.array(rows, np.int64),
            lines=tuple(columns.error.of(row) or "" for row in rows),
        )


def leaking(columns: ClipTable) -> Iterator[Finding]:
    """Find takes, video contents and signers that are in both splits."""
    named = {"take": columns.take, "video content": columns.content, "signer": columns.signer}
    rows_of = [columns.split, *named.values()]
    names = [np.array(column.names, object)[column.codes].tolist() for column in rows_of]
    for leak in leaks(zip(*names, strict=True)):
        column = named[leak.kind]
        leaked = set(leak.names)
        codes = [code for code, name in enumerate(column.names) if name in leaked]
        rows = np.flatnonzero(np.isin(column.codes, codes))
        yield Finding(
            kind=f"leak-{leak.kind.replace(' ', '-')}",
            gravity=WRONG if leak.forbidden else LOOK,
            title=f"{counted(len(leak.names), leak.kind)} both in train and in val",
            meaning=(
                "Training refuses this cache: validation would ask about what was learnt by heart. Build it with "
                "--split-by auto, or correct the splits in the table it was built from."
                if leak.forbidden
                else "Accuracy says nothing about people not seen in training; --split-by signer keeps them apart."
            ),
            rows=rows,
            lines=_videos(columns, rows) if column is columns.content else leak.names,
        )


def _videos(columns: ClipTable, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Return the names of videos, each once, in place of the hashes of their bytes: a line for each content."""
    names: dict[int, dict[str, None]] = {}
    for row in rows.tolist():
        names.setdefault(int(columns.content.codes[row]), {})[columns.video.of(row) or ""] = None
    return tuple(" = ".join(videos) for videos in names.values())


def same_labels(columns: ClipTable) -> Iterator[Finding]:
    """Find labels that claim the same seconds of the same video."""
    pairs = same_spans(columns)
    for is_contradiction in (True, False):
        chosen = [pair for pair in pairs if pair.is_contradiction == is_contradiction]
        if chosen:
            yield Finding(
                kind="two-glosses" if is_contradiction else "labelled-twice",
                gravity=WRONG if is_contradiction else LOOK,
                title=f"{counted(len(chosen), 'pair')} of labels claim the same seconds of the same video"
                + (" for two glosses" if is_contradiction else ""),
                meaning=(
                    "A model cannot be right about both. It is meant so only where a segment has several names "
                    "(--attributes all)."
                    if is_contradiction
                    else "The same clip counts twice."
                ),
                rows=np.unique([row for pair in chosen for row in pair.rows]),
                lines=tuple(
                    f"{' / '.join(dict.fromkeys(pair.glosses))}: "
                    f"{' = '.join(dict.fromkeys(columns.where(row) for row in pair.rows))}"
                    for pair in chosen
                ),
            )


def same_footage(columns: ClipTable) -> Iterator[Finding]:
    """Find videos of the same bytes under several names."""
    if groups := same_videos(columns):
        yield Finding(
            kind="same-video",
            gravity=LOOK,
            title=f"{counted(len(groups), 'video')} under several names, byte for byte",
            meaning="The same footage counts more than once. Delete the copies, or find the video that belongs there.",
            rows=np.unique(np.concatenate([group.rows for group in groups])),
            lines=tuple(f"{' = '.join(group.videos)} ({', '.join(group.glosses)})" for group in groups),
        )


def removed(columns: ClipTable) -> Iterator[Finding]:
    """Find clips that an update removed."""
    if columns.num_removed:
        yield Finding(
            kind="removed",
            gravity=NOTE,
            title=f"{counted(columns.num_removed, 'clip')} removed since the cache was built",
            meaning="Their videos or labels are gone from the data. `signprep compact` gives back their bytes.",
        )


CUT_SECONDS = 0.05
"""A clip that lacks this much of its span is called cut short: labels round to hundredths."""
FAR_FROM_MEDIAN = 3.0
"""A clip so many times longer or shorter than the median is worth a look."""
RARE = 10
"""A class with a tenth of the median class's clips is called rare."""


def uneven_classes(columns: ClipTable) -> Iterator[Finding]:
    """Find classes without clips, without clips in a split, and with few."""
    clips = columns.gloss.counts(columns.is_ok)
    yield from _named_classes(columns, clips == 0, "class-empty", WRONG, "without any clip", "A model never sees it.")
    meanings = {
        "train": "A model cannot learn it, and is asked about it.",
        "val": "Nobody can say whether the model knows it.",
    }
    for split, meaning in meanings.items():
        if split in columns.split.names:
            in_split = columns.is_ok & (columns.split.codes == columns.split.names.index(split))
            lacks = (columns.gloss.counts(in_split) == 0) & (clips > 0)
            yield from _named_classes(columns, lacks, f"class-not-in-{split}", LOOK, f"without a {split} clip", meaning)
    if (clips > 0).any():
        rare = (clips > 0) & (clips * RARE <= np.median(clips[clips > 0]))
        what = "with a tenth of the median class's clips or fewer"
        yield from _named_classes(columns, rare, "class-rare", LOOK, what, "A model will hardly ever answer it.")


def _named_classes(
    columns: ClipTable, chosen: NDArray[np.bool_], kind: str, gravity: str, what: str, meaning: str
) -> Iterator[Finding]:
    codes = np.flatnonzero(chosen)
    if len(codes):
        noun = "class" if len(codes) == 1 else "classes"
        yield Finding(
            kind=kind,
            gravity=gravity,
            title=f"{len(codes):,} {noun} {what}",
            meaning=meaning,
            rows=np.flatnonzero(np.isin(columns.gloss.codes, codes) & columns.is_ok),
            lines=tuple(str(columns.gloss.names[code]) for code in codes),
        )


def missing_views(columns: ClipTable) -> Iterator[Finding]:
    """Find takes without a view that others of the same source have."""
    views = columns.view
    num_views = len(views.names)
    shape = (len(columns.source.names), num_views)
    expected = np.zeros(shape, np.bool_)
    expected[columns.source.codes[columns.is_ok], views.codes[columns.is_ok]] = True
    has = np.zeros((len(columns.take.names), num_views), np.bool_)
    has[columns.take.codes[columns.is_ok], views.codes[columns.is_ok]] = True
    source_of = np.zeros(len(columns.take.names), np.int64)
    source_of[columns.take.codes] = columns.source.codes
    lacks = expected[source_of] & ~has & has.any(axis=1, keepdims=True)
    # Rows without a view tell nothing about views.
    if None in views.names:
        lacks[has[:, -1]] = lacks[:, -1] = False
    takes = np.flatnonzero(lacks.any(axis=1))
    if len(takes):
        yield Finding(
            kind="views-missing",
            gravity=LOOK,
            title=f"{counted(len(takes), 'take')} without all views",
            meaning="Others of their source have them: a download may be incomplete, or a video failed.",
            rows=np.flatnonzero(np.isin(columns.take.codes, takes)),
            lines=tuple(f"{columns.take.names[take]}: no {_listed(views, lacks[take])}" for take in takes),
        )


def _listed(named: Named, chosen: NDArray[np.bool_]) -> str:
    return ", ".join(str(named.names[code]) for code in np.flatnonzero(chosen))


def odd_spans(columns: ClipTable, spec: ClipSpec) -> Iterator[Finding]:
    """Find clips that the end of their video cut short, that show frames twice, or that last oddly long."""
    ok, durations = columns.is_ok, columns.durations_seconds
    yield from of_clips(
        ok & _is_cut(columns, spec),
        "cut-short",
        LOOK,
        "cut short by the start or end of the video",
        "What was asked for lies partly outside the video; the clip shows the part inside.",
    )
    yield from of_clips(
        ok & columns.is_repeating,
        "frames-repeat",
        NOTE,
        "with frames shown twice",
        f"Their spans have fewer than {spec.num_frames} frames.",
    )
    if spec.span == SEGMENT_SPAN and ok.any():
        median = float(np.median(durations[ok]))
        meaning = "The label may be wrong: look at a few of them."
        short, long = durations * FAR_FROM_MEDIAN < median, durations > FAR_FROM_MEDIAN * median
        yield from of_clips(ok & short, "very-short", NOTE, f"less than a third of the median {median:.2f} s", meaning)
        yield from of_clips(ok & long, "very-long", NOTE, f"over three times the median {median:.2f} s", meaning)


def _is_cut(columns: ClipTable, spec: ClipSpec) -> NDArray[np.bool_]:
    """Return where a clip lacks a part of the span that was asked for."""
    before, after = span_of_segment(0.0, 0.0, spec)
    starts, ends = columns.label_start_seconds, columns.label_end_seconds
    if spec.span != SEGMENT_SPAN:
        starts = ends = (starts + ends) / 2
    is_cut = (columns.start_seconds > starts + before + CUT_SECONDS) | (
        columns.end_seconds < ends + after - CUT_SECONDS
    )
    return is_cut & (columns.label_end_seconds < WHOLE_VIDEO_END)


def unknown_names(columns: ClipTable) -> Iterator[Finding]:
    """Find clips of which nobody knows the signer or the split."""
    meanings = {
        "signer": "Nothing can tell whether the same person is in both splits.",
        "split": "They are neither trained on nor validated with.",
    }
    for name, meaning in meanings.items():
        column: Named = getattr(columns, name)
        if None in column.names:
            unknown = column.codes == len(column.names) - 1
            yield from of_clips(columns.is_ok & unknown, f"no-{name}", NOTE, f"of no known {name}", meaning)


def index_findings(columns: ClipTable, spec: ClipSpec) -> list[Finding]:
    """Return what the index tells, the gravest first; nothing is decoded."""
    return by_gravity(
        [
            *failures(columns),
            *leaking(columns),
            *same_labels(columns),
            *same_footage(columns),
            *uneven_classes(columns),
            *missing_views(columns),
            *odd_spans(columns, spec),
            *unknown_names(columns),
            *removed(columns),
        ]
    )
