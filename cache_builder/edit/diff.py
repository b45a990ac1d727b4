"""Compare two caches: clips of both, clips of only one, and columns in which the same clip differs.

Two clips are the same if the same bytes of video are labelled over the same span, with the same box if that decides
their pixels, whatever files, glosses and splits are called; one that failed may have no content to be known by, and is
known by its video's name and span. Rows that share all that within one cache are paired one to one. All of it is
arithmetic on arrays: nothing is decoded, and a million rows take seconds. The trade-off: the bytes of the same clip are
never compared.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.building.update import incompatibilities
from signprep.cache_builder.format.index import FAILED, REMOVED, SCHEMA, counts_by_value, stacked
from signprep.cache_builder.reader import Cache, open_folder
from signprep.pipeline.runtime.paths import StrPath
from signprep.pipeline.runtime.text import counted, first_of

COMPARED = ("gloss", "split", "status", "segment_id", "video", "item", "source", "signer", "view", "take")
"""Columns in which the same clip may differ."""

SHOWN = 5
"""Length of each list for people; programs get all."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two caches."""

    path: str
    fingerprint: str
    num_clips: int
    """Failed ones included, removed ones not."""
    only: pa.Table
    """segment_id, gloss and split of the clips that the other one has not."""

    def to_dict(self) -> dict[str, Any]:
        """Return the side as plain JSON types."""
        return {
            "path": self.path,
            "fingerprint": self.fingerprint,
            "clips": self.num_clips,
            "only_here": {
                "clips": self.only.num_rows,
                "by_split": counts_by_value(self.only["split"]),
                "by_gloss": counts_by_value(self.only["gloss"]),
                "segment_ids": self.only["segment_id"].to_pylist(),
            },
        }


