"""What a comparison of the clips themselves shows: the same footage under other bytes, and clips that show nothing."""

from collections.abc import Iterator

import numpy as np

from signprep.cache_builder.report.alike import AlikePair, Comparison
from signprep.cache_builder.report.columns import ClipColumns
from signprep.cache_builder.report.findings import LOOK, NOTE, WRONG, Finding
from signprep.pipeline.runtime.text import counted

_ALIKE = {
    "split": ("alike-across-splits", WRONG, " in two splits", "Validation asks about what was learnt by heart."),
    "gloss": ("alike-across-glosses", LOOK, " under two glosses", "One of the two labels may be wrong."),
    "": ("alike", LOOK, "", "The same performance counts twice."),
}
"""By what two clips do not share: kind and gravity of the finding, and what is said of it."""

ALIKE_KINDS = {difference: kind for difference, (kind, *_) in _ALIKE.items()}
"""Kinds of findings about pairs, by what two clips do not share."""


def footage_findings(columns: ClipColumns, comparison: Comparison) -> Iterator[Finding]:
    """Find what a comparison of clips shows."""
    if len(comparison.damaged_rows):
        yield Finding(
            kind="damaged",
            gravity=WRONG,
            title=f"{counted(len(comparison.damaged_rows), 'clip')} of damaged bytes",
            meaning="`signprep verify` tells which files; with --repair it makes them again from the videos.",
            rows=comparison.damaged_rows,
        )
    yield from _pairs(columns, comparison)
    for rows, kind, gravity, what in (
        (comparison.still_rows, "still", LOOK, "in which nothing moves"),
        (comparison.dark_rows, "dark", LOOK, "in which hardly anything can be seen"),
    ):
        if len(rows):
            meaning = "A frozen or covered camera, or a label in a pause: look at a few of them."
            title = f"{counted(len(rows), 'clip')} {what}"
            yield Finding(kind=kind, gravity=gravity, title=title, meaning=meaning, rows=rows)
    if comparison.num_clips < comparison.num_all:
        yield _sampled(comparison)


def _pairs(columns: ClipColumns, comparison: Comparison) -> Iterator[Finding]:
    for difference, (kind, gravity, where, meaning) in _ALIKE.items():
        pairs = [pair for pair in comparison.pairs if pair.difference == difference]
        if pairs:
            least = "at least " if comparison.is_cut_off else ""
            yield Finding(
                kind=kind,
                gravity=gravity,
                title=f"{least}{counted(len(pairs), 'pair')} of clips look like the same footage{where}",
                meaning=f"{meaning} Look at them: a sign repeated very exactly may look so too.",
                rows=np.unique([row for pair in pairs for row in pair.rows]),
                lines=tuple(_line(columns, pair) for pair in pairs),
            )


def _line(columns: ClipColumns, pair: AlikePair) -> str:
    both = " = ".join(f"{columns.where(row)} ({columns.gloss.of(row)})" for row in pair.rows)
    return f"likeness {pair.likeness:.3f}: {both}"


def _sampled(comparison: Comparison) -> Finding:
    if not comparison.num_clips:
        title, meaning = "clips were not compared with one another", "--compare N compares N of them."
    else:
        share = (comparison.num_clips / comparison.num_all) ** 2
        title = f"{comparison.num_clips:,} of {counted(comparison.num_all, 'clip')} compared with one another"
        meaning = (
            f"So about {100 * share:.0f} % of all pairs were looked at. --compare {comparison.num_all} compares all."
        )
    return Finding(kind="compared", gravity=NOTE, title=title, meaning=meaning)
