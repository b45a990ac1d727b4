"""A cache behind a URL, read as if it were here: shards come when they are needed, or shortly before.

`open_streamed(url)` -> StreamedCache, which is a `Cache`. Metadata and index are kept in the stream folder, shards in a
`DiskCache` beside them. Whoever reads in an order that is known, as training does, announces it, and threads fetch
what comes next. Hashes are compared as shards arrive, checksums as clips are read.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from signprep.cache_builder.folder.transaction import delete_torn_writes
from signprep.cache_builder.format.codec import StoredClip
from signprep.cache_builder.format.layout import METADATA, shard_path
from signprep.cache_builder.format.shard import ShardFile
from signprep.cache_builder.options import StreamOptions, shown
from signprep.cache_builder.reader import STAMPED, Cache, Located, open_folder
from signprep.cache_builder.remote.published import PublishedCache, at_once, open_published
from signprep.cache_builder.remote.storage import Progress
from signprep.cache_builder.remote.untrusted import validate_metadata
from signprep.pipeline.errors import CacheCorruptError, CacheError

PREFETCH_THREADS = 4
NEARLY = 0.9
"""Share of a shard's bytes, after which the next one may begin."""
_AHEAD_PART = 4
"""A quarter of the bound is for shards that are fetched before they are needed."""


