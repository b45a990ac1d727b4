"""What the parts of a cache tell of one another: a cache that contradicts itself is refused before it is used.

In: manifest, metadata and index. Out: nothing, or a CacheError that says what was found and what was expected. Opening
checks all but the columns that nobody may ever read (`check_index`): those are checked where the whole index is read,
as `verify` and `pull` do. All of it is arithmetic on whole columns: five million rows take a third of a second to open.
Sizes are bounded before memory or disk is taken: a cache may come from elsewhere.
"""

import json
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signprep.cache_builder.format.codec import DELTA_NAME
from signprep.cache_builder.format.index import FAILED, LATER_COLUMNS, OK, REMOVED, SCHEMA, SPLITS, completed
from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    GROUP_METADATA,
    INDEX,
    CacheInfo,
    CacheManifest,
    CacheObject,
    shard_path,
)
from signprep.cache_builder.format.shard import CHECKSUM_BYTES, INDEX_ENTRY_BYTES
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.runtime.text import first_line

MAX_METADATA_BYTES = 2**26
MAX_INDEX_BYTES = 2**33
MAX_SHARD_BYTES = 2**36
MAX_INDEX_EXPANSION, MAX_ROWS_PER_INDEX_BYTE = 1000, 64
"""A row takes some 50 bytes of a real index, which expand to some 300."""

KEPT_COLUMNS = ("label", "split", "status")
CHECKED_COLUMNS = ("position", "gloss", *KEPT_COLUMNS)
"""Columns that are checked whenever a cache is opened; most readers need the kept ones."""

_HASH = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"clips/c/(?:0|[1-9][0-9]{0,9})(?:/0){3,4}")
_LIMITS = {GROUP_METADATA: MAX_METADATA_BYTES, ARRAY_METADATA: MAX_METADATA_BYTES, INDEX: MAX_INDEX_BYTES}
_STATUSES = (OK, FAILED, REMOVED)
_SPAN, _CLIP_SPAN = ("start_seconds", "end_seconds"), ("clip_start_seconds", "clip_end_seconds")
_MAX = sys.float_info.max
_NULL, _UNKNOWN = -2, -1


def check_manifest(manifest: CacheManifest, where: object) -> None:
    """Refuse a manifest whose objects are not those of a cache of format 1.

    Raises CacheCorruptError if a name is none of a cache's, a size is impossible, or a hash is none.
    """
    for path, entry in manifest.objects.items():
        if path not in _LIMITS and not _SHARD.fullmatch(path):
            outside = PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path
            what = "outside the cache's folder" if outside else "no file of a cache"
            raise CacheCorruptError(f"{where}: its manifest names {path!r}, {what}; refused")
        limit = _LIMITS.get(path, MAX_SHARD_BYTES)
        if type(entry.num_bytes) is not int or not 0 < entry.num_bytes <= limit:
            raise CacheCorruptError(
                f"{where}: its manifest gives {path} {entry.num_bytes!r} bytes; 1 to {limit} are possible; refused"
            )
        for digest in (entry.hash, *([] if entry.blake3 is None else [entry.blake3])):
            if not isinstance(digest, str) or not _HASH.fullmatch(digest):
                raise CacheCorruptError(f"{where}: its manifest gives {path} the hash {digest!r}; refused")
    missing = _LIMITS.keys() - manifest.objects.keys()
    if missing:
        raise CacheCorruptError(f"{where}: its manifest names no {', '.join(sorted(missing))}; refused")


