"""Checks of the room on a disk, before and during a build or a transfer."""

import shutil
from pathlib import Path

from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.text import byte_size

SMALLEST_RATIO = 0.05
"""Share of raw RGB: half of what the strongest codec reached on real AIHub clips."""


def free_bytes(out: Path) -> int:
    """Return the free bytes of the disk that a path is on, or will be: that of the nearest folder above it."""
    out = out.absolute()
    while not out.is_dir():
        out = out.parent
    return shutil.disk_usage(out).free


def check_space(out: Path, *, num_clips: int, raw_rgb_bytes: int) -> None:
    """Raise CacheError if the disk cannot even hold the smallest cache that was ever seen for so many clips."""
    stored = sum(path.stat().st_size for path in (out / "clips").rglob("*") if path.is_file())
    needed = round(num_clips * raw_rgb_bytes * SMALLEST_RATIO) - stored
    if (free := free_bytes(out)) < needed:
        raise CacheError(
            f"{out}: {byte_size(free)} are free, but {num_clips} clips need at least {byte_size(needed)}; "
            "--dry-run estimates it closely"
        )


def check_free_bytes(out: Path, needed: int) -> None:
    """Raise CacheError if the disk of a path has fewer free bytes than are needed."""
    if (free := free_bytes(out)) < needed:
        raise CacheError(f"{out}: {byte_size(free)} are free, but {byte_size(needed)} are to come; make room")


def check_space_left(out: Path, *, num_bytes: int, num_done: int, num_left: int) -> None:
    """Raise CacheError if the disk will not hold the shards that are still to come, judged by those that are done."""
    needed = num_bytes / num_done * num_left
    if (free := free_bytes(out)) < needed:
        raise CacheError(
            f"{out}: {byte_size(free)} are free, but the rest of this build will need about {byte_size(needed)}; "
            "make room, and the same command goes on"
        )
