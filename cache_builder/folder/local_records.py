"""Records of this machine in a cache's folder: videos as a build has seen them, and states that others have too.

`.seen.parquet` holds size, time of change and content hash of each video, so that a build reads changed files only.
Without it, as in a cache that a colleague built, every video is read once; a file of the same size and time is taken
for unchanged, as make and rsync do. `.synced.json` holds the fingerprints that this copy was pushed or pulled with, so
that nobody's work is overwritten unseen. Both lie beside the cache's objects, are none of them, and do not travel.
"""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.format.index import parquet_bytes
from signprep.cache_builder.format.layout import UNFINISHED_SUFFIX, write_atomically
from signprep.pipeline.datasets.files.video_files import DataRoots, FileStamp
from signprep.pipeline.runtime.progress import progress_bar

VIDEO_STAMPS, SYNCED = ".seen.parquet", ".synced.json"

_KEPT_FINGERPRINTS = 100


class VideoStamp(NamedTuple):
    """A video as it was when its content was hashed."""

    stamp: FileStamp
    video_hash: str | None


def stamp_videos(roots: DataRoots, videos: Iterable[str]) -> dict[str, FileStamp]:
    """Return size and time of change of the videos that are there."""
    stamps = {video: roots.stamp(video) for video in dict.fromkeys(videos)}
    return {video: stamp for video, stamp in stamps.items() if stamp is not None}


def encode_stamps(stamps: Mapping[str, VideoStamp]) -> bytes:
    """Return the contents of `.seen.parquet`."""
    table = pa.table(
        {
            "video": pa.array(list(stamps), pa.string()),
            "num_bytes": pa.array([entry.stamp.num_bytes for entry in stamps.values()], pa.int64()),
            "mtime_ns": pa.array([entry.stamp.mtime_ns for entry in stamps.values()], pa.int64()),
            "fps": pa.array([entry.stamp.fps for entry in stamps.values()], pa.float64()),
            "video_hash": pa.array([entry.video_hash for entry in stamps.values()], pa.string()),
        }
    )
    return parquet_bytes(table, compression="zstd")


def decode_stamps(data: bytes) -> dict[str, VideoStamp]:
    """Return what `encode_stamps` was given; nothing if the data are damaged: videos are then read again."""
    try:
        columns = pq.read_table(pa.BufferReader(data)).to_pydict()
        rates = columns.get("fps", [None] * len(columns["video"]))  # which files of older versions do not have
        names = ("video", "num_bytes", "mtime_ns", "video_hash")
        rows = zip(*(columns[name] for name in names), rates, strict=True)
        return {video: VideoStamp(FileStamp(size, mtime, fps), digest) for video, size, mtime, digest, fps in rows}
    except (OSError, KeyError, pa.ArrowException):
        return {}


def read_stamps(root: Path) -> dict[str, VideoStamp]:
    """Return the stamps of a cache's videos; nothing if there are none, or they are damaged."""
    try:
        return decode_stamps((root / VIDEO_STAMPS).read_bytes())
    except OSError:
        return {}


def write_stamps(root: Path, stamps: Mapping[str, VideoStamp]) -> None:
    """Write the stamps of a cache's videos beside its objects."""
    write_atomically(root / VIDEO_STAMPS, encode_stamps(stamps))


def with_hashes(stamps: Mapping[str, VideoStamp], index: pa.Table) -> dict[str, VideoStamp]:
    """Return stamps with the content hashes that a build has found when it read the videos."""
    hashes = dict(zip(index["video"].to_pylist(), index["video_hash"].to_pylist(), strict=True))
    return {video: entry._replace(video_hash=hashes[video]) for video, entry in stamps.items()}


def rehash_changed(roots: DataRoots, videos: Iterable[str], old: Mapping[str, VideoStamp]) -> dict[str, VideoStamp]:
    """Return the stamps of the videos that are there now; those that changed since the old ones are read and hashed."""
    stamps = stamp_videos(roots, videos)
    # One that could not be read is tried again: a permission that is given changes no date.
    known = {
        video: old[video]
        for video, stamp in stamps.items()
        if video in old and old[video].stamp == stamp and old[video].video_hash is not None
    }
    changed = [video for video in stamps if video not in known]
    if changed:
        with (
            progress_bar("Comparing", len(changed), "videos") as progress,
            ThreadPoolExecutor(4) as pool,  # reading is what takes the time; hashing releases the interpreter's lock
        ):
            hashes = pool.map(roots.content_hash, changed)
            for number, (video, video_hash) in enumerate(zip(changed, hashes, strict=True), start=1):
                known[video] = VideoStamp(stamps[video], video_hash)
                progress(number)
    return known


def synced_fingerprints(root: Path) -> list[str]:
    """Return the fingerprints of states that were pulled from or pushed to somewhere, oldest first.

    A pull may replace a local state only if it was pulled or pushed before; a push may replace a remote state only if
    this copy comes from it. Otherwise clips or labels could be lost, and `--overwrite` is asked for.
    """
    try:
        fingerprints = json.loads((root / SYNCED).read_text(encoding="utf-8"))["fingerprints"]
        return [name for name in fingerprints if isinstance(name, str)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def note_synced(root: Path, fingerprint: str) -> None:
    """Note that a state of the cache is elsewhere too; what a killed process was writing of such a note is deleted."""
    for torn in root.glob(f".{SYNCED}.*{UNFINISHED_SUFFIX}"):
        torn.unlink(missing_ok=True)
    before = [name for name in synced_fingerprints(root) if name != fingerprint]
    text = json.dumps({"fingerprints": [*before, fingerprint][-_KEPT_FINGERPRINTS:]}, indent=1)
    write_atomically(root / SYNCED, text.encode())
