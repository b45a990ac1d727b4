"""Change a finished cache all at once: new objects are staged beside it, then put in place by a journal.

Until `commit` the cache stays what it was, for its readers too. From its first step on the manifest is gone, so that
nobody takes a half-changed cache for a whole one, and `finish_commit` brings it to the end whenever it was stopped.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from signprep.cache_builder.folder.build_folder import builder_lock, empty_build_folder
from signprep.cache_builder.format.layout import BUILD_FOLDER, MANIFEST, write_atomically
from signprep.pipeline.errors import CacheError

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
