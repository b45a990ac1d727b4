"""Is there room on the disk for what is to come?"""

import shutil
from pathlib import Path

from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.text import byte_size


def existing_folder(path: Path) -> Path:
    """Return the nearest folder above that exists: the disk that a path not yet there will be on."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def check_free_bytes(out: Path, needed: int) -> None:
    """Raise CacheError if the disk of a path has fewer free bytes than are needed."""
    free = shutil.disk_usage(existing_folder(out)).free
    if free < needed:
        raise CacheError(f"{out}: {byte_size(free)} are free, but {byte_size(needed)} are to come; make room")


def check_space_left(out: Path, *, num_bytes: int, num_done: int, num_left: int) -> None:
    """Raise CacheError if the disk will not hold the shards that are still to come, judged by those that are done.

    Args:
        out: the cache.
        num_bytes: of the shards that are done.
        num_done: how many they are.
        num_left: how many are to come.
    """
    needed = num_bytes / num_done * num_left
    free = shutil.disk_usage(out).free
    if free < needed:
        raise CacheError(
            f"{out}: {byte_size(free)} are free, but the rest of this build will need about {byte_size(needed)}; "
            "make room, and the same command goes on"
        )
