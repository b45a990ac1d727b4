"""Change a cache in a folder all at once: one writer, and one moment from which a change counts.

`changed_cache(root)` holds the right to write a cache, and brings a change that was stopped to its end first. A new
cache is built where it is to be (`begin`): without its manifest nobody takes it for a cache. A finished cache stays
what it was, for its readers too: new objects are staged beside it, under `.build/staged`. `commit` is the moment: it
writes the manifest of a new cache, or a journal after which staged objects are put in place, whatever is killed. What
a change has to report stays in `.ended.json` until its process ends, for the same command after a kill.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from signprep.cache_builder.format.index import completed, parquet_bytes, with_checksums, written_columns
from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    BUILD_FOLDER,
    COMMAND,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    UNFINISHED_SUFFIX,
    CacheInfo,
    CacheManifest,
    CacheObject,
    finished_manifest,
    read_info,
    write_atomically,
)
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.text import byte_size

PLAN, LOCK, ENDED = "plan.json", "lock", ".ended.json"
_STAGED, _JOURNAL = "staged", "commit.json"


class CacheChange:
    """The right to change the cache in a folder, as `changed_cache` gives it."""

    def __init__(self, root: Path, command: str = "", digest: str = "") -> None:
        self.root = root
        self._command, self._digest = command, digest
        self.build_folder = root / BUILD_FOLDER
        self.new_objects = self.build_folder / _STAGED
        """Folder under which new objects are written, at their paths inside the cache."""

    def begin(self, info: CacheInfo, digest: str, *, overwrite: bool) -> bool:
        """Begin a new cache in place, or go on with one of the same plan; return False where a finished one stays.

        Args:
            info: of the new cache.
            digest: of the plan by which a stopped change is known again.
            overwrite: empty the folder, whatever it holds.

        Raises CacheError if the folder holds the unfinished cache of another plan.
        """
        plan = self.build_folder / PLAN
        if not overwrite and (self.root / MANIFEST).exists():
            read_info(self.root)
            return False
        if overwrite or not plan.exists():  # without a plan, nothing is there, or it was stopped before its first task
            self.note_command()
            self._empty_folder()
            from signprep.cache_builder.format.zarr_metadata import write_metadata  # which imports zarr

            write_metadata(self.root, info)
            # The plan comes last: a folder with a plan has all its metadata.
            write_atomically(plan, json.dumps({"plan_digest": digest}).encode())
        elif json.loads(plan.read_text())["plan_digest"] != digest:
            raise CacheError(
                f"{self.root}: holds an unfinished cache of other data or options; choose another --out, finish it "
                "with its own command, or --overwrite to replace it"
            )
        self.new_objects = self.root
        return True

    def resume(self, name: str, digest: str) -> None:
        """Keep what a stopped change of the same digest has left in the build folder, and no other one's.

        Args:
            name: file of the build folder that holds the digest.
            digest: of all that decides what is staged.
        """
        file = self.build_folder / name
        if not file.exists() or file.read_text() != digest:
            self.discard()
            write_atomically(file, digest.encode())
        delete_torn_writes(self.root)

    def note_command(self) -> None:
        """Note the command from which on readers find no whole cache, so that they can tell which one goes on."""
        file = self.build_folder / COMMAND
        if not file.exists() or file.read_text(errors="replace") != self._command:
            write_atomically(file, self._command.encode())

    def discard(self) -> None:
        """Delete what is in the build folder: the change, as far as it is not in place."""
        self._delete_all_but(LOCK, COMMAND)

    def _delete_all_but(self, *names: str) -> None:
        for path in self.build_folder.iterdir():
            if path.name not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def commit(self, manifest: CacheManifest, report: Mapping[str, Any] | None = None) -> None:
        """Make the cache the one of a manifest, delete objects that it does not name, and end the change.

        Args:
            manifest: of the new state.
            report: what the same command, given again after it was killed from now on, finds as `ended_report`.
        """
        old = finished_manifest(self.root)
        manifest.write(self.new_objects)
        if self.new_objects == self.root:
            self.discard()
            return
        deleted = sorted(old.objects.keys() - manifest.objects.keys()) if old else []
        journal = {"deleted": deleted, "digest": self._digest, "report": report}
        write_atomically(self.build_folder / _JOURNAL, json.dumps(journal).encode())
        self.finish_commit()

    def finish_commit(self) -> None:
        """Bring a commit that was stopped to its end; nothing happens if there is none."""
        journal, staged = self.build_folder / _JOURNAL, self.build_folder / _STAGED
        if not journal.exists():
            return
        # The staged manifest is put in place last: without one, all the rest is there.
        if (staged / MANIFEST).exists():
            _put_in_place(self.root, staged, json.loads(journal.read_text())["deleted"])
        # The journal goes last, under another name: what it has to report is still to be told.
        self._delete_all_but(LOCK, COMMAND, _JOURNAL)
        journal.replace(self.root / ENDED)

    def ended_report(self) -> dict[str, Any] | None:
        """Return what this very change reported when it was committed; None unless it was killed after that."""
        try:
            ended = json.loads((self.root / ENDED).read_text())
            return dict(ended["report"]) if self._digest and ended["digest"] == self._digest else None
        except (OSError, ValueError, KeyError, TypeError):  # an older version's says nothing
            return None

    def delete_cache(self) -> None:
        """Delete the folder with all that it holds; that it was one of a cache is the last that is forgotten."""
        self._empty_folder()
        shutil.rmtree(self.root)

    def _empty_folder(self) -> None:
        # The manifest goes first: without it nobody takes what is left for a cache.
        (self.root / MANIFEST).unlink(missing_ok=True)
        for path in self.root.iterdir():
            if path.name != BUILD_FOLDER:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.discard()


@contextmanager
def changed_cache(root: Path, command: str, digest: str = "") -> Iterator[CacheChange]:
    """Hold the right to write a cache while the block runs; a change that was stopped is brought to its end first.

    Args:
        root: the cache's folder.
        command: of signprep, that goes on with the change where it is stopped.
        digest: by which `ended_report` knows this change again.

    Raises CacheError if the folder holds something else, cannot be written, or another process writes it.
    """
    refuse_foreign_folder(root)  # before a lock is put into it
    try:
        with builder_lock(root):
            change = CacheChange(root, command, digest)
            change.finish_commit()
            # A record or an index that a killed process was writing; torn shards are deleted by those who write shards.
            for path in root.glob(f".*{UNFINISHED_SUFFIX}"):
                path.unlink(missing_ok=True)
            if (root / MANIFEST).exists():
                change.note_command()
            yield change
    except OSError as error:
        # Where a whole folder is deleted, an error tells names without their folder.
        where = error.filename if os.sep in str(error.filename) else root
        raise CacheError(f"{where}: cannot be read or written ({error.strerror}); the same command goes on") from error
    except Exception:
        _delete_report(root)
        raise
    _delete_report(root)


def _delete_report(root: Path) -> None:
    """Delete what a change has to report, as the last deed of all: nobody has to be told any more."""
    with suppress(OSError):
        (root / ENDED).unlink(missing_ok=True)


def end_stopped_change(root: Path, command: str) -> None:
    """Bring a change of a cache that was stopped in its commit to its end, as every command does that changes one."""
    if (root / BUILD_FOLDER).is_dir() or (root / ENDED).exists():
        with changed_cache(root, command):
            pass


def refuse_foreign_folder(root: Path) -> None:
    """Raise CacheError where a path is a file, or a folder that holds something else than a cache."""
    if root.exists() and not root.is_dir():
        raise CacheError(f"{root}: is a file; a cache is a folder, which signprep makes: give another name")
    try:
        is_cache = (root / GROUP_METADATA).exists() or (root / BUILD_FOLDER).is_dir()
        is_foreign = root.exists() and not is_cache and any(root.iterdir())
    except OSError as error:
        raise CacheError(f"{root}: cannot be read ({error.strerror}); choose another folder") from error
    if is_foreign:
        raise CacheError(f"{root}: holds files that are no signprep cache; choose another folder")


class AnotherBuilderError(CacheError):
    """Another process writes the cache."""


@contextmanager
def builder_lock(root: Path) -> Iterator[None]:
    """Hold the right to write the cache in a folder, which is made. It ends with the process, however that ends.

    Raises AnotherBuilderError if another process holds it, CacheError if the folder cannot be written.
    """
    folder = root / BUILD_FOLDER
    # A soft lock, in place of what the file system lacks, would stay behind when its owner is killed.
    lock = FileLock(folder / LOCK, blocking=False, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).open("a").close()
    except OSError as error:
        raise CacheError(f"{root}: cannot be written ({error.strerror}); choose another folder") from error
    try:
        held = lock.acquire()
    except (Timeout, FileNotFoundError) as error:  # the one who had it may have ended, and taken the file away
        raise AnotherBuilderError(
            f"{root}: another build-cache is writing it; wait for it, or stop it first"
        ) from error
    except OSError as error:
        raise CacheError(
            f"{root}: its file system has no locks ({error.strerror}), so two builders could not be kept apart; build "
            "on a local disk, then copy the cache"
        ) from error
    with held:
        try:
            yield
        finally:
            # Deleted while it is held: whoever opened the file before cannot take it for the lock of a later one.
            # Windows deletes no open file, and another process may just put its lock there: both do no harm.
            with suppress(OSError):
                if (root / MANIFEST).exists() and {path.name for path in folder.iterdir()} <= {LOCK, COMMAND}:
                    (folder / COMMAND).unlink(missing_ok=True)
                    shutil.rmtree(folder)


def delete_torn_writes(root: Path) -> None:
    """Delete what killed workers have left of files that they had not finished."""
    for path in root.rglob(f".*{UNFINISHED_SUFFIX}"):
        path.unlink(missing_ok=True)


def _put_in_place(root: Path, staged: Path, deleted: list[str]) -> None:
    manifest = staged / MANIFEST
    (root / MANIFEST).unlink(missing_ok=True)
    for path in sorted(staged.rglob("*")):
        if path.is_file() and path != manifest:
            target = root / path.relative_to(staged)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    for name in deleted:
        _delete(root, root / name)
    manifest.replace(root / MANIFEST)


def _delete(root: Path, path: Path) -> None:
    """Delete an object and the folders that it leaves empty."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == root or (folder.is_dir() and any(folder.iterdir())):
            return
        if folder.is_dir():  # else it is gone since a process before was killed here
            folder.rmdir()