def checked_columns(root: Path, info: CacheInfo, manifest: CacheManifest, where: object) -> pa.Table:
    """Return `KEPT_COLUMNS` of a cache's index, after all that is checked when a cache is opened.

    Args:
        root: folder with the metadata and the index at their paths inside a cache.
        info: of the cache, from that metadata.
        manifest: of the cache.
        where: begins the messages of errors.

    Raises CacheError if the manifest names what no cache has, or metadata, index and manifest do not fit each other.
    """
    check_manifest(manifest, where)
    if not manifest.objects[GROUP_METADATA].matches((root / GROUP_METADATA).read_bytes(), by_all=True):
        raise CacheCorruptError(f"{root / GROUP_METADATA}: its bytes are not those that were written")
    _check_array(root / ARRAY_METADATA, manifest.objects[ARRAY_METADATA], info, where)
    num_shards, num_parts = info.num_shards, len(shard_path(info, 0).split("/"))
    for path in manifest.objects.keys() - _LIMITS.keys():
        parts = path.split("/")
        if int(parts[2]) >= num_shards or len(parts) != num_parts:
            raise CacheCorruptError(
                f"{where}: its manifest names {path}, which {info.num_positions} clips do not have; refused"
            )
    with ThreadPoolExecutor(1) as thread:  # hashing releases the interpreter's lock
        hashing = thread.submit(_require_written, root / INDEX, manifest.objects[INDEX])
        try:
            columns = _checked_index(root / INDEX, info, where)
        except CacheError:
            hashing.result()  # an index of another program is told so, whatever is wrong in it
            raise
        hashing.result()
    return columns


def _require_written(path: Path, expected: CacheObject) -> None:
    """Raise CacheCorruptError unless an index has the bytes that were written."""
    try:
        is_written = expected.matches(path, by_all=True)
    except OSError as error:
        raise CacheError(f"{path}: cannot be read ({error.strerror})") from error
    if not is_written:
        raise CacheCorruptError(
            f"{path}: its bytes are not those that were written with this cache: another program has changed it, or a "
            "copy was stopped; take it from another copy of the cache. Labels and splits are changed in the data, and "
            "`signprep build-cache` brings the cache up to date"
        )


def _check_array(path: Path, entry: CacheObject, info: CacheInfo, where: object) -> None:
    """Refuse an array of another shape or chain than the group tells: other Zarr readers believe the array.

    A file that is damaged is no matter here, since nothing is read by it; `verify` finds it, and can repair it.
    """
    data = path.read_bytes() if path.is_file() else b""
    if not entry.matches(data, by_all=True):
        return
    shape, codec = list(info.clip_spec.clip_shape), info.clip_codec
    chain = [name for name in (DELTA_NAME if codec.delta else None, "bytes", codec.compressor, "crc32c") if name]
    expected = ([info.num_positions, *shape], info.clip_spec.dtype, [info.clips_per_shard, *shape], [1, *shape], chain)
    try:
        array = json.loads(data)
        (sharding,) = array["codecs"]
        outer, inner = (holder["configuration"]["chunk_shape"] for holder in (array["chunk_grid"], sharding))
        names = [codec["name"] for codec in sharding["configuration"]["codecs"]]
        found = (array["shape"], array["data_type"], outer, inner, names)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CacheCorruptError(f"{where}: its {ARRAY_METADATA} is damaged ({error!r}); refused") from error
    if found != expected:
        raise CacheCorruptError(
            f"{where}: its {ARRAY_METADATA} tells of {found}, its {GROUP_METADATA} of {expected}; refused"
        )


def _checked_index(path: Path, info: CacheInfo, where: object) -> pa.Table:
    """Return `KEPT_COLUMNS`; memory holds them and one row group."""
    kept, num_rows = [pa.schema([SCHEMA.field(name) for name in KEPT_COLUMNS]).empty_table()], 0
    try:
        with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
            _check_index_file(file, path.stat().st_size, info, where)
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number, columns=CHECKED_COLUMNS)
                _check_rows(rows, num_rows, info, where)
                kept.append(rows.select(KEPT_COLUMNS))
                num_rows += rows.num_rows
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CacheCorruptError(f"{where}: its {INDEX} cannot be read ({first_line(error)}); refused") from error
    return pa.concat_tables(kept)


def _check_index_file(file: pq.ParquetFile, num_bytes: int, info: CacheInfo, where: object) -> None:
    """Refuse an index of other columns or rows than the cache has, or one that would fill the memory."""
    num_rows, schema = file.metadata.num_rows, file.schema_arrow
    expanded = sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))
    if num_rows != info.num_positions:
        raise CacheCorruptError(f"{where}: its {INDEX} has {num_rows} rows for {info.num_positions} clips; refused")
    if expanded > MAX_INDEX_EXPANSION * num_bytes or num_rows > MAX_ROWS_PER_INDEX_BYTE * num_bytes:
        raise CacheCorruptError(
            f"{where}: its {INDEX} of {num_bytes} bytes would fill {expanded} bytes with {num_rows} rows; refused"
        )
    for field in SCHEMA:
        found = [schema.field(place).type for place in schema.get_all_field_indices(field.name)]
        if found != [field.type] and (found or field.name not in LATER_COLUMNS):
            told = " and ".join(map(str, found)) or "not there"
            raise CacheCorruptError(
                f"{where}: its {INDEX} is not this cache's index: {field.name} is {told}, expected {field.type}"
            )


