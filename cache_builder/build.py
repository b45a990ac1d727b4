"""Build a cache from its plan: one joblib task a shard, each written whole, then its index part; manifest last.

A part's existence means that its shard is complete, so a build that was stopped at any moment goes on by running it
again and loses at most the shards in flight. The trade-off: a video whose segments fall into two shards is opened
twice, once in each task.
"""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.codec import use_one_thread
from signprep.cache_builder.format import (
    ARRAY_METADATA,
    BUILD_FOLDER,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    CacheInfo,
    CacheManifest,
    CacheObject,
    read_info,
    read_manifest,
    shard_path,
    write_atomically,
    write_metadata,
)
from signprep.cache_builder.index import FAILED, OK, index_table, merge_parts
from signprep.cache_builder.plan import BuildPlan, ShardPlan
from signprep.cache_builder.shard import shard_bytes
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.content import content_hash
from signprep.pipeline.errors import CacheError, DecodeError, SignprepError
from signprep.pipeline.sampling import span_of_segment
from signprep.pipeline.segment import Segment


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """What one task did."""

    number: int
    num_ok: int
    num_failed: int


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did, for people and programs."""

    num_clips: int
    num_failed: int
    num_reused: int
    """Clips that an earlier, interrupted run had stored."""
    stored_bytes: int
    splits: dict[str, int]
    """Stored clips by split."""
    failures: dict[str, list[str]]
    """Segment ids by reason, as far as a person reads: all reasons, ids in order."""


BuildProgress = Callable[[int], None]
"""Told, now and then, the number of clips that are done, failed ones included."""


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """What a worker is given: plain data; it opens its own files."""

    plan: ShardPlan
    info: CacheInfo
    data_root: Path
    cache_root: Path
    strict: bool


def build(
    plan: BuildPlan,
    out: Path,
    *,
    workers: int = -1,
    strict: bool = False,
    overwrite: bool = False,
    progress: BuildProgress | None = None,
) -> BuildReport:
    """Build the planned cache at `out`, or continue a build of the same plan.

    Raises:
        CacheError: `out` holds something else, cannot be written, or not one clip could be built.
        DecodeError: a clip failed and `strict` was asked for.
    """
    state = _prepare(plan, out, overwrite)
    if state == "complete":
        return _report(pq.read_table(out / INDEX), num_reused=plan.num_clips)
    missing = [shard for shard in plan.shards if not _part_path(out, shard.number).exists()]
    num_reused = plan.num_clips - sum(len(shard.segments) for shard in missing)
    tasks = [
        ShardTask(plan=shard, info=plan.info, data_root=plan.data_root, cache_root=out, strict=strict)
        for shard in missing
    ]
    with _polled(out / BUILD_FOLDER, num_reused, progress):
        results = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="2*n_jobs")(
            joblib.delayed(build_shard)(task) for task in tasks
        )
        for _ in results:
            pass
    return _finish(plan, out, num_reused)


def build_shard(task: ShardTask) -> ShardResult:
    """Decode, encode and write one shard, then its index part. Runs in a worker process."""
    use_one_thread()
    info, root = task.info, task.cache_root
    rows: list[dict[str, Any]] = []
    chunks: list[bytes | None] = []
    labels = info.vocabulary.labels()
    counter = root / BUILD_FOLDER / f"{task.plan.number:06d}.progress"
    with counter.open("wb", buffering=0) as done:
        for row, chunk in _encoded_clips(task, labels):
            rows.append(row)
            chunks.append(chunk)
            done.write(b".")
    data = shard_bytes(chunks, info.clips_per_shard)
    path = shard_path(info, task.plan.number)
    if any(chunk is not None for chunk in chunks):
        write_atomically(root / path, data)
        entry = CacheObject.of(data)
        stored = {"path": path, "num_bytes": str(entry.num_bytes), "hash": entry.hash}
    else:
        stored = {}
    sink = pa.BufferOutputStream()
    pq.write_table(index_table(rows).replace_schema_metadata(stored), sink)
    write_atomically(_part_path(root, task.plan.number), sink.getvalue().to_pybytes())
    counter.unlink()
    num_ok = sum(row["status"] == OK for row in rows)
    return ShardResult(number=task.plan.number, num_ok=num_ok, num_failed=len(rows) - num_ok)


def _encoded_clips(task: ShardTask, labels: dict[str, int]) -> Iterator[tuple[dict[str, Any], bytes | None]]:
    """Yield the index row and the inner chunk of each of the shard's segments, in order of position."""
    spec, codec = task.info.clip_spec, task.info.clip_codec
    position = itertools.count(task.plan.first_position)
    for video, group in itertools.groupby(task.plan.segments, key=lambda segment: segment.video):
        segments = list(group)
        path = task.data_root / video
        spans = [Span(*span_of_segment(s.start_seconds, s.end_seconds, spec)) for s in segments]
        clips = extract_clips(path, spans, spec)
        video_hash = content_hash(path) if path.is_file() else None
        for segment, clip in zip(segments, clips, strict=True):
            row = _row(segment, next(position), labels[segment.gloss], video_hash)
            if isinstance(clip, DecodeError):
                if task.strict:
                    raise clip
                # Only the part of the path that everybody shares goes into the cache.
                yield (
                    row | {"status": FAILED, "error": str(clip).replace(str(path), video), "stored_bytes": 0},
                    None,
                )
            else:
                chunk = codec.encode(clip.frames)
                yield row | _clip_columns(clip, len(chunk)), chunk


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


