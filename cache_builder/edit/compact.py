"""Give back the bytes of removed clips, and forget people's clips for good.

In: a finished cache, and perhaps positions to forget. Out: the same cache without them. Clips from its end take the
places of those that go, so that only the shards with holes, and the last ones, are written again; the index names what
stays and nothing else. Chunks are copied as they are, after their checksum, never decoded.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from signprep.cache_builder.folder.local_records import read_stamps, write_stamps
from signprep.cache_builder.folder.transaction import CacheChange, changed_cache, delete_torn_writes, write_state
from signprep.cache_builder.format.index import REMOVED, index_of_positions, rows_with, used_vocabulary
from signprep.cache_builder.format.layout import (
    BUILD_FOLDER,
    CacheInfo,
    CacheObject,
    read_info,
    require_object,
    shard_path,
    write_atomically,
)
from signprep.cache_builder.format.shard import shard_bytes, stored_chunks
from signprep.cache_builder.reader import Cache, open_folder
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.paths import StrPath, as_path


@dataclass(frozen=True, kw_only=True)
class CompactResult:
    """The outcome of a compaction."""

    num_dropped: int
    num_shards_written: int
    freed_bytes: int


def matching_positions(root: StrPath, selection: Mapping[str, Sequence[str]]) -> NDArray[np.int64]:
    """Return the positions whose row has one of the values in one of the columns, int64, ascending.

    Raises CacheError if a value is nowhere in the cache.
    """
    root = as_path(root)
    index = open_folder(root).index
    chosen = np.zeros(index.num_rows, np.bool_)
    for column, values in selection.items():
        for value in values:
            chosen |= rows_with(index, column, [value], root)
    return np.flatnonzero(chosen)


def compact(
    root: StrPath,
    *,
    forgotten: Mapping[str, Sequence[str]] | None = None,
    confirm: Callable[[int], None] | None = None,
) -> CompactResult:
    """Drop removed clips from a finished cache, and those to forget, as in `matching_positions`, with their rows.

    Args:
        root: the cache's folder.
        forgotten: values by column, as in `matching_positions`.
        confirm: called, before anything changes, with how many clips are to be forgotten; it raises to cancel.

    Raises CacheError if it is no finished cache, another process writes it, or nothing would be left.
    """
    root = as_path(root)
    if not (root / BUILD_FOLDER).is_dir():
        read_info(root)
    command, asked = "compact" if forgotten is None else "forget", json.dumps(forgotten, ensure_ascii=False)
    digest = hashlib.blake2b(f"{command} {asked}".encode(), digest_size=16).hexdigest()
    with changed_cache(root, command, digest) as change:
        cache = open_folder(root)
        if (report := change.ended_report()) is not None:  # killed when all was done
            return CompactResult(**report)
        index = cache.index
        stays = index["status"].cast(pa.string()).to_numpy(zero_copy_only=False) != REMOVED
        if forgotten is not None:
            positions = matching_positions(root, forgotten)
            if confirm is not None:
                confirm(len(positions))
            stays[positions] = False
        change.discard()
        delete_torn_writes(root)  # they may hold clips that are to be forgotten
        return _compact(change, cache, stays)


def _compact(change: CacheChange, cache: Cache, stays: NDArray[np.bool_]) -> CompactResult:
    root, info, manifest, index = change.root, cache.info, cache.manifest, cache.index
    num_left = int(stays.sum())
    if not num_left:
        raise CacheError(f"{root}: no clip would be left; delete the folder instead")
    old_positions = old_positions_of(stays)
    size = info.clips_per_shard
    objects = dict(manifest.objects)
    for number in range(-(-num_left // size), info.num_shards):
        objects.pop(shard_path(info, number), None)
    touched = _touched_shards(old_positions, index.num_rows, size)
    for number in touched:
        data = _gathered_shard(root, info, manifest.objects, old_positions[number * size : (number + 1) * size])
        path = shard_path(info, number)
        objects.pop(path, None)
        if data is not None:
            write_atomically(change.new_objects / path, data)
            objects[path] = CacheObject.of(data)
    result = CompactResult(
        num_dropped=len(stays) - num_left,
        num_shards_written=len(touched),
        freed_bytes=_num_bytes(manifest.objects) - _num_bytes(objects),
    )
    if touched or num_left < index.num_rows:
        vocabulary = used_vocabulary(index, old_positions, info.vocabulary)
        index = index_of_positions(index, old_positions, vocabulary)
        info = replace(info, vocabulary=vocabulary, num_positions=num_left)
        videos = set(index["video"].to_pylist())
        stamps = {name: entry for name, entry in read_stamps(root).items() if name in videos}
        write_stamps(change.new_objects, stamps)
        folder, digest = change.new_objects, manifest.plan_digest
        change.commit(write_state(folder, info, index=index, objects=objects, plan_digest=digest), asdict(result))
    return result


def _num_bytes(objects: Mapping[str, CacheObject]) -> int:
    return sum(entry.num_bytes for entry in objects.values())


def old_positions_of(stays: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for each new position the old one whose clip it gets: its own, or one from behind the new end.

    >>> old_positions_of(np.array([True, False, True, False, True])).tolist()
    [0, 4, 2]
    """
    num_left = int(stays.sum())
    old_positions = np.arange(num_left)
    old_positions[~stays[:num_left]] = num_left + np.flatnonzero(stays[num_left:])
    return old_positions


def _touched_shards(old_positions: NDArray[np.int64], num_positions: int, clips_per_shard: int) -> list[int]:
    """Return the shards that hold other clips than before."""
    numbers = set((np.flatnonzero(old_positions != np.arange(len(old_positions))) // clips_per_shard).tolist())
    if len(old_positions) < num_positions and len(old_positions) % clips_per_shard:
        numbers.add(len(old_positions) // clips_per_shard)
    return sorted(numbers)


def _gathered_shard(
    root: Path, info: CacheInfo, objects: Mapping[str, CacheObject], old_positions: NDArray[np.int64]
) -> bytes | None:
    """Return a shard of the chunks at these old positions; None if none of them has one."""
    size = info.clips_per_shard
    chunks: dict[int, bytes | None] = {}
    for number in np.unique(old_positions // size).tolist():
        path = shard_path(info, number)
        wanted = [int(position) for position in old_positions if position // size == number]
        num_chunks = max(wanted) - number * size + 1
        # A shard of which not one clip could be built has no file.
        stored: list[bytes | None] = [None] * num_chunks
        if path in objects:
            require_object(root / path, objects[path])
            stored = stored_chunks(root / path, size, num_chunks)
        chunks |= {position: stored[position - number * size] for position in wanted}
    ordered = [chunks[int(position)] for position in old_positions]
    return shard_bytes(ordered, size) if any(chunk is not None for chunk in ordered) else None
