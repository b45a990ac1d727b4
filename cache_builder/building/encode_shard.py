"""One task of a build: decode, encode and write one shard, then its index part. Runs in a worker process.

In: a `FolderTask` of plain data. Out: a shard file and, after it, an index part whose existence says that the shard is
complete. Clips are encoded as they come: memory holds one video's clips and the shard's compressed bytes.
`encode_shard` is what a build into a folder and one behind a URL have in common.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.building.clip_pool import SHELVED_COLUMNS, ClipIdentity, Shelf, ShelvedClip
from signprep.cache_builder.building.plan import ShardPlan
from signprep.cache_builder.format.codec import use_one_thread
from signprep.cache_builder.format.index import FAILED, OK, index_table
from signprep.cache_builder.format.layout import BUILD_FOLDER, CacheInfo, CacheObject, shard_path, write_atomically
from signprep.cache_builder.format.shard import shard_bytes, stored_chunks
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.datasets.files import DataRoots, content_hash
from signprep.pipeline.datasets.segment import Segment
from signprep.pipeline.errors import AnnotationError, CacheError, DecodeError
from signprep.pipeline.video.frame_times import span_of_segment


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """What a worker is given: plain data; it opens its own files."""

    plan: ShardPlan
    info: CacheInfo
    roots: DataRoots
    strict: bool
    shelf: Shelf | None = None
    """Clips that others have cut, and where those that are cut here go."""


@dataclass(frozen=True, kw_only=True)
class FolderTask(ShardTask):
    """A shard of a cache in a folder."""

    cache_root: Path
    store: Path
    """Where the shard goes, under its path: the cache itself, or a folder beside it."""
    is_stored: bool
    """Whether the cache has it already, with the clips that are kept."""


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What one task did."""

    number: int
    num_ok: int
    num_failed: int
    num_bytes: int
    """Of the shard file."""
    num_shelved: int = 0
    """Clips that came from a shelf."""
    shelf_fault: str | None = None
    """Why clips that were cut did not get there."""


@dataclass(frozen=True, kw_only=True)
class EncodedShard:
    """A shard in memory."""

    path: str
    """Inside the cache."""
    data: bytes | None
    """Of its file; None if not one of its clips could be built: there is no file then."""
    part: bytes
    """Its index part, as a file."""
    result: ShardResult


def build_shard(task: FolderTask) -> ShardResult:
    """Decode, encode and write one shard, then its index part. Runs in a worker process."""
    info, root, number = task.info, task.cache_root, task.plan.number
    if part_path(root, number).exists():
        return result_of_part(number, part_path(root, number).read_bytes())
    path = root / shard_path(info, number)
    kept = stored_chunks(path, info.clips_per_shard, task.plan.num_kept, is_stored=task.is_stored)
    counter = root / BUILD_FOLDER / f"{number:06d}.progress"
    try:
        with counter.open("wb", buffering=0) as done:
            shard = encode_shard(task, kept, lambda: done.write(b"."))
    except OSError as error:
        raise CacheError(f"{counter}: cannot be written ({error.strerror})") from error
    if shard.data is not None:
        write_atomically(task.store / shard.path, shard.data)
    write_atomically(part_path(root, number), shard.part)
    counter.unlink(missing_ok=True)  # a worker whose build was killed may still be at the same shard
    return shard.result


def result_of_part(number: int, part: bytes) -> ShardResult:
    """Return what a finished task did: a cluster runs it again if its worker dies before its result is fetched."""
    table = pq.read_table(pa.BufferReader(part), columns=["status"])
    num_ok = table["status"].to_pylist().count(OK)
    num_bytes = int((table.schema.metadata or {}).get(b"num_bytes", 0))
    return ShardResult(number=number, num_ok=num_ok, num_failed=table.num_rows - num_ok, num_bytes=num_bytes)


def encode_shard(task: ShardTask, kept: Sequence[bytes | None], count: Callable[[], object]) -> EncodedShard:
    """Decode and encode one shard.

    Args:
        task: what goes behind the clips that are in it already.
        kept: their inner chunks.
        count: is called after each clip.
    """
    use_one_thread()
    rows: list[dict[str, Any]] = []
    chunks = list(kept)
    hashes = _video_hashes(task) if task.shelf else {}
    shelved = task.shelf.take(_identities(task.plan.segments, hashes)) if task.shelf else {}
    cut: dict[ClipIdentity, ShelvedClip] = {}
    num_shelved = 0
    for segment, row, chunk in _encoded_clips(task, shelved, hashes):
        rows.append(row)
        chunks.append(chunk)
        count()
        identity = _identity(segment, row["video_hash"])
        if chunk is None or identity is None:
            continue
        if identity in shelved:
            num_shelved += 1
        else:
            cut[identity] = ShelvedClip(chunk, {name: row[name] for name in SHELVED_COLUMNS})
    path = shard_path(task.info, task.plan.number)
    data, stored = None, {}
    if any(chunk is not None for chunk in chunks):
        data = shard_bytes(chunks, task.info.clips_per_shard)
        entry = CacheObject.of(data)
        stored = {"path": path, "num_bytes": str(entry.num_bytes), "hash": entry.hash}
    sink = pa.BufferOutputStream()
    pq.write_table(index_table(rows).replace_schema_metadata(stored), sink)
    num_ok = sum(row["status"] == OK for row in rows)
    result = ShardResult(
        number=task.plan.number,
        num_ok=num_ok,
        num_failed=len(rows) - num_ok,
        num_bytes=len(data or b""),
        num_shelved=num_shelved,
        shelf_fault=_put(task.shelf, cut) if task.shelf else None,
    )
    return EncodedShard(path=path, data=data, part=sink.getvalue().to_pybytes(), result=result)


