"""The two places that a cache can be built at: a folder, and behind a URL.

A target says what finished cache is there, opens the store that workers write to, and makes what they have built the
cache that readers see. In a folder one build at a time holds a lock. Behind a URL nothing is locked: shards are named
by their bytes and parts by what is built, so that two builders cannot harm each other, and one that is late to publish
is told. The trade-off there: what an abandoned build has left stays.
"""

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.building.cluster import Cluster
from signprep.cache_builder.building.encode_shard import ShardResult, ShardStore
from signprep.cache_builder.building.plan import BuildPlan
from signprep.cache_builder.building.workers import BuildProgress, RunOptions
from signprep.cache_builder.folder.local_records import (
    VIDEO_STAMPS,
    VideoStamp,
    decode_stamps,
    encode_stamps,
    read_stamps,
    write_stamps,
)
from signprep.cache_builder.folder.space import check_space_left
from signprep.cache_builder.folder.state import write_state
from signprep.cache_builder.folder.transaction import CacheChange, changed_cache, delete_torn_writes
from signprep.cache_builder.format.layout import BUILD_FOLDER, CacheInfo, CacheManifest, CacheObject, write_atomically
from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.reader import Cache, open_folder
from signprep.cache_builder.remote.location import Location
from signprep.cache_builder.remote.published import BUILDING, OBJECTS
from signprep.cache_builder.remote.pull import METADATA
from signprep.cache_builder.remote.push import confirm_visibility, publish, published_manifest, send_objects
from signprep.cache_builder.remote.storage import MissingError, RemoteFolder
from signprep.cache_builder.remote.streaming import open_streamed
from signprep.cache_builder.remote.transfer import PARALLEL
from signprep.cache_builder.remote.untrusted import validate_manifest
from signprep.pipeline.errors import CacheCorruptError, CacheError

Stamps = Mapping[str, VideoStamp]
Watch = tuple[Callable[[ShardResult], None], tuple[Path, ...]]
"""What is called with each result as it comes, and the paths by which workers elsewhere know the target."""


class Target(Protocol):
    """A place that a cache is built at, for the process that runs the build."""

    old: Cache | None
    """The finished cache that is brought up to date; None if a new one is built."""
    scratch: Path
    """Folder for files of this build alone."""
    stamps_part: str
    """Name of the part that tells of the videos when a new build began."""

    def stamps(self) -> Stamps:
        """Return what is known of the videos that the finished cache was built from."""
        ...

    def store(self, changes: Sequence[object] | None) -> ShardStore:
        """Return where workers put shards; what a stopped build of the same changes has left there stays.

        Args:
            changes: JSON of what changes the finished cache; None for a new one.
        """
        ...

    def watched(self, run: RunOptions, num_reused: int, num_shards: int) -> AbstractContextManager[Watch]:
        """Watch the workers while the block runs, which build `num_shards`; `num_reused` clips are there already."""
        ...

    def keep(self, stamps: Stamps) -> None:
        """Leave the finished cache as it is, and note what is known of the videos."""
        ...

    def publish(self, info: CacheInfo, index: pa.Table, objects: Mapping[str, CacheObject], stamps: Stamps) -> None:
        """Make all that was built the cache that readers see, at once."""
        ...

    def abandon(self) -> None:
        """Delete a new cache of which not one clip could be built."""
        ...


@contextmanager
def opened_target(plan: BuildPlan, out: Location, *, overwrite: bool) -> Iterator[Target]:
    """Open the place that a plan is built at, while the block runs.

    Args:
        plan: of the cache.
        out: a folder, which this process alone may write meanwhile, or a URL.
        overwrite: build anew, whatever is there.

    Raises:
        CacheError: it holds something else, cannot be written, or another process writes it.
    """
    digest = plan.digest()
    if isinstance(out, Path):
        with changed_cache(out) as change:
            is_new = change.begin(plan.info, digest, overwrite=overwrite)
            yield FolderTarget(change, digest, None if is_new else open_folder(out))
        return
    remote = writable_folder(out)
    published = published_manifest(remote)
    with TemporaryDirectory(prefix="signprep-") as scratch:
        old = None
        if published is not None and not overwrite:
            old = open_streamed(out, StreamOptions(folder=Path(scratch) / "published"))
        yield RemoteTarget(remote, digest, old, old.manifest if old else published, Path(scratch))


