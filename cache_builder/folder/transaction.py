"""Change a finished cache all at once: new objects are staged beside it, then put in place by a journal.

Until `commit` the cache stays what it was, for its readers too. From its first step on the manifest is gone, so that
nobody takes a half-changed cache for a whole one, and `finish_commit` brings it to the end whenever it was stopped.
"""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.format.layout import (
    BUILD_FOLDER,
    GROUP_METADATA,
    MANIFEST,
    UNFINISHED_SUFFIX,
    CacheInfo,
    read_info,
    write_atomically,
    write_metadata,
)
from signprep.pipeline.errors import CacheError

try:
    import fcntl
except ImportError:  # Windows has no flock: there two builders are not kept apart
    fcntl = None  # type: ignore[assignment]

BuildProgress = Callable[[int], None]
"""Told, now and then, the number of clips that are done, failed ones included."""

PLAN, LOCK = "plan.json", "lock"


def is_cache(out: Path) -> bool:
    """Whether there is a cache at this path, finished or not."""
    return (out / GROUP_METADATA).exists() or (out / BUILD_FOLDER).is_dir()


def cache_state(out: Path, digest: str) -> str:
    """Return `new`, `started` (a build of this plan) or `finished` (a cache of whatever data).

    Raises:
        CacheError: something else is there, or the build of another plan has not ended.
    """
    if out.exists() and not out.is_dir():
        raise CacheError(f"{out}: is a file; a cache is a folder, which signprep makes: give another name")
    if not out.exists() or not any(out.iterdir()):
        return "new"
    if not is_cache(out):
        raise CacheError(f"{out}: holds files that are no signprep cache; choose another folder")
    if (out / MANIFEST).exists():
        read_info(out)
        return "finished"
    plan_file = out / BUILD_FOLDER / PLAN
    if not plan_file.exists():
        return "new"  # stopped before its first task
    if json.loads(plan_file.read_text())["plan_digest"] != digest:
        raise CacheError(
            f"{out}: holds an unfinished cache of other data or options; choose another --out, finish it with its own "
            "command, or --overwrite to replace it"
        )
    return "started"


@contextmanager
def builder_lock(out: Path) -> Iterator[None]:
    """Hold the right to write the cache at `out`, and make its folder. It ends with the process, however it ends.

    Raises:
        CacheError: another process holds it, or the folder cannot be written.
    """
    folder = out / BUILD_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a")
    except OSError as error:
        raise CacheError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    with file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The one who had it may have ended in between, and taken the file away.
                if not (folder / LOCK).exists() or not os.path.samestat(
                    os.fstat(file.fileno()), (folder / LOCK).stat()
                ):
                    raise BlockingIOError
            except BlockingIOError as error:
                raise CacheError(f"{out}: another build-cache is writing it; wait for it, or stop it first") from error
            except OSError as error:
                raise CacheError(
                    f"{out}: its file system has no locks ({error.strerror}), so two builders could not be kept apart; "
                    "build on a local disk, then copy the cache"
                ) from error
        try:
            yield
        finally:
            if (out / MANIFEST).exists() and [path.name for path in folder.iterdir()] == [LOCK]:
                if fcntl is None:
                    file.close()  # Windows does not remove what is open
                shutil.rmtree(folder)


def start_afresh(out: Path, info: CacheInfo, digest: str) -> None:
    """Empty the folder of everything but its lock, and write metadata and plan."""
    # The manifest goes first: without it nobody takes what is left for a cache.
    (out / MANIFEST).unlink(missing_ok=True)
    for path in out.iterdir():
        if path.name != BUILD_FOLDER:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    empty_build_folder(out)
    write_metadata(out, info)
    # The plan comes last: a folder with a plan has all its metadata.
    write_atomically(out / BUILD_FOLDER / PLAN, json.dumps({"plan_digest": digest}).encode())


def empty_build_folder(out: Path) -> None:
    """Delete everything in the build's folder but its lock."""
    for path in (out / BUILD_FOLDER).iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def delete_torn_writes(out: Path) -> None:
    """Delete what killed workers have left of files that they had not finished."""
    for path in out.rglob(f".*{UNFINISHED_SUFFIX}"):
        path.unlink(missing_ok=True)


@contextmanager
def polled(folder: Path, num_reused: int, progress: BuildProgress | None) -> Iterator[None]:
    """Tell `progress` twice a second how many clips are done.

    Workers, wherever they run, count in small files; that needs no channel back from them.
    """
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


_STAGED, _JOURNAL = "staged", "commit.json"


@contextmanager
def writer(root: Path) -> Iterator[None]:
    """Hold the right to write a cache, and bring a change that was stopped to its end first."""
    with builder_lock(root):
        finish_commit(root)
        yield


def staging_folder(root: Path) -> Path:
    """Return the folder under which new objects are written, at their paths inside the cache."""
    return root / BUILD_FOLDER / _STAGED


def commit(root: Path, *, deleted: Iterable[str] = ()) -> None:
    """Put all staged objects in place, delete others, and end the change.

    Args:
        root: the cache; its staging folder holds a manifest of what is to be.
        deleted: paths inside the cache.
    """
    write_atomically(root / BUILD_FOLDER / _JOURNAL, json.dumps({"deleted": sorted(deleted)}).encode())
    finish_commit(root)


def finish_commit(root: Path) -> None:
    """Bring a commit that was stopped to its end; nothing happens if there is none."""
    journal, staged = root / BUILD_FOLDER / _JOURNAL, staging_folder(root)
    if not journal.exists():
        return
    if (staged / MANIFEST).exists():
        try:
            _put_in_place(root, staged, json.loads(journal.read_text())["deleted"])
        except OSError as error:
            raise CacheError(
                f"{error.filename}: cannot be put in place ({error.strerror}); the next command goes on"
            ) from error
    empty_build_folder(root)


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
        if folder == root or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
