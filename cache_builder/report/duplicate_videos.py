"""Clips that show the very same seconds of the very same video, and what the labels make of them.

In: a clip table. Out: groups of videos of equal bytes under several names, and pairs of labels that claim
the same seconds. Nothing is decoded: a video's bytes are told by their hash.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.clip_table import ClipTable

SAME_SPAN = 0.5
"""Two labels claim the same seconds if they share at least this part of the time that either covers."""


@dataclass(frozen=True, kw_only=True)
class SameVideo:
    """One video's bytes under several names."""

    videos: tuple[str, ...]
    glosses: tuple[str, ...]
    rows: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SameSpan:
    """Two labels of the same seconds of the same bytes."""

    rows: tuple[int, int]
    glosses: tuple[str, str]

    @property
    def is_contradiction(self) -> bool:
        """Whether they say different glosses."""
        return self.glosses[0] != self.glosses[1]


def same_videos(table: ClipTable) -> list[SameVideo]:
    """Return the videos that lie there under several names, those with the most clips first."""
    found = []
    for rows in _groups(table):
        videos = sorted({table.video.of(row) or "" for row in rows})
        if len(videos) > 1:
            found.append(
                SameVideo(
                    videos=tuple(videos),
                    glosses=tuple(sorted({table.gloss.of(row) or "" for row in rows})),
                    rows=rows,
                )
            )
    return sorted(found, key=lambda same: -len(same.rows))


def same_spans(table: ClipTable) -> list[SameSpan]:
    """Return the pairs of labels that claim the same seconds of the same bytes."""
    found = []
    for group in _groups(table):
        rows = group[np.argsort(table.label_start_seconds[group], kind="stable")].tolist()
        for place, row in enumerate(rows):
            for other in rows[place + 1 :]:
                if table.label_start_seconds[other] >= table.label_end_seconds[row]:
                    break
                if _shared(table, row, other) >= SAME_SPAN:
                    glosses = table.gloss.of(row) or "", table.gloss.of(other) or ""
                    found.append(SameSpan(rows=(row, other), glosses=glosses))
    return found


def _groups(table: ClipTable) -> list[NDArray[np.int64]]:
    """Return the rows of each content that has more than one, in their order."""
    order = np.argsort(table.content.codes, kind="stable")
    starts = np.flatnonzero(np.diff(table.content.codes[order])) + 1
    return [rows for rows in np.split(order, starts) if len(rows) > 1]


def _shared(table: ClipTable, row: int, other: int) -> float:
    """Return the part of the time of two labels that both cover."""
    starts = table.label_start_seconds[[row, other]]
    ends = table.label_end_seconds[[row, other]]
    union = float(ends.max() - starts.min())
    return max(0.0, float(ends.min() - starts.max())) / union if union > 0 else 0.0
