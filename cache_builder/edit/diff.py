"""Diff: which clips two caches share, which only one has, and what the two say differently of the same clip.

In: two finished caches. Out: a `CacheDiff`. Clips are told apart by who they are (see `identity`), so that another
order, other shards or removed clips make no difference; nothing is decoded. The trade-off: that the same clip's bytes
are the same is concluded from how they were cut, and never looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.building.update import incompatibilities
from signprep.cache_builder.edit.identity import live_rows, matched_rows
from signprep.cache_builder.format.index import counts_by_value
from signprep.cache_builder.reader import Cache, open_folder
from signprep.pipeline.runtime.text import counted, first_of

COMPARED = ("gloss", "split", "status", "segment_id", "video", "item", "source", "signer", "view", "take")
"""Columns in which the same clip may differ."""

SHOWN = 5
"""Of each list for people; programs get all."""


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
    """What two caches, A and B, have and have not in common."""

    a: Side
    b: Side
    incompatible: Mapping[str, tuple[Any, Any]]
    """What makes their clips' bytes differ: the values of both by name."""
    labels: Mapping[str, tuple[int, int]]
    """Glosses of both that have another label in each."""
    num_shared: int
    differing: Mapping[str, pa.Table]
    """By column: segment_id (in A), a and b of the shared clips that differ in it."""

    @property
    def equal(self) -> bool:
        """Whether both have the same clips, cut in the same way, of which they say the same."""
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


def diff(first: Path, second: Path) -> CacheDiff:
    """Compare two finished caches.

    Raises:
        CacheError: one of them is none, or cannot be read.
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
            f"of those, {counted(len(renamed), 'name')} are in both, with other video content or another span: "
            f"{first_of(sorted(renamed), SHOWN)}"
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
