"""The label index: a row a position, columns as Arrow, never as a Python object a row."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signprep.cache_builder.format.layout import CacheInfo, shard_path
from signprep.cache_builder.format.shard import ShardFile, chunk_checksum
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.text import first_of

OK, FAILED, REMOVED = "ok", "failed", "removed"
SPLITS = ("train", "val", "test")

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
        pa.field("stored_crc32c", pa.uint32()),
        pa.field("crop_box", pa.list_(pa.float64())),
        pa.field("box", pa.list_(pa.float64())),
        pa.field("seen_fraction", pa.list_(pa.float64())),
    ]
)
"""`start_seconds` and `end_seconds` are the label's; `clip_start_seconds` and `clip_end_seconds` are what was sampled,
after margins and clipping to the video, null where the clip failed. `label` is null where the clip was removed.
`stored_crc32c`, the last four bytes of the inner chunk, says for certain which clip a row means. `crop_box` is what a
clip shows (x0, y0, x1, y1) where each shows a part of its own, `box` where its label says that the signer is.
`seen_fraction` tells of a clip of landmarks which part of body, left and right hand was seen."""

LATER_COLUMNS = ("stored_crc32c", "crop_box", "box", "seen_fraction")
"""Columns that the first caches of each format do not have: null in all their rows."""
_SOME_HAVE = ("crop_box", "box", "seen_fraction")
"""Columns that a cache is written without if they are null in all rows."""


def index_table(rows: Sequence[dict[str, object]]) -> pa.Table:
    """Return rows, dictionaries by column name, as a table of `SCHEMA`."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    """Return a table as the contents of a Parquet file; options are those of `pyarrow.parquet.write_table`."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    contents: bytes = sink.getvalue().to_pybytes()
    return contents


def written_columns(table: pa.Table) -> pa.Table:
    """Return the columns of a table that are written: without those of `_SOME_HAVE` that no row has."""
    there = [name for name in _SOME_HAVE if name in table.column_names]
    return table.drop_columns([name for name in there if table[name].null_count == table.num_rows])


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """Return the rows of several tables as one table, in their order, with one dictionary a column."""
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def completed(index: pa.Table) -> pa.Table:
    """Return an index in the columns of `SCHEMA`; those of `LATER_COLUMNS` that it lacks are null in all its rows."""
    for name in LATER_COLUMNS:
        if name not in index.column_names:
            index = index.append_column(SCHEMA.field(name), pa.nulls(index.num_rows, SCHEMA.field(name).type))
    # Another of them may be there, which comes behind.
    return index.select([*(name for name in index.column_names if name not in LATER_COLUMNS), *LATER_COLUMNS])


def has_unknown_clips(index: pa.Table) -> bool:
    """Return True if an older cache's rows tell of clips without their checksums, so that only sizes know them."""
    return bool(pc.any(pc.and_(pc.greater(index["stored_bytes"], 0), pc.is_null(index["stored_crc32c"]))).as_py())


def with_checksums(index: pa.Table, info: CacheInfo, root: Path) -> pa.Table:
    """Return an index that tells of all chunks of the shards in a folder, where rows of older caches tell of none.

    Raises CacheCorruptError if such a shard is damaged.
    """
    sizes, told = index["stored_bytes"].to_numpy(), index["stored_crc32c"]
    missing = np.flatnonzero((sizes > 0) & pc.is_null(told).to_numpy())
    checksums = pc.fill_null(told, 0).to_numpy().copy()
    is_known = pc.is_valid(told).to_numpy().copy()
    numbers, starts = np.unique(missing // info.clips_per_shard, return_index=True)
    for number, positions in zip(numbers.tolist(), np.split(missing, starts[1:]), strict=False):
        if (file := root / shard_path(info, number)).exists():
            shard = ShardFile(file, info.clips_per_shard)
            for position in positions.tolist():
                if (chunk := shard.chunk(position % info.clips_per_shard)) is not None:
                    checksums[position], is_known[position] = chunk_checksum(chunk), True
    column = pa.array(checksums, SCHEMA.field("stored_crc32c").type, mask=~is_known)
    return index.set_column(index.column_names.index("stored_crc32c"), SCHEMA.field("stored_crc32c"), column)


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


def has_value(column: pa.ChunkedArray, value: str) -> NDArray[np.bool_]:
    """Return where a column of dictionary-encoded strings has a value, without making a string a row."""
    parts = []
    for chunk in column.chunks:
        code = pc.index_in(pa.scalar(value), chunk.dictionary).as_py()
        codes = pc.fill_null(chunk.indices, -1).to_numpy()
        parts.append(codes == code if code is not None else np.zeros(len(chunk), np.bool_))
    return np.concatenate([np.zeros(0, np.bool_), *parts])


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


def whole_numbers(positions: Sequence[int] | NDArray[np.integer]) -> NDArray[np.integer]:
    """Return positions as an array [B]. Raises TypeError if they are anything else, which NumPy would round or cast."""
    try:
        array = np.asarray(positions)
    except (TypeError, ValueError):  # of lists of several lengths, or a tensor of a GPU
        array = np.empty(0, object)
    if array.ndim == 1 and (array.dtype.kind in "iu" or (array.dtype == np.float64 and not array.size)):
        return array.astype(np.int64) if not array.size else array
    wanted = "np.flatnonzero(mask) makes positions of a mask" if array.dtype == np.bool_ else "[0] reads one clip"
    raise TypeError(f"positions are {positions!r:.60}; expected a list, range or array of whole numbers: {wanted}")


def check_frames(frames: NDArray[np.integer], num_clips: int, num_frames: int) -> None:
    """Raise ValueError unless frames are whole numbers [B, t], and IndexError for one that clips do not have."""
    are_numbers = isinstance(frames, np.ndarray) and frames.dtype.kind in "iu"
    if not are_numbers or frames.ndim != 2 or len(frames) != num_clips:
        raise ValueError(f"frames are {frames!r:.60}; expected an array of whole numbers, [{num_clips}, t]")
    if frames.size and not 0 <= int(frames.min()) <= int(frames.max()) < num_frames:
        raise IndexError(f"frames {int(frames.min())} to {int(frames.max())} are asked for; clips have {num_frames}")
