"""Which clips of two caches are the same: by who they are, never by their pixels.

In: index rows. Out: pairs of rows. Two clips are the same if the same bytes of video are labelled over the same span,
whatever files, glosses and splits are called. A clip that failed may have no content to be known by: it is the same as
the clip of its video's name and span. Rows that share all that, twins within one cache, are paired one to one, those
of one gloss and name first. All of it is arithmetic on arrays: a million rows take seconds, and no object each.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.format.index import FAILED, REMOVED, SCHEMA, stacked
from signprep.cache_builder.reader import Cache

_BY_CONTENT = (
    ("video_hash", "start_seconds", "end_seconds", "gloss", "video"),
    ("video_hash", "start_seconds", "end_seconds", "gloss"),
    ("video_hash", "start_seconds", "end_seconds"),
)
_BY_NAME = (
    ("video", "start_seconds", "end_seconds", "gloss"),
    ("video", "start_seconds", "end_seconds"),
)


def live_rows(cache: Cache) -> pa.Table:
    """Return the index rows of a cache's clips, failed ones included, removed ones not."""
    index = cache.index.select(SCHEMA.names).cast(SCHEMA)
    return index.filter(pc.not_equal(index["status"].cast(pa.string()), REMOVED))


def codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for each value, the same for the same value, int64 [N]; null counts as a value."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64)


def matched_rows(left: pa.Table, right: pa.Table) -> NDArray[np.int64]:
    """Return which row of the left is the same clip as which row of the right, int64 [pairs, 2], by the left's order.

    Args:
        left: rows of one cache, as of `live_rows`.
        right: rows of the other.
    """
    both = stacked([left, right])
    numbers = {name: codes(both[name]) for name in dict.fromkeys(name for key in _BY_CONTENT for name in key)}
    is_left = np.arange(both.num_rows) < left.num_rows
    is_read = pc.is_valid(both["video_hash"]).to_numpy()
    has_failed = pc.equal(both["status"].cast(pa.string()), FAILED).to_numpy()
    passes = [
        *((names, is_read) for names in _BY_CONTENT),
        # Of two that are paired by name, one at least has failed.
        *((names, has_failed | ~is_left) for names in _BY_NAME),
        *((names, has_failed | is_left) for names in _BY_NAME),
    ]
    free = np.ones(both.num_rows, np.bool_)
    found = [np.empty((0, 2), np.int64)]
    for names, usable in passes:
        rows = np.flatnonzero(free & usable)
        found.append(_paired(rows, _combined([numbers[name][rows] for name in names]), is_left[rows]))
        free[found[-1]] = False
    pairs = np.concatenate(found)
    return pairs[np.argsort(pairs[:, 0])] - [0, left.num_rows]


def clips_of_rows(rows: pa.Table, bounds: NDArray[np.int64], is_ok: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return a number for each row's clip, int64 [rows]; the same for the same clip, in order of first appearance.

    Args:
        rows: of several caches, one after another.
        bounds: where each cache's rows begin, and where the last ones end.
        is_ok: whether each row's clip can be read.
    """
    clips = np.arange(bounds[1])
    for first, end in itertools.pairwise(bounds[1:].tolist()):
        known = chosen_rows(clips, is_ok[:first], last=False)
        pairs = matched_rows(rows.take(pa.array(known)), rows.slice(first, end - first))
        more, is_new = np.empty(end - first, np.int64), np.ones(end - first, np.bool_)
        more[pairs[:, 1]], is_new[pairs[:, 1]] = pairs[:, 0], False
        more[is_new] = len(known) + np.arange(is_new.sum())
        clips = np.concatenate([clips, more])
    return clips


def chosen_rows(clips: NDArray[np.int64], is_ok: NDArray[np.bool_], *, last: bool) -> NDArray[np.int64]:
    """Return a row for each clip: one that is ok if there is one, and of those the first or the last.

    >>> chosen_rows(np.array([0, 1, 0, 0]), np.array([False, False, True, True]), last=False).tolist()
    [2, 1]
    """
    places = np.arange(len(clips))
    order = np.lexsort((-places if last else places, ~is_ok, clips))
    return order[np.unique(clips[order], return_index=True)[1]]


def _combined(columns: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return one number for each row's numbers in several columns, int64 [N].

    >>> _combined([np.array([0, 0, 1]), np.array([5, 5, 5])]).tolist()
    [0, 0, 1]
    """
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        # Numbered anew each time: the product stays below the square of the rows.
        key = np.unique(key * (column.max(initial=0) + 1) + column, return_inverse=True)[1]
    return key


def _paired(rows: NDArray[np.int64], keys: NDArray[np.int64], is_left: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return pairs of a left and a right row of one key, int64 [pairs, 2]: the first with the first, and so on.

    >>> rows, keys = np.array([10, 11, 12, 13]), np.array([7, 7, 7, 8])
    >>> _paired(rows, keys, np.array([True, True, False, False])).tolist()
    [[10, 12]]
    """
    left, right = (_numbered(keys[side]) for side in (is_left, ~is_left))
    _, first, second = np.intersect1d(left, right, assume_unique=True, return_indices=True)
    return np.stack([rows[is_left][first], rows[~is_left][second]], axis=1)


def _numbered(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number for each key and how often it came before: equal for the k-th of a key in two arrays."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.searchsorted(ordered, ordered)
    times = np.empty_like(keys)
    times[order] = np.arange(len(keys)) - starts
    return (keys << 32) | times
