"""Build a cache from its plan: one joblib task a shard, each written whole, then its index part; manifest last.

A part's existence means that its shard is complete, so a build that was stopped at any moment goes on by running it
again and loses at most the shards in flight. The trade-off: a video whose segments fall into two shards is opened
twice, once in each task.
"""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import joblib
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signprep.cache_builder.build_folder import (
    BuildProgress,
    OtherCacheError,
    builder_lock,
    cache_state,
    polled,
    start_afresh,
)
from signprep.cache_builder.format import (
    ARRAY_METADATA,
    BUILD_FOLDER,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    CacheManifest,
    CacheObject,
    write_atomically,
)
from signprep.cache_builder.index import FAILED, OK, merge_parts
from signprep.cache_builder.plan import BuildPlan
from signprep.cache_builder.shard_task import ShardTask, build_shard, part_path
from signprep.pipeline.errors import CacheError


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
    digest = plan.digest()
    try:
        state = cache_state(out, digest)
    except OtherCacheError:
        if not overwrite:
            raise
        state = "new"
    if state == "complete" and not overwrite:
        return _report(pq.read_table(out / INDEX), num_reused=plan.num_clips)
    with builder_lock(out):
        if state == "new" or overwrite:
            start_afresh(out, plan.info, digest)
        return _build_missing(plan, out, workers, strict, progress)


def _build_missing(
    plan: BuildPlan, out: Path, workers: int, strict: bool, progress: BuildProgress | None
) -> BuildReport:
    missing = [shard for shard in plan.shards if not part_path(out, shard.number).exists()]
    num_reused = plan.num_clips - sum(len(shard.segments) for shard in missing)
    tasks = [
        ShardTask(plan=shard, info=plan.info, roots=plan.roots, cache_root=out, strict=strict) for shard in missing
    ]
    with polled(out / BUILD_FOLDER, num_reused, progress):
        results = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="2*n_jobs")(
            joblib.delayed(build_shard)(task) for task in tasks
        )
        for _ in results:
            pass
    return _finish(plan, out, num_reused)


def _finish(plan: BuildPlan, out: Path, num_reused: int) -> BuildReport:
    """Merge the parts, write index and manifest, and remove the build's own files."""
    parts = [pq.read_table(part_path(out, shard.number)) for shard in plan.shards]
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
    failed = index.filter(pc.equal(index["status"].cast(pa.string()), FAILED))
    for error, segment_id in zip(failed["error"].to_pylist(), failed["segment_id"].to_pylist(), strict=True):
        failures.setdefault(error, []).append(segment_id)
    stored = index.filter(pc.equal(index["status"].cast(pa.string()), OK))
    return BuildReport(
        num_clips=index.num_rows,
        splits=dict(Counter(stored["split"].to_pylist())),
        num_failed=failed.num_rows,
        num_reused=num_reused,
        stored_bytes=pc.sum(index["stored_bytes"]).as_py() or 0,
        failures=failures,
    )