def read_columns(path: Path, columns: Sequence[str], where: object) -> pa.Table:
    """Return columns of an index; of `LATER_COLUMNS` nulls where it lacks them.

    Raises CacheError, whose message begins with `where`, if the file cannot be read.
    """
    try:
        with pq.ParquetFile(path, memory_map=True, pre_buffer=True, page_checksum_verification=True) as file:
            table = file.read(columns)  # those that it lacks are left out
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CacheError(f"{where}: its {INDEX} cannot be read ({first_line(error)})") from error
    return completed(table).select(columns)


def _check_rows(rows: pa.Table, first: int, info: CacheInfo, where: object) -> None:
    """Refuse rows from `first` on in another order, of unknown splits and statuses, and labels that are no gloss's."""
    positions, labels = (pc.fill_null(rows[name], _NULL).to_numpy() for name in ("position", "label"))
    told = "positions count the rows from 0"
    _refuse_rows(rows, positions != np.arange(first, first + len(positions)), ("position",), told, where, first)
    statuses = _codes(rows["status"], _STATUSES)
    _refuse_rows(rows, statuses < 0, ("status",), f"it is one of {', '.join(_STATUSES)}", where, first)
    is_wrong = _codes(rows["split"], SPLITS) == _UNKNOWN
    _refuse_rows(rows, is_wrong, ("split",), f"it is one of {', '.join(SPLITS)}", where, first)
    glosses = _codes(rows["gloss"], info.vocabulary.glosses)
    # Nobody reads the label of a clip that was removed, and its gloss may be none any more.
    is_wrong = (statuses != _STATUSES.index(REMOVED)) & ((glosses < 0) | (labels != glosses))
    told = f"a label is the place of its gloss in {GROUP_METADATA}"
    _refuse_rows(rows, is_wrong, ("gloss", "label"), told, where, first)


def check_index(index: pa.Table, info: CacheInfo, manifest: CacheManifest, where: object) -> None:
    """Refuse an index whose spans, sampled times or stored sizes no cache has; `index` has the columns of `SCHEMA`.

    Raises CacheCorruptError.
    """
    for name in (field.name for field in SCHEMA if not field.nullable and index[field.name].null_count):
        _refuse_rows(index, pc.is_null(index[name]).to_numpy(), (name,), "it is never null", where)
    is_ok = _codes(index["status"], (OK,)) == 0
    for names, is_told in ((_SPAN, np.True_), (_CLIP_SPAN, is_ok)):
        start, end = (index[name].to_numpy() for name in names)
        is_span = (start >= 0) & (start <= end) & np.isfinite(end)  # never true of NaN
        _refuse_rows(
            index, is_told & ~is_span, names, "a span begins at 0 or later, and does not end before that", where
        )
    first, told = 0, f"{info.clip_spec.num_frames} finite times are sampled of each clip"
    for times in index["sampled_seconds"].chunks:
        is_wrong = is_ok[first : first + len(times)] & ~_are_times(times, info.clip_spec.num_frames)
        _refuse_rows(index.slice(first, len(times)), is_wrong, ("sampled_seconds",), told, where, first)
        first += len(times)
    for name, least, most, told in (("crop_box", 0, 1, "0 <= x0 < x1 <= 1"), ("box", -_MAX, _MAX, "x0 < x1")):
        is_wrong = ~_are_boxes(index[name].combine_chunks(), least, most)
        _refuse_rows(index, is_wrong, (name,), f"a box is x0, y0, x1, y1 with {told}, and y alike", where)
    is_wrong = ~_are_numbers(index["seen_fraction"].combine_chunks(), 3, 0, 1)
    _refuse_rows(index, is_wrong, ("seen_fraction",), "it is three parts, of 0 to 1", where)
    _check_sizes(index, info, manifest, where)


