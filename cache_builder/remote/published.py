"""A finished cache, wherever it lies: its manifest, and its objects by their paths inside the cache.

Three layouts are read. A folder of this machine. The same folder as it is behind a URL, as any web server or bucket
gives it. And what `push` makes behind a URL: each object as `objects/HASH`, and `published.json`, which holds the
manifest and is written last. In that one nothing is ever replaced but `published.json`, so that a reader sees the old
cache or the new one; a plain folder that changes under a reader is noticed by its hashes.
"""

import shutil
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from signprep.cache_builder.format.consistency import check_manifest
from signprep.cache_builder.format.layout import (
    MANIFEST,
    METADATA,
    CacheManifest,
    incomplete,
    parse_manifest,
    read_info,
)
from signprep.cache_builder.options import Location, shown
from signprep.cache_builder.remote.storage import MissingError, Progress, RemoteFolder
from signprep.cache_builder.remote.untrusted import MAX_MANIFEST_BYTES, refuse_links
from signprep.pipeline.errors import CacheCorruptError, CacheError, CacheVersionError

PUBLISHED = "published.json"
OBJECTS = "objects"
BUILDING = "building"
"""Index parts of a build at the place itself lie here until their cache is published."""
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine, or a share that is mounted in it."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str, start: int | None = None, end: int | None = None, *, limit: int | None = None) -> bytes:
        """Return an object's bytes, or the half-open range [start, end) of them; raises as `RemoteFolder.read`."""
        refuse_links(self.root, name)
        try:
            with (self.root / name).open("rb") as file:
                file.seek(start or 0)
                data = file.read((limit + 1 if limit is not None else -1) if end is None else end - (start or 0))
        except FileNotFoundError as error:
            raise MissingError(f"{self.root / name}: is missing") from error
        except OSError as error:
            raise CacheError(f"{self.root / name}: cannot be read ({error.strerror})") from error
        if limit is not None and len(data) > limit:
            raise CacheError(f"{self.root / name}: has over {limit} bytes; it is no such file of a cache")
        return data

    def download(self, name: str, target: Path, progress: Progress | None = None) -> None:
        """Copy an object to a file. Raises CacheError if it cannot be read or written."""
        refuse_links(self.root, name)
        try:
            shutil.copyfile(self.root / name, target)
        except FileNotFoundError as error:
            raise MissingError(f"{self.root / name}: is missing") from error
        except OSError as error:
            raise CacheError(f"{error.filename or target}: cannot be copied ({error.strerror})") from error
        if progress is not None:
            progress(target.stat().st_size)


@dataclass(frozen=True, kw_only=True)
class PublishedCache:
    """A finished cache, wherever it lies, to read objects from."""

    folder: LocalFolder | RemoteFolder
    manifest: CacheManifest
    by_hash: bool
    """True if it was pushed: objects are named by their hash."""

    def __str__(self) -> str:
        return str(self.folder)

    def name_of(self, path: str) -> str:
        """Return where an object lies, by its path inside the cache."""
        return f"{OBJECTS}/{self.manifest.objects[path].hash}" if self.by_hash else path

    def fetch(self, path: str, target: Path, progress: Progress | None = None) -> None:
        """Write an object to a file, and compare its size and hash; metadata, which are small, by all hashes.

        Raises:
            CacheCorruptError: it is not what the manifest says; nothing is left.
            CacheError: it cannot be read, or the file cannot be written.
        """
        self._complain(path, lambda: self.folder.download(self.name_of(path), target, progress))
        expected = self.manifest.objects[path]
        if not expected.matches(target, by_all=path in METADATA):
            target.unlink()
            raise CacheCorruptError(
                f"{self}: {path} is not what its manifest says (it should have {expected.num_bytes} bytes with the "
                f"hash {expected.digest}); it was changed meanwhile, or is damaged"
            )

    def read(self, path: str, start: int, end: int) -> bytes:
        """Return the half-open range [start, end) of an object's bytes; raises CacheError if it cannot be read."""
        return self._complain(path, lambda: self.folder.read(self.name_of(path), start, end))

    def _complain(self, path: str, attempt: Callable[[], Result]) -> Result:
        try:
            return attempt()
        except MissingError as error:
            raise CacheError(
                f"{self}: {path} is gone; the cache was changed or pruned since it was opened: try again"
            ) from error


def open_published(location: Location) -> PublishedCache:
    """Open a finished cache in a folder or behind a URL, and check what its manifest claims.

    Raises:
        CacheVersionError: there is none, or one of a newer format.
        CacheCorruptError: its manifest is damaged, or names what a cache cannot hold.
        CacheError: it cannot be read.
    """
    if isinstance(location, Path):
        read_info(location)  # says what is wrong where there is no cache
    folder = LocalFolder(location) if isinstance(location, Path) else RemoteFolder(location)
    names = (MANIFEST,) if isinstance(location, Path) else (PUBLISHED, MANIFEST)
    for name in names:
        try:
            data = folder.read(name, limit=MAX_MANIFEST_BYTES)
        except MissingError:
            continue
        manifest = parse_manifest(data, folder)
        check_manifest(manifest, folder)
        return PublishedCache(folder=folder, manifest=manifest, by_hash=name == PUBLISHED)
    if isinstance(location, Path):
        raise incomplete(location)
    raise CacheVersionError(
        f"{shown(location)}: there is no finished cache here ({' or '.join(names)} is missing); `signprep push` puts "
        "one there, and a push or a build that was stopped goes on with the same command"
    )


class StoppedError(Exception):
    """Another transfer has failed, or Ctrl-C was pressed: this one is aborted."""


def at_once(jobs: Collection[Job], work: Callable[[Job, Progress], object]) -> None:
    """Do a few small transfers together: over a long line, each takes a round trip and hardly more.

    Raises the first error; the others then end at their next bytes.
    """
    stop = threading.Event()

    def progress(more: int) -> None:
        if stop.is_set() and more > 0:
            raise StoppedError

    with ThreadPoolExecutor(len(jobs) or 1, thread_name_prefix="signprep-transfer") as pool:
        try:
            list(pool.map(lambda job: work(job, progress), jobs))
        finally:
            stop.set()
