"""Content hashes of files: who a video is, whatever its name."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from signprep.pipeline.datasets.files import DataRoots
from signprep.pipeline.errors import AnnotationError


def content_hash(file: Path | BinaryIO) -> str:
    """Return the BLAKE2b-128 of a file's bytes as 32 hexadecimal digits; a stream is read from its start."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return _digest(opened)
    file.seek(0)
    return _digest(file)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.blake2b(digest_size=16)
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()


def twin_hashes(roots: DataRoots, videos: Iterable[str]) -> dict[str, str]:
    """Return the content hash of each video that may have a twin: only files of equal size are read.

    Videos that are gone or unreadable are left out: they fail later, one by one, with their reason.
    """
    by_size: dict[int, list[str]] = {}
    for video in dict.fromkeys(videos):
        size = roots.num_bytes(video)
        if size is not None:
            by_size.setdefault(size, []).append(video)
    hashes = {}
    for video in (video for same in by_size.values() if len(same) > 1 for video in same):
        try:
            with roots.opened(video) as file:
                hashes[video] = content_hash(file)
        except (OSError, AnnotationError):
            continue
    return hashes