def _put(shelf: Shelf, cut: Mapping[ClipIdentity, ShelvedClip]) -> str | None:
    """Put clips on the shelf; return why that failed: the build goes on without it."""
    try:
        shelf.put(cut)
    except CacheError as error:
        return str(error)
    return None


def _video_hashes(task: ShardTask) -> dict[str, str | None]:
    """Return the content hash of each of the task's videos, None where it cannot be read."""
    videos = dict.fromkeys(segment.video for segment in task.plan.segments)
    return {video: task.roots.content_hash(video) for video in videos}


def _identity(segment: Segment, video_hash: str | None) -> ClipIdentity | None:
    return ClipIdentity(video_hash, segment.start_seconds, segment.end_seconds) if video_hash is not None else None


def _identities(segments: Sequence[Segment], hashes: Mapping[str, str | None]) -> list[ClipIdentity]:
    found = (_identity(segment, hashes[segment.video]) for segment in segments)
    return [identity for identity in found if identity is not None]


def _encoded_clips(
    task: ShardTask, shelved: Mapping[ClipIdentity, ShelvedClip], hashes: Mapping[str, str | None]
) -> Iterator[tuple[Segment, dict[str, Any], bytes | None]]:
    """Yield each of the shard's segments with its index row and its inner chunk, in order of position."""
    codec, labels = task.info.clip_codec, task.info.vocabulary.labels()
    position = itertools.count(task.plan.first_position)
    for video, group in itertools.groupby(task.plan.segments, key=lambda segment: segment.video):
        segments = list(group)
        name, video_hash = task.roots.display_name(video), hashes.get(video)
        taken = {s: shelved[i] for s in segments if (i := _identity(s, video_hash)) is not None and i in shelved}
        missing = [segment for segment in segments if segment not in taken]
        clips: list[Clip | DecodeError] = []
        if missing:
            clips, video_hash = clips_of_video(task.roots, task.info, video, missing)
        cut = dict(zip(missing, clips, strict=True))
        for segment in segments:
            row = _row(segment, next(position), labels[segment.gloss], video_hash)
            if segment in taken:
                chunk, columns = taken[segment]
                yield segment, row | columns | {"status": OK, "stored_bytes": len(chunk)}, chunk
                continue
            clip = cut[segment]
            if isinstance(clip, DecodeError):
                if task.strict:
                    raise clip
                # Only the part of the path that everybody shares goes into the cache.
                failed = {"status": FAILED, "error": str(clip).replace(name, video), "stored_bytes": 0}
                yield segment, row | failed, None
            else:
                chunk = codec.encode(clip.frames)
                yield segment, row | _clip_columns(clip, len(chunk)), chunk


def clips_of_video(
    roots: DataRoots, info: CacheInfo, video: str, segments: Sequence[Segment]
) -> tuple[list[Clip | DecodeError], str | None]:
    """Return the clip of each segment of a video, and the video's content hash, None where it cannot be read."""
    spec, name = info.clip_spec, roots.display_name(video)
    spans = [Span(*span_of_segment(s.start_seconds, s.end_seconds, spec)) for s in segments]
    try:
        with roots.opened(video) as file:
            video_hash = content_hash(file)
            return extract_clips(file, spans, spec, name=name, decoder=info.provenance["decoder"]), video_hash
    except FileNotFoundError:
        reason = f"{name}: there is no such video file"
    except AnnotationError as error:
        reason = str(error)
    except OSError as error:
        reason = f"{name}: cannot be read ({error.strerror})"
    return [DecodeError(reason)] * len(spans), None


def _row(segment: Segment, position: int, label: int, video_hash: str | None) -> dict[str, Any]:
    return segment.to_dict() | {"position": position, "label": label, "video_hash": video_hash}


def _clip_columns(clip: Clip, stored_bytes: int) -> dict[str, Any]:
    return {
        "status": OK,
        "clip_start_seconds": clip.span.start_seconds,
        "clip_end_seconds": clip.span.end_seconds,
        "sampled_seconds": clip.sampled_seconds,
        "stored_bytes": stored_bytes,
    }


def part_path(root: Path, number: int) -> Path:
    """Return where a shard's index part lies; it exists if and only if the shard is complete."""
    return root / BUILD_FOLDER / f"{number:06d}.parquet"
