"""The moving pictures of a report, as many and as large as a number of bytes allows.

In: a cache and the rows to show of each class. Out: WebP pictures by row. A few clips are tried first, and the largest
set of pictures is taken that fits: rather four clips a class than one, and rather small pictures than none. Of 3,000
classes in 15 MB that is one of 96 pixels each.
"""

import base64
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.clip_images import animated_webp, clip_frames
from signprep.cache_builder.report.clip_table import ClipTable
from signprep.pipeline.errors import CacheCorruptError

TRIED_CLIPS = 12
_ROOM = 1.05
"""Pictures of all clips may be so much larger than those of the few that were tried."""


class Quality(NamedTuple):
    """The size of a picture: pixels a side, frames, and quality of the encoder."""

    side: int
    frames: int
    webp: int


LARGE, MEDIUM, SMALL, SMALLEST = Quality(128, 12, 50), Quality(96, 8, 45), Quality(80, 6, 40), Quality(64, 6, 35)


@dataclass(frozen=True, kw_only=True)
class PicturePlan:
    """A choice of clips, and the size of their pictures."""

    quality: Quality
    rows: tuple[int, ...]
    """Rows of the clip table, the most important first."""
    num_asked: int
    """Clips that would be shown if there were room for all."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Moving pictures of clips, of `side` pixels."""

    side: int
    by_row: dict[int, str]
    """WebP in base64, by row of the clip table."""


def plan_pictures(
    table: ClipTable, classes: Sequence[Sequence[int]], max_bytes: int, *, always: Sequence[int] = ()
) -> PicturePlan:
    """Return the largest set of pictures that fits into `max_bytes` of base64.

    Args:
        table: of the cache.
        classes: rows of each class, the most telling first.
        max_bytes: that all pictures may have.
        always: rows that are shown whatever the number of classes.
    """
    firsts = [rows[0] for rows in classes if rows]
    tried = [firsts[place] for place in np.linspace(0, len(firsts) - 1, min(TRIED_CLIPS, len(firsts))).astype(int)]
    most = max((len(rows) for rows in classes), default=0)
    quality, number = SMALLEST, 1
    sizes: dict[Quality, float] = {}
    for quality, number in [*((q, n) for n in range(most, 0, -1) for q in (LARGE, MEDIUM)), (SMALL, 1), (SMALLEST, 1)]:
        if quality not in sizes:
            made = [len(data) for row in tried if (data := _picture(table, row, quality))]
            sizes[quality] = _ROOM * sum(made) / max(1, len(made))
        num_pictures = len(always) + sum(min(number, len(rows)) for rows in classes)
        if num_pictures * sizes[quality] <= max_bytes:
            break
    rounds = [row for place in range(number) for rows in classes for row in rows[place : place + 1]]
    asked = {*always, *(row for rows in classes for row in rows)}
    return PicturePlan(quality=quality, rows=tuple(dict.fromkeys([*always, *rounds])), num_asked=len(asked))


def make_pictures(
    table: ClipTable,
    plan: PicturePlan,
    max_bytes: int,
    *,
    threads: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> Pictures:
    """Return the pictures of a plan, as far as there is room; damaged clips have none."""
    made: dict[int, str | None] = {}
    ordered = sorted(plan.rows)  # as clips lie in the shards
    with ThreadPoolExecutor(threads, thread_name_prefix="signprep-pictures") as pool:
        pictures = pool.map(lambda row: _picture(table, row, plan.quality), ordered)
        for row, picture in zip(ordered, pictures, strict=True):
            made[row] = picture
            progress(len(made))
    by_row, num_bytes = {}, 0
    for row in plan.rows:
        picture = made[row]
        if picture is not None and num_bytes + len(picture) <= max_bytes:
            by_row[row] = picture
            num_bytes += len(picture)
    return Pictures(side=min(plan.quality.side, table.cache.clip_spec.size), by_row=by_row)


def _picture(table: ClipTable, row: int, quality: Quality) -> str | None:
    """Return a picture in base64; None for a damaged clip."""
    try:
        clip = table.cache.read([int(table.positions[row])])[0]
    except CacheCorruptError:
        return None
    frames = clip_frames(table.cache, clip, most=quality.frames, side=quality.side)
    data = animated_webp(frames, float(table.durations_seconds[row]), quality.webp)
    return base64.b64encode(data).decode("ascii")


def shown_rows(table: ClipTable, classes: NDArray[np.int64], most: int) -> list[list[int]]:
    """Return rows to show of each class, `most` at most, the first of which tells most.

    Args:
        table: of the cache.
        classes: their places among the glosses.
        most: rows of a class.
    """
    ok_rows = np.flatnonzero(table.is_ok)
    order = ok_rows[np.argsort(table.gloss.codes[ok_rows], kind="stable")]
    bounds = np.searchsorted(table.gloss.codes[order], np.arange(len(table.gloss.names) + 1))
    return [_spread(table, order[bounds[code] : bounds[code + 1]].tolist(), most) for code in classes.tolist()]


def _spread(table: ClipTable, rows: list[int], most: int) -> list[int]:
    """Return rows in an order in which each has the signer, the view and the split that were shown least before."""
    to_spread = (table.signer, table.view, table.split)
    times: tuple[Counter[int], ...] = (Counter(), Counter(), Counter())
    left = {row: tuple(int(column.codes[row]) for column in to_spread) for row in rows}
    shown: list[int] = []
    while left and len(shown) < most:
        row = min(left, key=lambda row: (sum(map(Counter.__getitem__, times, left[row])), times[0][left[row][0]], row))
        for counter, code in zip(times, left.pop(row), strict=True):
            counter[code] += 1
        shown.append(row)
    return shown
