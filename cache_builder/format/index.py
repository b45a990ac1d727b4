"""The label index: a row a position, columns as Arrow, never as a Python object a row."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.text import first_of

OK, FAILED, REMOVED = "ok", "failed", "removed"

_REPEATING = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("segment_id", pa.string(), nullable=False),
        pa.field("video", pa.string(), nullable=False),
        pa.field("video_hash", pa.string()),
        pa.field("start_seconds", pa.float64(), nullable=False),
        pa.field("end_seconds", pa.float64(), nullable=False),
        pa.field("clip_start_seconds", pa.float64()),
        pa.field("clip_end_seconds", pa.float64()),
        pa.field("gloss", _REPEATING, nullable=False),
        pa.field("label", pa.int32()),
        pa.field("item", _REPEATING),
        pa.field("source", _REPEATING),
        pa.field("signer", _REPEATING),
        pa.field("view", _REPEATING),
        pa.field("take", pa.string(), nullable=False),
        pa.field("split", _REPEATING),
        pa.field("status", _REPEATING, nullable=False),
        pa.field("error", pa.string()),
        pa.field("sampled_seconds", pa.list_(pa.float64())),
        pa.field("stored_bytes", pa.int64(), nullable=False),
    ]
)
"""`start_seconds` and `end_seconds` are the label's; `clip_start_seconds` and `clip_end_seconds` are what was sampled,
after margins and clipping to the video, null where the clip failed. `label` is null where the clip was removed."""


def index_table(rows: Sequence[dict[str, object]]) -> pa.Table:
    """Return rows, dictionaries by column name, as a table of `SCHEMA`."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    """Return a table as the contents of a Parquet file; options are those of `pyarrow.parquet.write_table`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    contents: bytes = sink.getvalue().to_pybytes()
    return contents


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of several tables as one table, in their order, with one dictionary a column."""
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


class NothingChosenError(CacheError):
    """No clip of a cache is of what was asked for."""


def rows_with(index: pa.Table, column: str, values: Collection[str], where: object) -> NDArray[np.bool_]:
    """Return for each row whether it has one of some values in a column, bool [N].

    Raises NothingChosenError, whose message begins with `where`, if a value is nowhere in the column.
    """
    found = index[column].cast(pa.string())
    known = {name for name in found.unique().to_pylist() if name is not None}
    if unknown := sorted(set(values) - known):
        has = first_of(sorted(known), 5) or "none"
        raise NothingChosenError(f"{where}: has no {column} {first_of(unknown, 5, '')}; it has {has}")
    return pc.is_in(found, value_set=pa.array(list(values), pa.string())).to_numpy()


def index_of_positions(index: pa.Table, positions: NDArray[np.int64], vocabulary: Vocabulary) -> pa.Table:
    """Return the rows at some positions, in the order given, renumbered, with the labels of a vocabulary."""
    rows = index.take(pa.array(positions))
    labels = vocabulary.labels()
    columns = {
        # Dictionaries are made anew: an old one still names whoever is forgotten.
        name: rows[name].cast(pa.string()).cast(SCHEMA.field(name).type)
        if pa.types.is_dictionary(SCHEMA.field(name).type)
        else rows[name]
        for name in SCHEMA.names
    }
    columns["position"] = pa.array(np.arange(len(positions)), pa.int64())
    columns["label"] = pa.array([labels[gloss] for gloss in rows["gloss"].to_pylist()], pa.int32())
    return pa.table(columns, schema=SCHEMA)


def used_vocabulary(index: pa.Table, positions: NDArray[np.int64], vocabulary: Vocabulary) -> Vocabulary:
    """Return those glosses of a vocabulary that rows at some positions have, in their order."""
    used = set(index["gloss"].take(pa.array(positions)).cast(pa.string()).unique().to_pylist())
    return Vocabulary(glosses=tuple(gloss for gloss in vocabulary.glosses if gloss in used))


def counts_by_value(column: pa.ChunkedArray) -> dict[str, int]:
    """Return how many rows have each value, most first, then by name; a null is called `-`."""
    counted = pc.value_counts(column.cast(pa.string())).to_pylist()
    pairs = [(entry["values"] if entry["values"] is not None else "-", entry["counts"]) for entry in counted]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
