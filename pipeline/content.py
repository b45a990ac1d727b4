"""Content hashes of files: who a video is, whatever its name."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def content_hash(path: Path) -> str:
    """Return the BLAKE2b-128 of a file's bytes as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def twin_hashes(root: Path, videos: Iterable[str]) -> dict[str, str]:
    """Return the content hash of each video that may have a twin: only files of equal size are read.

    Args:
        root: folder that the videos' paths are relative to.
        videos: relative paths.
    """
    by_size: dict[int, list[str]] = {}
    for video in dict.fromkeys(videos):
        by_size.setdefault((root / video).stat().st_size, []).append(video)
    return {video: content_hash(root / video) for same in by_size.values() if len(same) > 1 for video in same}
