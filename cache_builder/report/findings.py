"""A finding: something in a cache that a team should look at.

A finding is `wrong` if training refuses it or learns from lies, `look` if somebody who knows the data should judge, and
a `note` if it is good to know.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.columns import ClipColumns
from signprep.pipeline.runtime.text import counted

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

    def examples(self, columns: ClipColumns, most: int) -> list[str]:
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
