"""What the index says of how clips are spread: over classes, views and time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.columns import ClipColumns, Named
from signprep.cache_builder.report.findings import LOOK, NOTE, WRONG, Finding, of_clips
from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec
from signprep.pipeline.datasets.segment import WHOLE_VIDEO_END
from signprep.pipeline.runtime.text import counted
from signprep.pipeline.video.frame_times import span_of_segment

CUT_SECONDS = 0.05
"""A clip that lacks this much of its span is called cut short: labels round to hundredths."""
FAR_FROM_MEDIAN = 3.0
"""A clip so many times longer or shorter than the median is worth a look."""
RARE = 10
"""A class with a tenth of the median class's clips is called rare."""


def uneven_classes(columns: ClipColumns) -> Iterator[Finding]:
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
    columns: ClipColumns, chosen: NDArray[np.bool_], kind: str, gravity: str, what: str, meaning: str
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


def missing_views(columns: ClipColumns) -> Iterator[Finding]:
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


def odd_spans(columns: ClipColumns, spec: ClipSpec) -> Iterator[Finding]:
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


def _is_cut(columns: ClipColumns, spec: ClipSpec) -> NDArray[np.bool_]:
    """Return where a clip lacks a part of the span that was asked for."""
    before, after = span_of_segment(0.0, 0.0, spec)
    starts, ends = columns.label_start_seconds, columns.label_end_seconds
    if spec.span != SEGMENT_SPAN:
        starts = ends = (starts + ends) / 2
    is_cut = (columns.start_seconds > starts + before + CUT_SECONDS) | (
        columns.end_seconds < ends + after - CUT_SECONDS
    )
    return is_cut & (columns.label_end_seconds < WHOLE_VIDEO_END)


def unknown_names(columns: ClipColumns) -> Iterator[Finding]:
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
