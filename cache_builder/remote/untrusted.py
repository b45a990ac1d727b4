"""A cache that came from elsewhere is untrusted input: what is checked before a byte of it is believed.

In: a manifest and metadata as they arrived. Out: nothing, or a `CacheCorruptError` that says what was refused. Objects
have exactly the names that format 1 gives them, so that no name leaves the folder; sizes are bounded before memory or
disk is taken; bytes are hashed while they arrive, and each clip's are checked again when they are read.
"""

import json
import re
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    GROUP_METADATA,
    INDEX,
    CacheInfo,
    CacheManifest,
    read_info,
    shard_path,
)
from signprep.pipeline.errors import CacheCorruptError, CacheError

MAX_MANIFEST_BYTES = 2**28
"""About two million shards."""
MAX_METADATA_BYTES = 2**26
MAX_INDEX_BYTES = 2**33
MAX_SHARD_BYTES = 2**36
MAX_INDEX_EXPANSION, MAX_ROWS_PER_INDEX_BYTE = 1000, 64
"""A row takes some 50 bytes of a real index, which expand to some 300."""

_HASH = re.compile(r"[0-9a-f]{32}")
_SHARD = re.compile(r"clips/c/(?:0|[1-9][0-9]{0,9})(?:/0){3,4}")
_LIMITS = {GROUP_METADATA: MAX_METADATA_BYTES, ARRAY_METADATA: MAX_METADATA_BYTES, INDEX: MAX_INDEX_BYTES}


def validate_manifest(manifest: CacheManifest, where: object) -> None:
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
        if not isinstance(entry.hash, str) or not _HASH.fullmatch(entry.hash):
            raise CacheCorruptError(f"{where}: its manifest gives {path} the hash {entry.hash!r}; refused")
    missing = _LIMITS.keys() - manifest.objects.keys()
    if missing:
        raise CacheCorruptError(f"{where}: its manifest names no {', '.join(sorted(missing))}; refused")


def validate_metadata(folder: Path, manifest: CacheManifest, where: object) -> CacheInfo:
    """Refuse metadata and an index that do not fit each other and their manifest.

    Raises:
        CacheVersionError: a newer format.
        CacheCorruptError: absurd shapes, other Zarr metadata than signprep writes, rows that do not fit.
    """
    info = read_info(folder)
    _check_array(folder / ARRAY_METADATA, info, where)
    for path in manifest.objects.keys() - _LIMITS.keys():
        number = int(path.split("/")[2])
        if number >= info.num_shards or path != shard_path(info, number):
            raise CacheCorruptError(
                f"{where}: its manifest names {path}, which {info.num_positions} clips do not have; refused"
            )
    _check_index(folder / INDEX, info, where)
    return info


def _check_array(path: Path, info: CacheInfo, where: object) -> None:
    """Refuse an array of another shape than the group's attribute tells: other Zarr readers believe the array."""
    shape = list(info.clip_spec.clip_shape)
    expected = ([info.num_positions, *shape], "uint8", [info.clips_per_shard, *shape], [1, *shape])
    try:
        array = json.loads(path.read_text(encoding="utf-8"))
        (sharding,) = array["codecs"]
        outer, inner = (holder["configuration"]["chunk_shape"] for holder in (array["chunk_grid"], sharding))
        found = (array["shape"], array["data_type"], outer, inner)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheCorruptError(f"{where}: its {ARRAY_METADATA} is damaged ({error!r}); refused") from error
    if found != expected:
        raise CacheCorruptError(
            f"{where}: its {ARRAY_METADATA} tells of {found}, its {GROUP_METADATA} of {expected}; refused"
        )


def _check_index(path: Path, info: CacheInfo, where: object) -> None:
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
            num_rows = metadata.num_rows
            groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
            num_bytes = path.stat().st_size
            expanded = sum(group.total_byte_size for group in groups)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CacheCorruptError(f"{where}: its {INDEX} cannot be read ({error}); refused") from error
    if num_rows != info.num_positions:
        raise CacheCorruptError(f"{where}: its {INDEX} has {num_rows} rows for {info.num_positions} clips; refused")
    if expanded > MAX_INDEX_EXPANSION * num_bytes or num_rows > MAX_ROWS_PER_INDEX_BYTE * num_bytes:
        raise CacheCorruptError(
            f"{where}: its {INDEX} of {num_bytes} bytes would fill {expanded} bytes with {num_rows} rows; refused"
        )


def refuse_links(root: Path, path: str) -> None:
    """Raise CacheError if an object of a cache in a folder, or a folder on the way to it, is a symbolic link."""
    current = root
    for part in PurePosixPath(path).parts:
        current /= part
        if current.is_symlink():
            raise CacheError(f"{current}: is a link; a cache that is passed on has none; refused")