def _part_path(root: Path, number: int) -> Path:
    return root / BUILD_FOLDER / f"{number:06d}.parquet"


def _prepare(plan: BuildPlan, out: Path, overwrite: bool) -> str:
    """Make `out` ready for this plan's build, and say whether it is `new`, `started` or `complete`."""
    digest = plan.digest()
    if out.exists():
        if not out.is_dir():
            raise CacheError(f"{out}: is a file; --out names a folder that signprep makes")
        if any(out.iterdir()):
            state = _existing_state(out, digest, overwrite)
            if state:
                return state
            shutil.rmtree(out)
    try:
        (out / BUILD_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    # The plan comes last: a folder with a plan has all its metadata.
    write_metadata(out, plan.info)
    write_atomically(out / BUILD_FOLDER / "plan.json", json.dumps({"plan_digest": digest}).encode())
    return "new"


def _existing_state(out: Path, digest: str, overwrite: bool) -> str | None:
    """Return `started` or `complete` for a cache of this very plan, None for one to replace; else raise."""
    plan_file = out / BUILD_FOLDER / "plan.json"
    is_cache = (out / GROUP_METADATA).exists() or (out / BUILD_FOLDER).is_dir()
    if not is_cache:
        raise CacheError(f"{out}: holds files that are no signprep cache; choose another --out")
    if overwrite:
        return None
    if (out / MANIFEST).exists():
        read_info(out)
        found, state = read_manifest(out).plan_digest, "complete"
    elif plan_file.exists():
        found, state = json.loads(plan_file.read_text())["plan_digest"], "started"
    else:
        return None  # stopped before its first task
    if found != digest:
        raise CacheError(
            f"{out}: holds a cache of other data or options; choose another --out, or --overwrite to replace it"
        )
    return state


def _finish(plan: BuildPlan, out: Path, num_reused: int) -> BuildReport:
    """Merge the parts, write index and manifest, and remove the build's own files."""
    parts = [pq.read_table(_part_path(out, shard.number)) for shard in plan.shards]
    objects = {}
    for part in parts:
        stored = {key.decode(): value.decode() for key, value in (part.schema.metadata or {}).items()}
        if "path" in stored:
            objects[stored["path"]] = CacheObject(num_bytes=int(stored["num_bytes"]), hash=stored["hash"])
    index = merge_parts([part.replace_schema_metadata(None) for part in parts])
    report = _report(index, num_reused)
    if report.num_failed == report.num_clips:
        shutil.rmtree(out)
        reason = next(iter(report.failures), "no segments")
        raise CacheError(f"none of the {report.num_clips} clips could be built; the first reason: {reason}")
    sink = pa.BufferOutputStream()
    pq.write_table(index, sink, compression="zstd")
    write_atomically(out / INDEX, sink.getvalue().to_pybytes())
    for path in (GROUP_METADATA, ARRAY_METADATA, INDEX):
        objects[path] = CacheObject.of((out / path).read_bytes())
    manifest = CacheManifest(objects=objects, plan_digest=plan.digest())
    write_atomically(out / MANIFEST, manifest.to_json().encode())
    shutil.rmtree(out / BUILD_FOLDER)
    return report


def _report(index: pa.Table, num_reused: int) -> BuildReport:
    failures: dict[str, list[str]] = {}
    failed = index.filter(pa.compute.equal(index["status"].cast(pa.string()), FAILED))
    for error, segment_id in zip(failed["error"].to_pylist(), failed["segment_id"].to_pylist(), strict=True):
        failures.setdefault(error, []).append(segment_id)
    stored = index.filter(pa.compute.equal(index["status"].cast(pa.string()), OK))
    return BuildReport(
        num_clips=index.num_rows,
        splits=dict(Counter(stored["split"].to_pylist())),
        num_failed=failed.num_rows,
        num_reused=num_reused,
        stored_bytes=pa.compute.sum(index["stored_bytes"]).as_py() or 0,
        failures=failures,
    )


@contextmanager
def _polled(folder: Path, num_reused: int, progress: BuildProgress | None) -> Iterator[None]:
    """Tell `progress` twice a second how many clips are done.

    Workers, wherever they run, count in small files; that needs no channel back from them.
    """
    if progress is None:
        yield
        return
    import threading

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
            except (FileNotFoundError, SignprepError):
                continue  # finished between the listing and the look
        return num_reused + sum(known.values()) + in_flight

    return count
