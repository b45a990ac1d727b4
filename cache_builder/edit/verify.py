"""Compare a cache with what was written, object by object or clip by clip, and repair it from the videos.

`verify_cache` gives a list of faults, empty for a good cache; objects are read once, in blocks, by threads: hashing
releases the interpreter's lock. `repair_cache` makes damaged shards again and keeps every clip that is still whole. A
clip is only made from a video with the content that it was cut from, and a shard is replaced when all of it is good.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from signprep.cache_builder.building.encode_shard import clips_of_video
from signprep.cache_builder.folder.local_records import SYNCED, VIDEO_STAMPS
from signprep.cache_builder.folder.transaction import ENDED, CacheChange, changed_cache, write_index
from signprep.cache_builder.format.index import OK, SCHEMA
from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    BUILD_FOLDER,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    METADATA,
    UNFINISHED_SUFFIX,
    CacheInfo,
    CacheManifest,
    CacheObject,
    read_info,
    read_manifest,
    shard_path,
    write_atomically,
)
from signprep.cache_builder.format.shard import ShardFile, chunk_checksum, chunk_is_intact, shard_bytes
from signprep.cache_builder.reader import Cache, open_folder
from signprep.cache_builder.remote.published import open_published
from signprep.cache_builder.remote.storage import Progress
from signprep.cache_builder.remote.transfer import transfer_all
from signprep.cache_builder.remote.untrusted import validate_metadata
from signprep.pipeline.clips import Clip
from signprep.pipeline.datasets.annotations import Segment
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.runtime.paths import StrPath, as_path

REPAIR = "verify --repair"
"""The command that goes on with a repair."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One object or clip that is not what was written."""

    path: str
    message: str


def verify_cache(
    root: StrPath, *, deep: bool = False, workers: int = 4, progress: Callable[[int], None] | None = None
) -> list[Fault]:
    """Return what is wrong with a finished cache; with `deep`, every clip is decoded as well.

    Raises CacheVersionError, CacheIncompleteError, CacheError if it is no finished cache of a known format at all.
    """
    root = as_path(root)
    read_info(root)
    manifest = read_manifest(root)
    faults = [*_manifest_faults(root, manifest)]
    with ThreadPoolExecutor(workers) as threads:
        checked = threads.map(lambda item: _check_object(root, *item), manifest.objects.items())
        for number, fault in enumerate(checked, start=1):
            faults += [fault] if fault else []
            if progress:
                progress(number)
    if any(fault.path in (GROUP_METADATA, INDEX) for fault in faults):
        return faults  # what a damaged one tells of the clips is no measure for them
    try:
        validate_metadata(root, manifest, root)
        cache = open_folder(root)
    except CacheError as error:
        return faults or [Fault(path=INDEX, message=str(error))]
    if deep:
        faults += _bad_clips(cache, workers)
    return faults


def _manifest_faults(root: Path, manifest: CacheManifest) -> Iterator[Fault]:
    """Yield faults of the manifest's own bytes, of names that leave the cache, and of files that it does not know."""
    if (root / MANIFEST).read_bytes() != manifest.to_json().encode():
        yield Fault(path=MANIFEST, message=f"{root / MANIFEST}: its bytes are not those that were written")
    for path in manifest.objects:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            yield Fault(path=path, message=f"{root / MANIFEST}: names {path}, outside the cache")
    known = {*manifest.objects, MANIFEST, VIDEO_STAMPS, SYNCED, ENDED}
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        # What a killed process was writing is no fault of the cache; the next command deletes it.
        is_torn = file.name.startswith(".") and file.suffix == UNFINISHED_SUFFIX
        if file.is_file() and name not in known and not is_torn and not name.startswith(BUILD_FOLDER + "/"):
            yield Fault(path=name, message=f"{file}: is not in the manifest")


def _check_object(root: Path, path: str, expected: CacheObject) -> Fault | None:
    file = root / path
    try:
        num_bytes = file.stat().st_size
        if num_bytes != expected.num_bytes:
            return Fault(path=path, message=f"{file}: has {num_bytes} bytes, {expected.num_bytes} were written")
        is_same = expected.matches(file, by_all=True)
    except FileNotFoundError:
        return Fault(path=path, message=f"{file}: is missing")
    except OSError as error:
        return Fault(path=path, message=f"{file}: cannot be read ({error.strerror})")
    if not is_same:
        return Fault(path=path, message=f"{file}: its bytes are not those that were written")
    return None


def _bad_clips(cache: Cache, workers: int) -> list[Fault]:
    statuses = cache.index["status"].to_pylist()

    def check(number: int) -> list[Fault]:
        first = number * cache.info.clips_per_shard
        path, faults = shard_path(cache.info, number), []
        for position in range(first, min(first + cache.info.clips_per_shard, len(cache))):
            try:
                if statuses[position] == OK:
                    cache.read([position])
            except CacheCorruptError as error:
                faults.append(Fault(path=path, message=str(error)))
        return faults

    with ThreadPoolExecutor(workers) as threads:
        return [fault for faults in threads.map(check, range(cache.info.num_shards)) for fault in faults]


