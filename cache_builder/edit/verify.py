"""Compare a cache with what was written: every object with the manifest and, if deep, every clip by its codec.

In: a cache's path. Out: a list of faults, empty for a good cache. Objects are read once, in blocks, by threads:
hashing releases the interpreter's lock.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa

from signprep.cache_builder.folder.local_records import SYNCED, VIDEO_STAMPS
from signprep.cache_builder.format.index import OK
from signprep.cache_builder.format.layout import (
    BUILD_FOLDER,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    CacheManifest,
    CacheObject,
    read_info,
    read_manifest,
    shard_path,
)
from signprep.cache_builder.reader import Cache, open_folder
from signprep.cache_builder.remote.published import open_published
from signprep.cache_builder.remote.storage import Progress
from signprep.cache_builder.remote.transfer import transfer_all
from signprep.pipeline.errors import CacheCorruptError, CacheError


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One object or clip that is not what was written."""

    path: str
    message: str


def verify_cache(
    root: Path, *, deep: bool = False, workers: int = 4, progress: Callable[[int], None] | None = None
) -> list[Fault]:
    """Return what is wrong with a finished cache; with `deep`, every clip is decoded as well.

    Raises CacheVersionError, CacheIncompleteError, CacheError if it is no finished cache of a known format at all.
    """
    read_info(root)
    manifest = read_manifest(root)
    faults = [*_changed_manifest(root, manifest), *_names(root, manifest)]
    with ThreadPoolExecutor(workers) as threads:
        checked = threads.map(lambda item: _check_object(root, *item), manifest.objects.items())
        for number, fault in enumerate(checked, start=1):
            faults += [fault] if fault else []
            if progress:
                progress(number)
    if any(fault.path in (GROUP_METADATA, INDEX) for fault in faults):
        return faults  # what a damaged one tells of the clips is no measure for them
    try:
        cache = open_folder(root)
    except CacheError as error:
        return faults or [Fault(path=GROUP_METADATA, message=str(error))]
    faults += _missing_shards(cache)
    if deep:
        faults += _bad_clips(cache, workers)
    return faults


def _changed_manifest(root: Path, manifest: CacheManifest) -> Iterator[Fault]:
    """Yield a fault if the manifest's own bytes are not those that its contents are written as."""
    file = root / MANIFEST
    if file.read_bytes() != manifest.to_json().encode():
        yield Fault(path=MANIFEST, message=f"{file}: its bytes are not those that were written")


def _names(root: Path, manifest: CacheManifest) -> Iterator[Fault]:
    """Yield faults of the objects' names: those that leave the cache, and files that no manifest knows."""
    for path in manifest.objects:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            yield Fault(path=path, message=f"{root / MANIFEST}: names {path}, outside the cache")
    known = {*manifest.objects, MANIFEST, VIDEO_STAMPS, SYNCED}
    for file in sorted(root.rglob("*")):
        name = file.relative_to(root).as_posix()
        if file.is_file() and name not in known and not name.startswith(BUILD_FOLDER + "/"):
            yield Fault(path=name, message=f"{file}: is not in the manifest")


def _check_object(root: Path, path: str, expected: CacheObject) -> Fault | None:
    file = root / path
    try:
        num_bytes = file.stat().st_size
        if num_bytes != expected.num_bytes:
            return Fault(path=path, message=f"{file}: has {num_bytes} bytes, {expected.num_bytes} were written")
        found = CacheObject.of_file(file)
    except FileNotFoundError:
        return Fault(path=path, message=f"{file}: is missing")
    except OSError as error:
        return Fault(path=path, message=f"{file}: cannot be read ({error.strerror})")
    if found != expected:
        return Fault(path=path, message=f"{file}: its bytes are not those that were written")
    return None


def _missing_shards(cache: Cache) -> list[Fault]:
    """Return shards that hold clips by the index but are not in the manifest: zarr would read them as zeros."""
    needed = {shard_path(cache.info, int(n)) for n in np.unique(cache.positions() // cache.info.clips_per_shard)}
    return [
        Fault(path=path, message=f"{cache.path / path}: the index has clips in it, the manifest does not know it")
        for path in sorted(needed - cache.manifest.objects.keys())
    ]


def _bad_clips(cache: Cache, workers: int) -> list[Fault]:
    sizes = cache.index["stored_bytes"].to_numpy()
    statuses = cache.index["status"].cast(pa.string()).to_pylist()

    def check(number: int) -> list[Fault]:
        first = number * cache.info.clips_per_shard
        path, faults = shard_path(cache.info, number), []
        for position in range(first, min(first + cache.info.clips_per_shard, len(cache))):
            try:
                if statuses[position] == OK:
                    cache.read([position])
                    if cache.chunk_bytes(position) != sizes[position]:
                        faults.append(Fault(path=path, message=f"clip {position}: its size is not the index's"))
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

    with tempfile.TemporaryDirectory(prefix="signprep-") as folder:

        def check(path: str, progress: Progress) -> list[Fault]:
            target = Path(folder) / path.replace("/", "-")
            try:
                published.fetch(path, target, progress)
            except CacheError as error:
                return [Fault(path=path, message=str(error))]
            target.unlink()
            return []

        num_bytes = sum(entry.num_bytes for entry in published.manifest.objects.values())
        paths = sorted(published.manifest.objects)
        found = transfer_all(paths, check, description="Verifying", num_bytes=num_bytes)
    return [fault for faults in found for fault in faults], len(paths)
