"""Which videos a build has seen: size, time of change and content hash, so that only changed files are read again.

In: a data root. Out: the content hash of every video, None where it cannot be read. The file `.seen.parquet` lies
beside the cache's objects but is none of them: it tells of this machine's copy of the data, and does not travel.
Without it, as in a cache that a colleague built, every video is read once. A file of the same size and time of change
is taken for unchanged, as make and rsync do.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.format.layout import write_atomically
from signprep.pipeline.datasets.files import DataRoots, FileStamp
from signprep.pipeline.runtime.progress import progress_bar

SEEN = ".seen.parquet"

_HASHING_THREADS = 4
"""Reading is what takes the time; hashing releases the interpreter's lock."""


class SeenVideo(NamedTuple):
    """A video as it was when its content was hashed."""

    stamp: FileStamp
    video_hash: str | None


def stamp_videos(roots: DataRoots, videos: Iterable[str]) -> dict[str, FileStamp]:
    """Return size and time of change of the videos that are there."""
    stamps = {video: roots.stamp(video) for video in dict.fromkeys(videos)}
    return {video: stamp for video, stamp in stamps.items() if stamp is not None}


def read_seen(path: Path) -> dict[str, SeenVideo]:
    """Return what a file of `write_seen` holds; nothing if it is missing or damaged: videos are then read again."""
    try:
        columns = pq.read_table(path).to_pydict()
        rows = zip(columns["video"], columns["num_bytes"], columns["mtime_ns"], columns["video_hash"], strict=True)
        return {video: SeenVideo(FileStamp(size, mtime), digest) for video, size, mtime, digest in rows}
    except (OSError, KeyError, pa.ArrowException):
        return {}


def write_seen(path: Path, seen: Mapping[str, SeenVideo]) -> None:
    """Write what `read_seen` reads."""
    table = pa.table(
        {
            "video": pa.array(list(seen), pa.string()),
            "num_bytes": pa.array([entry.stamp.num_bytes for entry in seen.values()], pa.int64()),
            "mtime_ns": pa.array([entry.stamp.mtime_ns for entry in seen.values()], pa.int64()),
            "video_hash": pa.array([entry.video_hash for entry in seen.values()], pa.string()),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomically(path, sink.getvalue().to_pybytes())


def with_hashes(stamped: Mapping[str, SeenVideo], index: pa.Table) -> dict[str, SeenVideo]:
    """Return videos with the content hashes that a build has found when it read them."""
    hashes = dict(zip(index["video"].to_pylist(), index["video_hash"].to_pylist(), strict=True))
    return {video: entry._replace(video_hash=hashes[video]) for video, entry in stamped.items()}


def look_again(roots: DataRoots, videos: Iterable[str], seen: Mapping[str, SeenVideo]) -> dict[str, SeenVideo]:
    """Return the videos that are there as they are now; those that changed since they were seen are read and hashed."""
    stamps = stamp_videos(roots, videos)
    # One that could not be read is tried again: a permission that is given changes no date.
    known = {
        video: seen[video]
        for video, stamp in stamps.items()
        if video in seen and seen[video].stamp == stamp and seen[video].video_hash is not None
    }
    changed = [video for video in stamps if video not in known]
    if changed:
        with (
            progress_bar("Comparing", len(changed), "videos") as progress,
            ThreadPoolExecutor(_HASHING_THREADS) as pool,
        ):
            hashes = pool.map(roots.content_hash, changed)
            for number, (video, video_hash) in enumerate(zip(changed, hashes, strict=True), start=1):
                known[video] = SeenVideo(stamps[video], video_hash)
                progress(number)
    return known


SYNCED = ".synced.json"
_KEPT = 100


def synced_fingerprints(cache: Path) -> list[str]:
    """Return the fingerprints of states that were pulled from or pushed to somewhere, oldest first."""
    try:
        fingerprints = json.loads((cache / SYNCED).read_text(encoding="utf-8"))["fingerprints"]
        return [name for name in fingerprints if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def note_synced(cache: Path, fingerprint: str) -> None:
    """Note that the present state is elsewhere too."""
    before = [name for name in synced_fingerprints(cache) if name != fingerprint]
    text = json.dumps({"fingerprints": [*before, fingerprint][-_KEPT:]}, indent=1)
    write_atomically(cache / SYNCED, text.encode())