def verify_published(url: str) -> tuple[list[Fault], int]:
    """Return what is wrong with the objects of a cache behind a URL, and how many there are.

    Raises CacheError if there is no finished cache, or its manifest is none of a cache.
    """
    published = open_published(url)

    with tempfile.TemporaryDirectory(prefix="signprep-") as name:
        folder = Path(name)

        def check(path: str, progress: Progress) -> list[Fault]:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                published.fetch(path, target, progress)
            except CacheError as error:
                return [Fault(path=path, message=str(error))]
            if path not in METADATA:
                target.unlink()
            return []

        num_bytes = sum(entry.num_bytes for entry in published.manifest.objects.values())
        paths = sorted(published.manifest.objects)
        found = transfer_all(paths, check, description="Verifying", num_bytes=num_bytes)
        faults = [fault for faults in found for fault in faults]
        if not faults:
            try:
                validate_metadata(folder, published.manifest, published)
            except CacheError as error:
                faults = [Fault(path=INDEX, message=str(error))]
    return faults, len(paths)


@dataclass(frozen=True, kw_only=True)
class RepairResult:
    """The outcome of a repair."""

    num_clips: int
    num_objects: int
    unrepaired: tuple[str, ...]
    """Objects and clips that could not be made again, with the reasons."""


def repair_cache(root: StrPath, faults: list[Fault], roots: DataRoots) -> RepairResult:
    """Repair the faults that `verify_cache` found.

    Raises CacheError if its index or its group's metadata is damaged, or another process writes it.
    """
    root = as_path(root)
    for path in (INDEX, GROUP_METADATA):
        if any(fault.path == path for fault in faults):
            raise CacheError(
                f"{root / path}: is damaged, and nothing else tells what it held; take it from another copy of the "
                "cache, or build the cache anew: build-cache --overwrite"
            )
    with changed_cache(root, REPAIR) as change:
        # Read once nobody else can write: a build may have ended since the faults were found.
        cache = open_folder(root)
        change.discard()
        return _repair(change, cache, sorted({fault.path for fault in faults}), roots)


def _repair(change: CacheChange, cache: Cache, paths: list[str], roots: DataRoots) -> RepairResult:
    root, staged = change.root, change.new_objects
    info, index, objects = cache.info, cache.index, dict(cache.manifest.objects)
    numbers = {shard_path(info, number): number for number in range(info.num_shards)}
    unrepaired: list[str] = []
    num_clips = num_objects = 0
    for path in paths:
        if path == ARRAY_METADATA:
            from signprep.cache_builder.format.zarr_metadata import write_metadata  # which imports zarr

            write_metadata(staged, info)
            objects |= {name: CacheObject.of((staged / name).read_bytes()) for name in (ARRAY_METADATA, GROUP_METADATA)}
            num_objects += 1
        elif path == MANIFEST:
            num_objects += 1  # written anew in any case
        elif path not in numbers:
            unrepaired.append(f"{root / path}: is none of the cache's own files; delete it if it is not yours")
        else:
            chunks, num_made, reasons = _made_again(root, info, index, numbers[path], roots, objects.get(path))
            unrepaired += reasons
            if not reasons:
                data = shard_bytes(chunks, info.clips_per_shard)
                write_atomically(staged / path, data)
                objects[path] = CacheObject.of(data)
                num_clips, num_objects = num_clips + num_made, num_objects + 1
                first = numbers[path] * info.clips_per_shard
                index = _with_stored(index, first, chunks)
    if not index.equals(cache.index):
        # Another version of the compressor: the frames are the same, their bytes are not. Or an older cache.
        objects |= write_index(staged, index)
    change.commit(CacheManifest(objects=objects, plan_digest=cache.manifest.plan_digest))
    return RepairResult(num_clips=num_clips, num_objects=num_objects, unrepaired=tuple(unrepaired))


def _with_stored(index: pa.Table, first: int, chunks: list[bytes | None]) -> pa.Table:
    """Return an index that tells of these chunks at the positions from `first` on."""
    for name, of_chunk in (("stored_bytes", len), ("stored_crc32c", chunk_checksum)):
        absent = 0 if name == "stored_bytes" else None
        told = pa.array([absent if chunk is None else of_chunk(chunk) for chunk in chunks], SCHEMA.field(name).type)
        old = index[name]
        column = pa.chunked_array([*old.slice(0, first).chunks, told, *old.slice(first + len(chunks)).chunks])
        index = index.set_column(index.column_names.index(name), SCHEMA.field(name), column)
    return index


def _made_again(
    root: Path, info: CacheInfo, index: pa.Table, number: int, roots: DataRoots, entry: CacheObject | None
) -> tuple[list[bytes | None], int, list[str]]:
    """Return a shard's chunks, the number of those that were made again, and why others could not be."""
    first, path = number * info.clips_per_shard, root / shard_path(info, number)
    rows = index.slice(first, info.clips_per_shard).to_pylist()
    chunks = [_whole_chunk(path, info, place, row) for place, row in enumerate(rows)]
    missing = [place for place, row in enumerate(rows) if row["stored_bytes"] and chunks[place] is None]
    if not missing and path.exists() and not (entry and entry.matches(path)):
        # Every clip is whole, and yet these are not the bytes: of an older cache, another shard may lie here.
        chunks = [chunk if row["stored_crc32c"] is not None else None for row, chunk in zip(rows, chunks, strict=True)]
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
    if row["stored_crc32c"] not in (None, chunk_checksum(chunk)):
        return None
    return chunk.tobytes()
