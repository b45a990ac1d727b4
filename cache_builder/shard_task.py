"""One task of a build: decode, encode and write one shard, then its index part. Runs in a worker process.

In: a `ShardTask` of plain data. Out: a shard file and, after it, an index part whose existence says that the shard is
complete. Clips are encoded as they come: memory holds one video's clips and the shard's compressed bytes.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.codec import use_one_thread
from signprep.cache_builder.format import BUILD_FOLDER, CacheInfo, CacheObject, shard_path, write_atomically
from signprep.cache_builder.index import FAILED, OK, index_table
from signprep.cache_builder.plan import ShardPlan
from signprep.cache_builder.shard import shard_bytes, stored_chunks
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.content import content_hash
from signprep.pipeline.errors import AnnotationError, CacheError, DecodeError
from signprep.pipeline.sampling import span_of_segment
from signprep.pipeline.segment import Segment
from signprep.pipeline.sources.files import DataRoots


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """What a worker is given: plain data; it opens its own files."""

    plan: ShardPlan
    info: CacheInfo
    roots: DataRoots
    cache_root: Path
    store: Path
    """Where the shard goes, under its path: the cache itself, or a folder beside it."""
    strict: bool


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What one task did."""

    number: int
    num_ok: int
    num_failed: int
    num_bytes: int
    """Of the shard file."""


def build_shard(task: ShardTask) -> ShardResult:
    """Decode, encode and write one shard, then its index part. Runs in a worker process."""
    use_one_thread()
    info, root = task.info, task.cache_root
    rows: list[dict[str, Any]] = []
    chunks = stored_chunks(root / shard_path(info, task.plan.number), info.clips_per_shard, task.plan.num_kept)
    labels = info.vocabulary.labels()
    counter = root / BUILD_FOLDER / f"{task.plan.number:06d}.progress"
    try:
        with counter.open("wb", buffering=0) as done:
            for row, chunk in _encoded_clips(task, labels):
                rows.append(row)
                chunks.append(chunk)
                done.write(b".")
    except OSError as error:
        raise CacheError(f"{counter}: cannot be written ({error.strerror})") from error
    data = shard_bytes(chunks, info.clips_per_shard)
    path = shard_path(info, task.plan.number)
    if any(chunk is not None for chunk in chunks):
        write_atomically(task.store / path, data)
        entry = CacheObject.of(data)
        stored = {"path": path, "num_bytes": str(entry.num_bytes), "hash": entry.hash}
    else:
        stored = {}
    sink = pa.BufferOutputStream()
    pq.write_table(index_table(rows).replace_schema_metadata(stored), sink)
    write_atomically(part_path(root, task.plan.number), sink.getvalue().to_pybytes())
    counter.unlink(missing_ok=True)  # a worker whose build was killed may still be at the same shard
    num_ok = sum(row["status"] == OK for row in rows)
    return ShardResult(number=task.plan.number, num_ok=num_ok, num_failed=len(rows) - num_ok, num_bytes=len(data))


def _encoded_clips(task: ShardTask, labels: dict[str, int]) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """Yield the index row and the inner chunk of each of the shard's segments, in order of position."""
    codec = task.info.clip_codec
    position = itertools.count(task.plan.first_position)
    for video, group in itertools.groupby(task.plan.segments, key=lambda segment: segment.video):
        segments = list(group)
        name = task.roots.display_name(video)
        clips, video_hash = clips_of_video(task.roots, task.info, video, segments)
        for segment, clip in zip(segments, clips, strict=True):
            row = _row(segment, next(position), labels[segment.gloss], video_hash)
            if isinstance(clip, DecodeError):
                if task.strict:
                    raise clip
                # Only the part of the path that everybody shares goes into the cache.
                yield (
                    row | {"status": FAILED, "error": str(clip).replace(name, video), "stored_bytes": 0},
                    None,
                )
            else:
                chunk = codec.encode(clip.frames)
                yield row | _clip_columns(clip, len(chunk)), chunk


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