@dataclass(frozen=True, kw_only=True)
class FolderStore:
    """The shards and index parts of a build in a folder, which all its workers see under the same path."""

    root: Path
    """The cache."""
    new_objects: Path
    """Folder that new shards go to: the cache itself, or a folder beside it."""

    def part_names(self) -> set[str]:
        """Return the names of the parts that are there."""
        delete_torn_writes(self.root)
        # Listed, not asked for one by one: a network drive remembers for a while that a file was not there.
        return {path.name for path in (self.root / BUILD_FOLDER).iterdir()}

    def read_part(self, name: str) -> bytes | None:
        """Return a part of the build, None if it is not there."""
        path = self.root / BUILD_FOLDER / name
        return path.read_bytes() if path.exists() else None

    def write_part(self, name: str, data: bytes) -> None:
        """Store a part of the build, whole or not at all."""
        write_atomically(self.root / BUILD_FOLDER / name, data)

    def write_shard(self, path: str, data: bytes) -> None:
        """Store a shard under its path inside the cache, whole or not at all."""
        write_atomically(self.new_objects / path, data)

    @contextmanager
    def shard_file(self, path: str, _: CacheObject) -> Iterator[Path]:
        """Give the file of a shard that the cache has already."""
        yield self.root / path

    @contextmanager
    def counter(self, number: int) -> Iterator[Callable[[], object]]:
        """Give what counts a shard's clips: a file of as many bytes, which needs no channel to who watches."""
        file = self.root / BUILD_FOLDER / f"{number:06d}.progress"
        try:
            with file.open("wb", buffering=0) as done:
                yield lambda: done.write(b".")
        except OSError as error:
            raise CacheError(f"{file}: cannot be written ({error.strerror})") from error
        file.unlink(missing_ok=True)  # a worker whose build was killed may still be at the same shard


class FolderTarget:
    """A cache in a folder of this machine, or of one that a cluster shares."""

    stamps_part = VIDEO_STAMPS

    def __init__(self, change: CacheChange, plan_digest: str, old: Cache | None) -> None:
        self.old = old
        self._change, self._plan_digest = change, plan_digest
        # Absolute: workers are in other folders, and those of an earlier call may be in one that is gone.
        self.scratch = change.build_folder.absolute()

    def stamps(self) -> Stamps:
        """Return what is known of the videos that the finished cache was built from."""
        return read_stamps(self._change.root)

    def store(self, changes: Sequence[object] | None) -> FolderStore:
        """Return the store of a new cache in place, or of changes that are staged."""
        if changes is not None:
            self._change.resume("update.json", json.dumps([self._plan_digest, *changes]))
        return FolderStore(root=self.scratch.parent, new_objects=self._change.new_objects.absolute())

    @contextmanager
    def watched(self, run: RunOptions, num_reused: int, num_shards: int) -> Iterator[Watch]:
        """Count clips for `run.progress`, and end the build before the disk is full."""
        sizes: list[int] = []

        def check_space(result: ShardResult) -> None:
            sizes.append(result.num_bytes)
            num_left = num_shards - len(sizes)
            check_space_left(self._change.root, num_bytes=sum(sizes), num_done=len(sizes), num_left=num_left)

        with _polled(self.scratch, num_reused, run.progress), _marker(self.scratch, run.cluster) as marker:
            yield check_space, marker

    def keep(self, stamps: Stamps) -> None:
        """Leave the finished cache as it is, and note what is known of the videos."""
        write_stamps(self._change.root, stamps)
        self._change.discard()

    def publish(self, info: CacheInfo, index: pa.Table, objects: Mapping[str, CacheObject], stamps: Stamps) -> None:
        """Commit all that was built."""
        folder = self._change.new_objects
        write_stamps(folder, stamps)
        self._change.commit(write_state(folder, info, index=index, objects=objects, plan_digest=self._plan_digest))

    def abandon(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self._change.root)


@contextmanager
def _marker(folder: Path, cluster: Cluster | None) -> Iterator[tuple[Path, ...]]:
    """Give a path by which the workers of a cluster know a folder: their machine may have another one there."""
    if cluster is None:
        yield ()
        return
    marker = folder / f"{uuid.uuid4().hex}.builder"
    write_atomically(marker, b"")
    try:
        yield (marker,)
    finally:
        marker.unlink(missing_ok=True)


@contextmanager
def _polled(folder: Path, num_reused: int, progress: BuildProgress | None) -> Iterator[None]:
    """Tell `progress` twice a second how many clips are done, from what workers count in files."""
    if progress is None:
        yield
        return
    stop = threading.Event()
    counted = _clip_counter(folder, num_reused)

    def poll() -> None:
        while not stop.wait(0.5):
            progress(counted())

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
        progress(counted())
    finally:
        stop.set()
        thread.join()


def _clip_counter(folder: Path, num_reused: int) -> Callable[[], int]:
    """Return a function that counts finished clips: those of new parts, and those of shards in flight."""
    known = {path.name: 0 for path in folder.glob("*.parquet")}  # counted in num_reused already

    def count() -> int:
        in_flight = 0
        for path in folder.iterdir():
            try:
                if path.suffix == ".progress":
                    in_flight += path.stat().st_size
                elif path.suffix == ".parquet" and path.name not in known:
                    known[path.name] = pq.read_metadata(path).num_rows
            except (FileNotFoundError, pa.ArrowInvalid):
                continue  # finished between the listing and the look
        return num_reused + sum(known.values()) + in_flight

    return count