def _are_boxes(boxes: pa.ListArray, least: float, most: float) -> NDArray[np.bool_]:
    """Return for each list whether it is null or a box whose numbers lie between two others."""
    is_right = _are_numbers(boxes, 4, least, most)
    if is_right.all():
        x0, y0, x1, y1 = boxes.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4).T
        is_right[boxes.is_valid().to_numpy(zero_copy_only=False)] = (x0 < x1) & (y0 < y1)
    return is_right


def _are_numbers(lists: pa.ListArray, count: int, least: float, most: float) -> NDArray[np.bool_]:
    """Return for each list whether it is null or holds so many numbers between two others."""
    is_right = pc.fill_null(pc.equal(pc.list_value_length(lists), count), True).to_numpy(zero_copy_only=False).copy()
    if is_right.all():
        numbers = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, count)
        is_between = ((numbers >= least) & (numbers <= most)).all(axis=1)  # never true of a null, which is NaN
        is_right[lists.is_valid().to_numpy(zero_copy_only=False)] = is_between
    return is_right


def _are_times(times: pa.ListArray, num_frames: int) -> NDArray[np.bool_]:
    """Return for each list whether it holds so many finite numbers."""
    is_right = pc.fill_null(pc.equal(pc.list_value_length(times), num_frames), False).to_numpy(zero_copy_only=False)
    values = times.flatten()
    is_time = np.isfinite(values.to_numpy(zero_copy_only=False))  # a null is NaN
    if not is_time.all():
        is_right = is_right.copy()
        is_right[pc.list_parent_indices(times).to_numpy()[~is_time]] = False
    return is_right


def _check_sizes(index: pa.Table, info: CacheInfo, manifest: CacheManifest, where: object) -> None:
    """Refuse stored sizes that are impossible for a row, or do not add up to the sizes of the shards."""
    sizes, statuses = index["stored_bytes"].to_numpy(), _codes(index["status"], (OK, FAILED))
    is_wrong = (sizes < 0) | ((statuses == 0) & (sizes <= CHECKSUM_BYTES)) | ((statuses == 1) & (sizes > 0))
    _refuse_rows(index, is_wrong, ("status", "stored_bytes"), "clips that are ok have bytes, failed ones none", where)
    sums = np.add.reduceat(sizes, np.arange(0, len(sizes), info.clips_per_shard))
    index_bytes = info.clips_per_shard * INDEX_ENTRY_BYTES + CHECKSUM_BYTES
    for number, num_bytes in enumerate(sums.tolist()):
        path = shard_path(info, number)
        entry = manifest.objects.get(path)
        found, expected = entry.num_bytes if entry else 0, num_bytes + index_bytes if num_bytes else 0
        if found != expected:
            raise CacheCorruptError(
                f"{where}: its {INDEX} tells of {expected} bytes in {path}, its manifest of {found}; refused"
            )


def _codes(column: pa.ChunkedArray, values: Sequence[str]) -> NDArray[np.int32]:
    """Return each row's place in `values`, _NULL or _UNKNOWN without one, from a dictionary-encoded column.

    No string is made for a row.
    """
    known = pa.array(values, pa.string())
    parts = [np.empty(0, np.int32)]
    for chunk in column.chunks:
        words = chunk.dictionary
        places = pc.fill_null(pc.index_in(words, value_set=known), _UNKNOWN).to_numpy()
        places = np.where(pc.is_null(words).to_numpy(zero_copy_only=False), _NULL, places)
        # The last place is that of null.
        codes = pc.fill_null(chunk.indices, len(words)).to_numpy()
        parts.append(np.append(places, _NULL).astype(np.int32)[codes])
    return np.concatenate(parts)


def _refuse_rows(
    rows: pa.Table, is_wrong: NDArray[np.bool_], names: Sequence[str], expected: str, where: object, first: int = 0
) -> None:
    """Raise CacheCorruptError that shows the first wrong one of rows from `first` on, if there is one."""
    if is_wrong.any():
        row = int(is_wrong.argmax())
        shown = ", ".join(f"{name} {rows[name][row].as_py()!r}" for name in names)
        raise CacheCorruptError(f"{where}: its {INDEX} has {shown} in row {first + row}; {expected}; refused")
