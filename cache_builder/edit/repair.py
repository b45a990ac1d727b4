"""Make damaged shards again from the videos, clip by clip, keeping every clip that is still whole.

In: a cache with faults, and the data root that it was built from. Out: the cache as it was written. A clip is only made
from a video with the content that it was cut from. A shard is replaced when all of it is good again, never before.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from signprep.cache_builder.building.encode_shard import clips_of_video
from signprep.cache_builder.edit.verify import Fault
from signprep.cache_builder.folder.transaction import (
    CacheChange,
    changed_cache,
    write_index,
)
from signprep.cache_builder.format.index import SCHEMA
from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    CacheInfo,
    CacheManifest,
    CacheObject,
    shard_path,
    write_atomically,
    write_metadata,
)
from signprep.cache_builder.format.shard import ShardFile, chunk_is_intact, shard_bytes
from signprep.cache_builder.reader import Cache, open_folder
from signprep.pipeline.clips import Clip
from signprep.pipeline.datasets.annotations import Segment
from signprep.pipeline.datasets.files import DataRoots
from signprep.pipeline.errors import CacheCorruptError, CacheError


@dataclass(frozen=True, kw_only=True)
class RepairResult:
    """The outcome of a repair."""

    num_clips: int
    num_objects: int
    unrepaired: tuple[str, ...]
    """Objects and clips that could not be made again, with the reasons."""


def repair_cache(root: Path, faults: list[Fault], roots: DataRoots) -> RepairResult:
    """Repair the faults that `verify_cache` found.

    Raises CacheError if its index or its group's metadata is damaged, or another process writes it.
    """
    for path in (INDEX, GROUP_METADATA):
        if any(fault.path == path for fault in faults):
            raise CacheError(
                f"{root / path}: is damaged, and nothing else tells what it held; take it from another copy of the "
                "cache, or build the cache anew: build-cache --overwrite"
            )
    with changed_cache(root) as change:
        change.discard()
        # Read once nobody else can write: a build may have ended since the faults were found.
        return _repair(change, open_folder(root), sorted({fault.path for fault in faults}), roots)


def _repair(change: CacheChange, cache: Cache, paths: list[str], roots: DataRoots) -> RepairResult:
    root, staged = change.root, change.new_objects
    info, index, objects = cache.info, cache.index, dict(cache.manifest.objects)
    sizes = index["stored_bytes"].to_numpy().copy()
    numbers = {shard_path(info, number): number for number in range(info.num_shards)}
    unrepaired: list[str] = []
    num_clips = num_objects = 0
    for path in paths:
        if path == ARRAY_METADATA:
            write_metadata(staged, info)
            objects |= {name: CacheObject.of((staged / name).read_bytes()) for name in (ARRAY_METADATA, GROUP_METADATA)}
            num_objects += 1
        elif path == MANIFEST:
            num_objects += 1  # written anew in any case
        elif path not in numbers:
            unrepaired.append(f"{root / path}: is none of the cache's own files; delete it if it is not yours")
        else:
            chunks, num_made, reasons = _made_again(root, info, index, numbers[path], roots)
            unrepaired += reasons
            if not reasons:
                data = shard_bytes(chunks, info.clips_per_shard)
                write_atomically(staged / path, data)
                objects[path] = CacheObject.of(data)
                num_clips, num_objects = num_clips + num_made, num_objects + 1
                first = numbers[path] * info.clips_per_shard
                lengths = [len(chunk) if chunk is not None else 0 for chunk in chunks]
                sizes[first : first + len(lengths)] = lengths
    if not np.array_equal(sizes, index["stored_bytes"].to_numpy()):
        # Another version of the compressor: the frames are the same, their bytes are not.
        column = pa.array(sizes, pa.int64())
        index = index.set_column(SCHEMA.get_field_index("stored_bytes"), SCHEMA.field("stored_bytes"), column)
        objects |= write_index(staged, index)
    change.commit(CacheManifest(objects=objects, plan_digest=cache.manifest.plan_digest))
    return RepairResult(num_clips=num_clips, num_objects=num_objects, unrepaired=tuple(unrepaired))


def _made_again(
    root: Path, info: CacheInfo, index: pa.Table, number: int, roots: DataRoots
) -> tuple[list[bytes | None], int, list[str]]:
    """Return a shard's chunks, the number of those that were made again, and why others could not be."""
    first = number * info.clips_per_shard
    rows = index.slice(first, info.clips_per_shard).to_pylist()
    chunks = [_whole_chunk(root / shard_path(info, number), info, place, row) for place, row in enumerate(rows)]
    missing = [place for place, row in enumerate(rows) if row["stored_bytes"] and chunks[place] is None]
    reasons = []
    for video, group in itertools.groupby(missing, key=lambda place: str(rows[place]["video"])):
        places = list(group)
        segments = [Segment.from_dict({name: rows[p][name] for name in Segment.__dataclass_fields__}) for p in places]
        clips, video_hash = clips_of_video(roots, info, video, segments)
        for place, clip in zip(places, clips, strict=True):
            if not isinstance(clip, Clip):
                reasons.append(f"clip {first + place} ({rows[place]['segment_id']}): {clip}")
            elif video_hash != rows[place]["video_hash"]:
                name = roots.display_name(video)
                reasons.append(f"clip {first + place}: {name} is not the video that it was cut from")
            else:
                chunks[place] = info.clip_codec.encode(clip.frames)
    return chunks, len(missing) - len(reasons), reasons


def _whole_chunk(path: Path, info: CacheInfo, place: int, row: dict[str, object]) -> bytes | None:
    """Return a chunk that is what the index says, or None."""
    try:
        chunk = ShardFile(path, info.clips_per_shard).chunk(place)
    except CacheCorruptError:
        return None
    if chunk is None or len(chunk) != row["stored_bytes"] or not chunk_is_intact(chunk):
        return None
    return chunk.tobytes()
