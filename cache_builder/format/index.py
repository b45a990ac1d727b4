"""The label index: a row a position, columns as Arrow, never as a Python object a row."""

from collections.abc import Sequence

import pyarrow as pa

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


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of several tables as one table, in their order, with one dictionary a column."""
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()