@dataclass(frozen=True, kw_only=True)
class CacheDiff:
    """The clips that two caches, A and B, share, and the differences."""

    a: Side
    b: Side
    incompatible: Mapping[str, tuple[Any, Any]]
    """Settings that make their clips' bytes differ: the values of both by name."""
    labels: Mapping[str, tuple[int, int]]
    """Glosses of both that have another label in each."""
    num_shared: int
    differing: Mapping[str, pa.Table]
    """By column: segment_id (in A), a and b of the shared clips that differ in it."""

    @property
    def equal(self) -> bool:
        """True if both have the same clips, cut in the same way, with equal columns."""
        return not (self.incompatible or self.labels or self.differing or self.a.only.num_rows or self.b.only.num_rows)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain JSON types."""
        return {
            "equal": self.equal,
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "incompatible": {name: list(values) for name, values in self.incompatible.items()},
            "labels": {gloss: list(values) for gloss, values in self.labels.items()},
            "in_both": self.num_shared,
            "differing": {name: table.to_pylist() for name, table in self.differing.items()},
        }


def diff(first: StrPath, second: StrPath) -> CacheDiff:
    """Compare two finished caches.

    Raises CacheError if one of them is none, or cannot be read.
    """
    caches = open_folder(first), open_folder(second)
    tables = [live_rows(cache) for cache in caches]
    pairs = matched_rows(tables[0], tables[1])
    shared = [table.take(pa.array(pairs[:, number])) for number, table in enumerate(tables)]
    sides = [_side(cache, table, pairs[:, n]) for n, (cache, table) in enumerate(zip(caches, tables, strict=True))]
    labels = [cache.vocabulary.labels() for cache in caches]
    return CacheDiff(
        a=sides[0],
        b=sides[1],
        incompatible=incompatibilities(caches[0].info, caches[1].info),
        labels={
            gloss: (label, labels[1][gloss])
            for gloss, label in labels[0].items()
            if labels[1].get(gloss, label) != label
        },
        num_shared=len(pairs),
        differing={name: table for name in COMPARED if (table := _differing(shared[0], shared[1], name)).num_rows},
    )


def _side(cache: Cache, rows: pa.Table, shared: NDArray[np.int64]) -> Side:
    is_only = np.ones(rows.num_rows, np.bool_)
    is_only[shared] = False
    only = rows.select(["segment_id", "gloss", "split"]).filter(pa.array(is_only))
    return Side(path=str(cache), fingerprint=cache.fingerprint, num_clips=rows.num_rows, only=only)


def _differing(first: pa.Table, second: pa.Table, name: str) -> pa.Table:
    """Return segment_id and both values of the rows, the same clip in the same place, that differ in a column."""
    a, b = (rows[name].cast(pa.string()).combine_chunks() for rows in (first, second))
    both_null = pc.and_(pc.is_null(a), pc.is_null(b))
    same = pc.or_(both_null, pc.fill_null(pc.equal(a, b), False))
    return pa.table({"segment_id": first["segment_id"], "a": a, "b": b}).filter(pc.invert(same))


def diff_summary(found: CacheDiff) -> str:
    """Return the lines that tell people how two caches differ."""
    a, b = found.a, found.b
    lines = [f"A: {a.path}, {counted(a.num_clips, 'clip')}", f"B: {b.path}, {counted(b.num_clips, 'clip')}"]
    for name, (in_a, in_b) in found.incompatible.items():
        lines.append(f"cut in different ways: {name} is {_shown(in_a)} in A, {_shown(in_b)} in B")
    if found.labels:
        shown = [f"{gloss} ({in_a}, {in_b})" for gloss, (in_a, in_b) in found.labels.items()]
        lines.append(f"{counted(len(shown), 'label')} differ (A, B): {first_of(shown, SHOWN)}")
    lines.append(f"in both: {counted(found.num_shared, 'clip')}")
    for name, side in (("A", a), ("B", b)):
        if side.only.num_rows:
            lines += _only_lines(name, side.only)
    renamed = set(a.only["segment_id"].to_pylist()) & set(b.only["segment_id"].to_pylist())
    if renamed:
        lines.append(
            f"of those, {counted(len(renamed), 'name')} are in both, with other video content, another span or another "
            f"box: {first_of(sorted(renamed), SHOWN)}"
        )
    for name, table in found.differing.items():
        rows = table.slice(0, SHOWN + 1).to_pylist()
        shown = [f"{row['segment_id']} ({_shown(row['a'])}, {_shown(row['b'])})" for row in rows]
        lines.append(f"{name} differs in {counted(table.num_rows, 'clip')} (A, B): {first_of(shown, SHOWN)}")
    return "\n".join([*lines, "equal" if found.equal else "different"])


def _only_lines(name: str, rows: pa.Table) -> list[str]:
    by_split, by_gloss = (
        first_of([f"{value} {count:,}" for value, count in counts_by_value(rows[column]).items()], SHOWN)
        for column in ("split", "gloss")
    )
    names = rows["segment_id"].slice(0, SHOWN + 1).to_pylist()
    return [
        f"only in {name}: {counted(rows.num_rows, 'clip')}; by split: {by_split}; by gloss: {by_gloss}",
        f"  {first_of(names, SHOWN)}",
    ]


def _shown(value: object) -> str:
    return "-" if value is None else str(value)


_BY_CONTENT = (
    ("video_hash", "start_seconds", "end_seconds", "box", "gloss", "video"),
    ("video_hash", "start_seconds", "end_seconds", "box", "gloss"),
    ("video_hash", "start_seconds", "end_seconds", "box"),
)
_BY_NAME = (
    ("video", "start_seconds", "end_seconds", "box", "gloss"),
    ("video", "start_seconds", "end_seconds", "box"),
)


def live_rows(cache: Cache) -> pa.Table:
    """Return the index rows of a cache's clips, failed ones included, removed ones not."""
    index = cache.index.select(SCHEMA.names).cast(SCHEMA)
    return index.filter(pc.not_equal(index["status"].cast(pa.string()), REMOVED))


def codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return a number for each value, the same for the same value, int64 [N]; null counts as a value."""
    if column.null_count == len(column):
        return np.zeros(len(column), np.int64)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    elif pa.types.is_list(column.type):  # Arrow numbers no lists
        column = pa.chunked_array([pa.array(map(str, column.to_pylist()), pa.string())])
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    return encoded.indices.to_numpy().astype(np.int64)


def matched_rows(left: pa.Table, right: pa.Table) -> NDArray[np.int64]:
    """Return pairs of a left and a right row that are the same clip, int64 [pairs, 2], by the left's order."""
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
