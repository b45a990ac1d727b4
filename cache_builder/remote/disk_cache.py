"""Objects of caches on this machine, fetched when they are needed, within a bound of bytes; many processes share it.

    FOLDER/objects/HASH           whole objects; their time of change is that of their last use
    FOLDER/objects/.HASH.SIZE.part  on its way, counted with its whole size
    FOLDER/locks/HASH             empty; held while the object is fetched
    FOLDER/locks/room             held while room is made

What was used longest ago goes first. A lock ends with its process, so nothing is left behind by one that is killed.
The trade-off: an object is opened anew for each read: a file that is deleted while it is mapped keeps its bytes.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from signprep.cache_builder.remote.published import PublishedCache
from signprep.cache_builder.remote.storage import Progress
from signprep.pipeline.errors import CacheError

_WAIT_SECONDS = 0.05
_TOUCH_SECONDS = 1.0


class DiskCache:
    """A folder of at most `max_bytes` of objects."""

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
        target = self._objects / entry.hash
        if self._use(target):
            return target
        if entry.num_bytes > self.max_bytes:
            raise CacheError(
                f"{self.root}: {path} has {entry.num_bytes / 1e9:.3g} GB, more than the {self.max_bytes / 1e9:.3g} GB "
                "that the folder may hold; give a larger --stream-gb"
            )
        with _locked(self._locks / entry.hash, wait=wait) as is_held:
            if not is_held:
                return None
            if self._use(target):
                return target
            beside = self._reserve(entry.hash, entry.num_bytes)
            try:
                published.fetch(path, beside, progress)
                beside.replace(target)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
        return target

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