@dataclass(frozen=True, kw_only=True)
class RemoteStore:
    """The shards and index parts of a build behind a URL, to which all its workers can write."""

    remote: RemoteFolder
    prefix: str
    """Of the parts' names: what is built, and from which state of the cache."""

    def part_names(self) -> set[str]:
        """Return the names of the parts that are there."""
        names = self.remote.sizes(BUILDING)
        return {name.removeprefix(self.prefix) for name in names if name.startswith(self.prefix)}

    def read_part(self, name: str) -> bytes | None:
        """Return a part of the build, None if it is not there."""
        try:
            return self.remote.read(f"{BUILDING}/{self.prefix}{name}")
        except MissingError:
            return None

    def write_part(self, name: str, data: bytes) -> None:
        """Store a part of the build, whole or not at all."""
        self.remote.upload(data, f"{BUILDING}/{self.prefix}{name}")

    def write_shard(self, _: str, data: bytes) -> None:
        """Store a shard under its hash, whole or not at all."""
        self.remote.upload(data, f"{OBJECTS}/{CacheObject.of(data).hash}")

    @contextmanager
    def shard_file(self, _: str, entry: CacheObject) -> Iterator[Path]:
        """Fetch a shard that is published. Raises CacheCorruptError if it is not what its manifest says."""
        with TemporaryDirectory(prefix="signprep-") as folder:
            file = Path(folder) / "shard"
            self.remote.download(f"{OBJECTS}/{entry.hash}", file)
            if CacheObject.of_file(file) != entry:
                raise CacheCorruptError(f"{self.remote}: its object {entry.hash} is damaged; push it again")
            yield file

    @contextmanager
    def counter(self, _: int) -> Iterator[Callable[[], object]]:
        """Count nothing: clips count when their shard has arrived."""
        yield lambda: None


class RemoteTarget:
    """A cache behind a URL: parts lie there under the plan's digest until it is published."""

    stamps_part = "seen.parquet"

    def __init__(
        self, remote: RemoteFolder, plan_digest: str, old: Cache | None, published: CacheManifest | None, scratch: Path
    ) -> None:
        self.old, self.scratch = old, scratch
        self._remote, self._plan_digest, self._published = remote, plan_digest, published

    def stamps(self) -> Stamps:
        """Return what is known of the videos: nothing if the cache was pushed, not built there."""
        try:
            return decode_stamps(self._remote.read(VIDEO_STAMPS))
        except MissingError:
            return {}

    def store(self, changes: Sequence[object] | None) -> RemoteStore:
        """Return the store of these changes."""
        digest = hashlib.blake2b(json.dumps(changes).encode(), digest_size=8).hexdigest()
        return RemoteStore(remote=self._remote, prefix=f"{self._plan_digest}-{digest}-")

    @contextmanager
    def watched(self, run: RunOptions, num_reused: int, _: int) -> Iterator[Watch]:
        """Tell `run.progress` of clips whose shards have arrived."""
        num_done = num_reused

        def tell(result: ShardResult) -> None:
            nonlocal num_done
            num_done += result.num_ok + result.num_failed
            if run.progress is not None:
                run.progress(num_done)

        yield tell, ()

    def keep(self, stamps: Stamps) -> None:
        """Leave the published cache as it is, and note what is known of the videos."""
        self._remote.upload(encode_stamps(stamps), VIDEO_STAMPS)
        self.abandon()

    def publish(self, info: CacheInfo, index: pa.Table, objects: Mapping[str, CacheObject], stamps: Stamps) -> None:
        """Publish all that was built, unless somebody else has published another state meanwhile."""
        remote = self._remote
        manifest = write_state(self.scratch, info, index=index, objects=objects, plan_digest=self._plan_digest)
        validate_manifest(manifest, remote)
        send_objects(self.scratch, manifest, list(METADATA), remote)
        remote.upload(encode_stamps(stamps), VIDEO_STAMPS)
        if published_manifest(remote) != self._published:
            raise CacheError(
                f"{remote}: somebody else has published there meanwhile; the same command goes on from that"
            )
        publish(remote, manifest)
        self.abandon()

    def abandon(self) -> None:
        """Delete the parts of this plan's builds."""
        names = [f"{BUILDING}/{name}" for name in self._remote.sizes(BUILDING) if name.startswith(self._plan_digest)]
        with ThreadPoolExecutor(PARALLEL) as pool:
            list(pool.map(lambda name: self._remote.delete([name]), names))


def writable_folder(url: str) -> RemoteFolder:
    """Return the place behind a URL. Raises CacheError if nothing can be built there."""
    remote = RemoteFolder(url)
    if remote.is_read_only:
        raise CacheError(f"{remote}: nothing can be built on a web server; build in a folder that it serves")
    return remote


def check_url(url: str, confirm: Callable[[str], None] | None = None) -> None:
    """Raise CacheError if nothing can be built at a URL; `confirm` is told who may read it, as for `push`."""
    remote = writable_folder(url)
    confirm_visibility(remote, published_manifest(remote), confirm)