class StreamedCache(Cache):
    """A finished cache behind a URL."""

    is_streamed = True

    def __init__(self, cache: Cache, published: PublishedCache, url: str, options: StreamOptions) -> None:
        super().__init__(cache.path, cache.info, cache.manifest, cache._stamps, cache._columns)
        self._published, self._url, self._options = published, url, options
        self._store = DiskCache(options.root(), options.max_bytes)

    def __reduce__(self) -> tuple[Callable[..., Cache], tuple[object, ...]]:
        return open_streamed, (self._url, self._options)

    def __str__(self) -> str:
        return shown(self._url)

    @property
    def shard_bytes(self) -> list[int]:
        """Sizes of its shards."""
        return [entry.num_bytes for path, entry in self.manifest.objects.items() if path not in METADATA]

    def _require_unchanged(self, names: Sequence[str] = STAMPED) -> None:
        """Nobody changes metadata that lie under their fingerprint."""

    def prefetcher(self) -> "Prefetcher":
        """Return a prefetcher, which fetches the shards of an order before they are needed."""
        return Prefetcher(self, self._options.max_bytes // _AHEAD_PART)

    def require_room(self, window_clips: int) -> None:
        """Raise CacheError if reading in shuffled order would fetch shards again and again.

        Args:
            window_clips: that are mixed at a time.
        """
        num_shards = -(-window_clips // self.info.clips_per_shard) + PREFETCH_THREADS + 1
        most = sum(sorted(self.shard_bytes, reverse=True)[:num_shards]) * _AHEAD_PART // (_AHEAD_PART - 1)
        needed = min(most, sum(self.shard_bytes))
        if self._options.max_bytes < needed:
            raise CacheError(
                f"{self}: shuffled reading needs {needed / 1e9:.1f} GB on this machine, --stream-gb gives it "
                f"{self._options.max_bytes / 1e9:.1f}; give it more, or `signprep pull` the cache"
            )

    def fetch(self, number: int, *, wait: bool = True, progress: Progress | None = None) -> Path | None:
        """Return the file of a shard, fetched if it is not here; None if others are at it and `wait` is False."""
        return self._store.get(self._published, shard_path(self.info, number), wait=wait, progress=progress)

    def _shard(self, number: int) -> ShardFile:
        if shard_path(self.info, number) not in self.manifest.objects:
            raise CacheCorruptError(f"{shard_path(self.info, number)} is not in the manifest")
        while True:
            local = self.fetch(number)
            assert local is not None
            try:
                return self._opened(number, local)
            except CacheCorruptError:
                if local.exists():
                    self._store.discard(local.name)
                    raise
                # Another process has made room meanwhile.

    def _located(self, position: int) -> Located:
        try:
            return super()._located(position)
        except CacheCorruptError:
            self._fetch_again(position)
            return super()._located(position)

    def _decode(self, located: Located, clip: StoredClip) -> None:
        try:
            super()._decode(located, clip)
        except CacheCorruptError:
            self._fetch_again(located.position)
            super()._decode(self._located(located.position), clip)

    def _fetch_again(self, position: int) -> None:
        """Forget the copy of a clip's shard, so that it comes once more: it was whole when it came, and has rotted."""
        path = shard_path(self.info, position // self.info.clips_per_shard)
        if path in self.manifest.objects:
            self._store.discard(self.manifest.objects[path].digest)


class Prefetcher:
    """Threads that fetch shards in the order in which they are read, at most a number of bytes ahead of the reader."""

    def __init__(self, cache: StreamedCache, ahead_bytes: int) -> None:
        self._cache = cache
        self._num_ahead = max(PREFETCH_THREADS, ahead_bytes // max(cache.shard_bytes, default=1))
        self._shards: list[int] = []
        """In the order of their first use in each announced order."""
        self._num_begun = self._num_nearly = self._num_done = self._num_used = 0
        """Numbers of them that have been asked for, have nearly come, have come, and have been read."""
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._is_closed = False

    def announce(self, positions: NDArray[np.int64]) -> None:
        """Announce the clips that will be read, in their order, behind those announced before."""
        numbers, first_uses = np.unique(positions // self._cache.info.clips_per_shard, return_index=True)
        with self._changed:
            self._shards += numbers[np.argsort(first_uses)].tolist()
            self._changed.notify_all()
            while len(self._threads) < PREFETCH_THREADS:
                thread = threading.Thread(target=self._run, name="signprep-prefetch", daemon=True)
                self._threads.append(thread)
                thread.start()

    def used(self, positions: NDArray[np.int64]) -> None:
        """Note that clips are read; they are among those announced, and come in about their order."""
        with self._changed:
            for number in np.unique(positions // self._cache.info.clips_per_shard).tolist():
                if number in self._shards[self._num_used : self._num_begun + self._num_ahead]:
                    self._num_used = self._shards.index(number, self._num_used) + 1
            self._changed.notify_all()

    def close(self) -> None:
        """End the threads, each after the shard that it is at."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._is_closed or self._may_begin()):
                    self._changed.wait()
                if self._is_closed:
                    return
                number = self._shards[self._num_begun]
                self._num_begun += 1
            self._fetch(number)

    def _fetch(self, number: int) -> None:
        size = self._cache.manifest.objects[shard_path(self._cache.info, number)].num_bytes
        num_bytes, is_near = 0, False

        def nearly(*, done: bool = False) -> None:
            nonlocal is_near
            with self._changed:
                self._num_nearly += not is_near
                self._num_done += done
                is_near = True
                self._changed.notify_all()

        def progress(more: int) -> None:
            nonlocal num_bytes
            num_bytes += more
            if not is_near and num_bytes > NEARLY * size:
                nearly()

        with suppress(CacheError):  # whoever reads the shard meets the error, and is told
            self._cache.fetch(number, wait=False, progress=progress)
        nearly(done=True)

    def _may_begin(self) -> bool:
        """Return True if the next shard may be fetched: while somebody waits, the awaited one has the link.

        The next one's first bytes are asked for when the last ones of the one before are on their way.
        """
        is_wanted = self._num_begun < min(len(self._shards), self._num_used + self._num_ahead)
        return is_wanted and self._num_begun - self._num_nearly <= max(0, self._num_done - self._num_used)


def open_streamed(url: str, options: StreamOptions) -> StreamedCache:
    """Open a finished cache behind a URL.

    Raises:
        CacheVersionError, CacheCorruptError, CacheError: as `open_cache`, or it cannot be reached, or what it claims
            is refused.
    """
    published = open_published(url)
    fingerprint, store = published.manifest.fingerprint, DiskCache(options.root(), options.max_bytes)
    folder = options.root() / "caches" / fingerprint
    with store.locked(fingerprint):
        try:
            cache = open_folder(folder)
        except CacheError:  # it is not here yet, or not as it came
            _fetch_metadata(published, folder)
            cache = open_folder(folder)
    return StreamedCache(cache, published, url, options)


def _fetch_metadata(published: PublishedCache, folder: Path) -> None:
    """Bring manifest, metadata and index here; the manifest last, so that they are there together."""

    def fetch(path: str, progress: Progress) -> None:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or not published.manifest.objects[path].matches(target):
            beside = target.with_name(f".{target.name}.part")
            published.fetch(path, beside, progress)
            beside.replace(target)

    try:
        at_once(METADATA, fetch)
    except OSError as error:
        raise CacheError(f"{folder}: cannot be written ({error.strerror}); choose another --stream-dir") from error
    validate_metadata(folder, published.manifest, published)
    delete_torn_writes(folder)
    published.manifest.write(folder)


_WAIT_SECONDS = 0.05
_TOUCH_SECONDS = 1.0


class DiskCache:
    """Objects of caches in a folder of at most `max_bytes`, fetched when they are needed; many processes share it.

        FOLDER/objects/HASH             whole objects; their time of change is that of their last use
        FOLDER/objects/.HASH.SIZE.part  on its way, counted with its whole size
        FOLDER/locks/HASH               empty; held while the object is fetched
        FOLDER/locks/room               held while room is made

    What was used longest ago goes first. A lock ends with its process, so nothing is left behind by one that is
    killed. The trade-off: an object is opened anew for each read: a file that is deleted while it is mapped keeps its
    bytes.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root, self.max_bytes = root, max_bytes
        self._objects, self._locks = root / "objects", root / "locks"
        try:
            for folder in (self._objects, self._locks):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(f"{root}: cannot be written ({error.strerror}); choose another --stream-dir") from error

    def get(
        self, published: PublishedCache, path: str, *, wait: bool = True, progress: Progress | None = None
    ) -> Path | None:
        """Return the file of a published object, fetched if it is not here; it may be deleted at any moment.

        Args:
            published: the cache whose object it is.
            path: inside the cache.
            wait: for another process that fetches it; otherwise return None.
            progress: is told the bytes as they come.

        Raises:
            CacheError: it cannot be fetched, or is larger than the whole folder may be.
            CacheCorruptError: what comes is not what the manifest says.
        """
        entry = published.manifest.objects[path]
        target = self._objects / entry.digest
        if self._use(target):
            return target
        if entry.num_bytes > self.max_bytes:
            raise CacheError(
                f"{self.root}: {path} has {entry.num_bytes / 1e9:.3g} GB, more than the {self.max_bytes / 1e9:.3g} GB "
                "that the folder may hold; give a larger --stream-gb"
            )
        with self.locked(entry.digest, wait=wait) as is_held:
            if not is_held:
                return None
            if self._use(target):
                return target
            beside = self._reserve(entry.digest, entry.num_bytes)
            try:
                published.fetch(path, beside, progress)
                with _locked(self._locks / "room"):  # or whoever lists the folder for room might see neither name
                    beside.replace(target)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
        return target

    def locked(self, digest: str, *, wait: bool = True) -> AbstractContextManager[bool]:
        """Hold the right to fetch what has a hash; gives whether it is held, which is certain with `wait`."""
        return _locked(self._locks / digest, wait=wait)

    def discard(self, digest: str) -> None:
        """Delete an object that turned out to be damaged here."""
        (self._objects / digest).unlink(missing_ok=True)

    def num_bytes(self) -> int:
        """Return the bytes of all objects, those on their way with their whole size."""
        return sum(size for _, size, _ in self._listed())

    def _use(self, target: Path) -> bool:
        """Note that an object is used; return False if it is not here."""
        try:
            if time.time() - target.stat().st_mtime > _TOUCH_SECONDS:
                os.utime(target)
        except FileNotFoundError:
            return False
        return True

    def _reserve(self, digest: str, num_bytes: int) -> Path:
        """Return an empty file for an object, once there is room for all of it."""
        beside = self._objects / f".{digest}.{num_bytes}.part"
        while True:
            with _locked(self._locks / "room"):
                if self._make_room(num_bytes):
                    beside.touch()
                    return beside
            time.sleep(_WAIT_SECONDS)  # all is on its way: what arrives can go

    def _make_room(self, num_bytes: int) -> bool:
        listed = sorted(self._listed())
        left = self.max_bytes - num_bytes - sum(size for _, size, _ in listed)
        for _, size, path in listed:
            if left >= 0:
                break
            if not path.name.startswith(".") or self._is_stale(path):
                path.unlink(missing_ok=True)
                left += size
        return left >= 0

    def _is_stale(self, part: Path) -> bool:
        """Return True if the process that fetched a part has ended without it."""
        with _locked(self._locks / part.name.split(".")[1], wait=False) as is_held:
            return is_held and part.exists()  # it may have arrived since it was listed

    def _listed(self) -> list[tuple[float, int, Path]]:
        """Return time of last use, bytes and path of each object."""
        listed = []
        for entry in os.scandir(self._objects):
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue
            size = int(entry.name.split(".")[2]) if entry.name.startswith(".") else status.st_size
            listed.append((status.st_mtime, size, Path(entry.path)))
        return listed


@contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock against all processes and threads; yields whether it is held, which is certain with `wait`."""
    # A soft lock, in place of what the file system lacks, would stay behind when its owner is killed.
    lock = FileLock(path, blocking=wait, fallback_to_soft=False)
    try:
        held = lock.acquire()
    except Timeout:
        yield False
        return
    with held:
        yield True
