"""Clips that show the same footage under other bytes: coded again, scaled, or brightened.

In: a cache and the positions to compare. Out: pairs, and the clips in which nothing moves or nothing can be seen. Every
clip is compared with every other one, by products of matrices in blocks: exact, in 0.1 GB, and quadratic: 30,000 clips
take 25 s to read and 15 s to compare on one core, 300,000 take 25 minutes. So a cache of more is sampled.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.columns import ClipColumns, Named
from signprep.cache_builder.report.findings import no_rows
from signprep.cache_builder.report.signatures import (
    DARK_LUMA,
    STILL_LUMA,
    fine_signature,
    signatures,
)

COMPARED_CLIPS = 30_000
COARSE_LIKENESS, LIKENESS = 0.985, 0.992
"""Correlations of what moves, in coarse and in fine fields, from which on two clips are called alike."""
MOST_CANDIDATES = 20_000
DIFFERENCES = ("split", "gloss", "")
_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class AlikePair:
    """Two clips that look like the same footage."""

    rows: tuple[int, int]
    likeness: float
    """Correlation of what moves, up to 1."""
    difference: str
    """One of `DIFFERENCES`: the gravest thing that the two do not share."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What came of comparing clips with one another."""

    num_all: int
    num_clips: int = 0
    """That were compared, of `num_all`."""
    pairs: tuple[AlikePair, ...] = ()
    """Those across splits first, then those across glosses, then the others; in each the most alike first."""
    is_cut_off: bool = False
    """Whether there were more candidates than are looked at."""
    still_rows: NDArray[np.int64] = field(default_factory=no_rows)
    dark_rows: NDArray[np.int64] = field(default_factory=no_rows)
    damaged_rows: NDArray[np.int64] = field(default_factory=no_rows)


def compare_clips(
    cache: Cache,
    columns: ClipColumns,
    *,
    most: int = COMPARED_CLIPS,
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Comparison:
    """Compare the clips of a cache with one another.

    Args:
        cache: that is compared.
        columns: of its index.
        most: clips that are compared; of more, so many are drawn, the same ones every time.
        threads: that read.
        progress: is told how many clips have been read.
    """
    rows = np.flatnonzero(columns.is_ok)
    num_all = len(rows)
    if num_all > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    if not len(rows) or cache.clip_spec.num_frames < 2:
        return Comparison(num_all=num_all)
    found = signatures(cache, columns.positions[rows], progress, threads=threads)
    is_moving = found.motion >= STILL_LUMA
    candidates, is_cut_off = _candidates(found.moving[is_moving], columns.content.codes[rows[is_moving]])
    return Comparison(
        num_clips=len(rows),
        num_all=num_all,
        pairs=tuple(_decided(cache, columns, rows[is_moving][candidates])),
        is_cut_off=is_cut_off,
        still_rows=rows[~is_moving & found.is_intact],
        dark_rows=rows[(found.brightness < DARK_LUMA) & found.is_intact],
        damaged_rows=rows[~found.is_intact],
    )


def _candidates(moving: NDArray[np.float32], contents: NDArray[np.int32]) -> tuple[NDArray[np.int64], bool]:
    """Return places of pairs alike in coarse fields, of different videos, int64 [P, 2], and if some are cut off."""
    found, num_found = [np.zeros((0, 2), np.int64)], 0
    for first in range(0, len(moving), _BLOCK):
        likeness = moving[first : first + _BLOCK] @ moving[first:].T
        pairs = np.argwhere(likeness >= COARSE_LIKENESS) + first
        pairs = pairs[(pairs[:, 0] < pairs[:, 1]) & (contents[pairs[:, 0]] != contents[pairs[:, 1]])]
        found.append(pairs)
        num_found += len(pairs)
        if num_found > MOST_CANDIDATES:
            return np.concatenate(found)[:MOST_CANDIDATES], True
    return np.concatenate(found), False


def _decided(cache: Cache, columns: ClipColumns, candidates: NDArray[np.int64]) -> list[AlikePair]:
    """Return the pairs of rows that are alike in fine fields too, in the order of `Comparison.pairs`."""
    fine: dict[int, NDArray[np.float32]] = {}
    pairs = []
    for row, other in candidates.tolist():
        for each in (row, other):
            if each not in fine:
                if len(fine) >= _BLOCK:
                    fine.clear()
                fine[each] = fine_signature(cache, int(columns.positions[each]))
        likeness = float(fine[row] @ fine[other])
        if likeness >= LIKENESS:
            pairs.append(
                AlikePair(rows=(row, other), likeness=min(1.0, likeness), difference=_difference(columns, row, other))
            )
    return sorted(pairs, key=lambda pair: (DIFFERENCES.index(pair.difference), -pair.likeness, pair.rows))


def _difference(columns: ClipColumns, row: int, other: int) -> str:
    return next((name for name in ("split", "gloss") if _differ(columns, name, row, other)), "")


def _differ(columns: ClipColumns, name: str, row: int, other: int) -> bool:
    column: Named = getattr(columns, name)
    return bool(column.codes[row] != column.codes[other])