def write_index(root: Path, index: pa.Table) -> dict[str, CacheObject]:
    """Write the index under a folder; return its object by path."""
    data = parquet_bytes(written_columns(index), compression="zstd", write_page_checksum=True)
    write_atomically(root / INDEX, data)
    return {INDEX: CacheObject.of(data)}


def write_state(
    root: Path, info: CacheInfo, *, index: pa.Table, objects: Mapping[str, CacheObject], plan_digest: str
) -> CacheManifest:
    """Write Zarr metadata and index of a state of a cache, and return its manifest, which is to be written last.

    Entries of `objects` for the metadata and the index are replaced; the others are the shards by path. Rows get the
    checksums of clips whose shards lie under `root`, where an older cache that they come from has none.
    """
    index = with_checksums(completed(index), info, root)
    from signprep.cache_builder.format.zarr_metadata import write_metadata  # which imports zarr

    write_metadata(root, info)
    metadata = {path: CacheObject.of((root / path).read_bytes()) for path in (GROUP_METADATA, ARRAY_METADATA)}
    return CacheManifest(objects={**objects, **metadata, **write_index(root, index)}, plan_digest=plan_digest)


def free_bytes(out: Path) -> int:
    """Return the free bytes of the disk that a path is on, or will be: that of the nearest folder above it."""
    out = out.absolute()
    while not out.is_dir():
        out = out.parent
    return shutil.disk_usage(out).free


def check_free_bytes(out: Path, needed: int) -> None:
    """Raise CacheError if the disk of a path has fewer free bytes than are needed."""
    if (free := free_bytes(out)) < needed:
        raise CacheError(f"{out}: {byte_size(free)} are free, but {byte_size(needed)} are to come; make room")
