"""Build a cache from its plan: one task a shard, each written whole, then its index part; manifest last.

A part's existence means that its shard is complete, so a build that was stopped at any moment goes on by running it
again and loses at most the shards in flight. The trade-off: a video whose segments fall into two shards is opened
twice, once in each task.
"""

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signprep.cache_builder.building.cluster import Cluster
from signprep.cache_builder.building.encode_shard import FolderTask, ShardResult, build_shard, part_path
from signprep.cache_builder.building.plan import BuildPlan, ShardPlan
from signprep.cache_builder.building.update import plan_update, require_compatible
from signprep.cache_builder.building.workers import RunOptions, ShelfUse, needs_of, run_tasks
from signprep.cache_builder.folder.local_records import (
    SEEN,
    SeenVideo,
    look_again,
    read_seen,
    stamp_videos,
    with_hashes,
    write_seen,
)
from signprep.cache_builder.folder.space import check_space_left
from signprep.cache_builder.folder.state import write_state
from signprep.cache_builder.folder.transaction import (
    BuildProgress,
    cache_state,
    commit,
    delete_torn_writes,
    empty_build_folder,
    is_cache,
    polled,
    staging_folder,
    start_afresh,
    writer,
)
from signprep.cache_builder.format.index import FAILED, OK, SCHEMA, stacked
from signprep.cache_builder.format.layout import (
    BUILD_FOLDER,
    CacheInfo,
    CacheObject,
    read_info,
    read_manifest,
    shard_path,
    write_atomically,
    write_metadata,
)
from signprep.cache_builder.reader import open_folder
from signprep.pipeline.errors import CacheError, SignprepError


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build did, for people and programs."""

    num_clips: int
    num_failed: int
    num_reused: int
    """Clips that were stored already."""
    stored_bytes: int
    num_videos: int
    """Of which clips are stored."""
    splits: dict[str, int]
    """Stored clips by split."""
    failures: dict[str, list[str]]
    """Segment ids by reason, as far as a person reads: all reasons, ids in order."""
    num_changed: int = 0
    """Reused clips that have other labels, names or splits now."""
    num_removed: int = 0
    """Clips that are gone from the data since the last build."""


def build(
    plan: BuildPlan,
    out: Path,
    *,
    workers: int = -1,
    strict: bool = False,
    overwrite: bool = False,
    progress: BuildProgress | None = None,
    cluster: Cluster | None = None,
    shelf: ShelfUse | None = None,
) -> BuildReport:
    """Build the planned cache at `out`, go on with a build of the same plan, or bring a finished cache up to date.

    Args:
        plan: of the cache.
        out: its folder; every machine of a cluster must see it, and the data, under the same paths.
        workers: processes of this machine, -1 for all cores.
        strict: end the build at the first clip that fails.
        overwrite: build anew what is there.
        progress: is told how many clips are done.
        cluster: builds in place of this machine.
        shelf: has clips that others have cut, and is given those that are cut here.

    Raises:
        CacheError: `out` holds something else, cannot be written, or not one clip could be built.
        DecodeError: a clip failed and `strict` was asked for.
    """
    run = RunOptions(workers=workers, cluster=cluster, strict=strict, progress=progress, shelf=shelf)
    digest = plan.digest()
    if not is_cache(out):
        cache_state(out, digest)  # before a lock is put into somebody else's folder
    with writer(out):
        state = "new" if overwrite else cache_state(out, digest)
        if state == "new":
            start_afresh(out, plan.info, digest)
        if state != "finished":
            return _build_all(plan, out, run)
        require_compatible(out, read_info(out), plan.info)
        return _update(plan, out, run)


def _build_all(plan: BuildPlan, out: Path, run: RunOptions) -> BuildReport:
    """Build a new cache, or go on with one, where it is to be."""
    seen_file = out / BUILD_FOLDER / SEEN
    if not seen_file.exists():
        # Stamped before the first video is read: one that changes later is read again by the next build.
        stamps = stamp_videos(plan.roots, plan.videos())
        write_seen(seen_file, {video: SeenVideo(stamp, None) for video, stamp in stamps.items()})
    num_reused = _build_shards(plan, plan.info, plan.shards, out, out, frozenset(), run)
    index, objects = merged_parts(out, plan.shards)
    if (nothing := why_nothing(index)) is not None:
        shutil.rmtree(out)
        raise nothing
    write_seen(out / SEEN, with_hashes(read_seen(seen_file), index))
    write_state(out, index=index, objects=objects, plan_digest=plan.digest())
    empty_build_folder(out)
    return report_of(index, num_reused=num_reused)


def _update(plan: BuildPlan, out: Path, run: RunOptions) -> BuildReport:
    """Bring a finished cache to the plan's data: see `plan_update`. It stays what it was until all is built."""
    info, manifest = read_info(out), read_manifest(out)
    seen = look_again(plan.roots, plan.videos(), read_seen(out / SEEN))
    index = open_folder(out).index
    change = plan_update(index, info, plan, {video: entry.video_hash for video, entry in seen.items()})
    if change.is_none and manifest.plan_digest == plan.digest():
        write_seen(out / SEEN, seen)
        empty_build_folder(out)
        return report_of(index, num_reused=plan.num_clips)
    change_file = out / BUILD_FOLDER / "update.json"
    new = [(s.segment_id, seen.get(s.video)) for shard in change.shards for s in shard.segments]
    digest = json.dumps([plan.digest(), manifest.fingerprint, new])
    if not change_file.exists() or change_file.read_text() != digest:
        empty_build_folder(out)
        write_atomically(change_file, digest.encode())
    staged = staging_folder(out)
    num_built_before = _build_shards(plan, change.info, change.shards, out, staged, manifest.objects.keys(), run)
    parts, objects = merged_parts(out, change.shards)
    index = stacked([change.kept, parts])
    write_metadata(staged, change.info)
    write_state(staged, index=index, objects={**manifest.objects, **objects}, plan_digest=plan.digest())
    write_seen(staged / SEEN, seen)
    commit(out)
    return replace(
        report_of(index, num_reused=plan.num_clips - parts.num_rows + num_built_before),
        num_changed=change.num_changed,
        num_removed=change.num_removed,
    )


def _build_shards(
    plan: BuildPlan,
    info: CacheInfo,
    shards: Sequence[ShardPlan],
    out: Path,
    store: Path,
    stored: Set[str],
    run: RunOptions,
) -> int:
    """Build the shards that have no part yet, some of them behind what is `stored`; return the clips of the others."""
    # Absolute: workers are in other folders, and those of an earlier call may be in one that is gone.
    roots, root, store = plan.roots.absolute(), out.absolute(), store.absolute()
    shelf = run.shelf.open(info, root / BUILD_FOLDER / "shelf.sqlite") if run.shelf and shards else None
    tasks = [
        FolderTask(
            plan=shard,
            info=info,
            roots=roots,
            strict=run.strict,
            shelf=shelf,
            cache_root=root,
            store=store,
            is_stored=shard_path(info, shard.number) in stored,
        )
        for shard in shards
    ]

    def left() -> list[FolderTask]:
        delete_torn_writes(out)
        # Listed, not asked for one by one: a network drive remembers for a while that a file was not there.
        parts = {path.name for path in (out / BUILD_FOLDER).iterdir()}
        return [task for task in tasks if part_path(out, task.plan.number).name not in parts]

    missing = left()
    num_reused = sum(len(shard.segments) for shard in shards) - sum(len(task.plan.segments) for task in missing)
    num_done = num_bytes = 0

    def done(result: ShardResult) -> None:
        nonlocal num_done, num_bytes
        num_done, num_bytes = num_done + 1, num_bytes + result.num_bytes
        if run.shelf is not None:
            run.shelf.count(result)
        check_space_left(out, num_bytes=num_bytes, num_done=num_done, num_left=len(missing) - num_done)

    with polled(out / BUILD_FOLDER, num_reused, run.progress), _sign_for(run.cluster, root) as sign:
        run_tasks(missing, left, _shard_or_error, done, run, needs_of(plan, sign))
    return num_reused


@contextmanager
def _sign_for(cluster: Cluster | None, root: Path) -> Iterator[Path]:
    """Give a path by which the workers of a cluster know this folder: their machine may have another one there."""
    if cluster is None:
        yield root
        return
    sign = root / BUILD_FOLDER / f"{uuid.uuid4().hex}.builder"
    write_atomically(sign, b"")
    try:
        yield sign
    finally:
        sign.unlink(missing_ok=True)


def _shard_or_error(task: FolderTask) -> ShardResult | SignprepError:
    """Runs in a worker process."""
    try:
        return build_shard(task)
    except SignprepError as error:
        return error


def merged_parts(out: Path, shards: Sequence[ShardPlan]) -> tuple[pa.Table, dict[str, CacheObject]]:
    """Return the index rows of built shards in order of position, and their objects by path."""
    objects = {}
    parts = [SCHEMA.empty_table()]
    for shard in shards:
        part = pq.read_table(part_path(out, shard.number))
        stored = {key.decode(): value.decode() for key, value in (part.schema.metadata or {}).items()}
        if "path" in stored:
            objects[stored["path"]] = CacheObject(num_bytes=int(stored["num_bytes"]), hash=stored["hash"])
        parts.append(part.replace_schema_metadata(None))
    return stacked(parts), objects


def why_nothing(index: pa.Table) -> CacheError | None:
    """Return the error of a build that has not one clip, None if it has some."""
    if pc.any(pc.equal(index["status"].cast(pa.string()), OK)).as_py():
        return None
    reason = next((error for error in index["error"].to_pylist() if error), "no segments")
    return CacheError(f"none of the {index.num_rows} clips could be built; the first reason: {reason}")


def report_of(index: pa.Table, *, num_reused: int) -> BuildReport:
    """Return what an index tells of its build; removed clips do not count."""
    failures: dict[str, list[str]] = {}
    failed = index.filter(pc.equal(index["status"].cast(pa.string()), FAILED))
    for error, segment_id in zip(failed["error"].to_pylist(), failed["segment_id"].to_pylist(), strict=True):
        failures.setdefault(error, []).append(segment_id)
    stored = index.filter(pc.equal(index["status"].cast(pa.string()), OK))
    return BuildReport(
        num_clips=failed.num_rows + stored.num_rows,
        num_videos=pc.count_distinct(stored["video"]).as_py(),
        splits=dict(Counter(stored["split"].to_pylist())),
        num_failed=failed.num_rows,
        num_reused=num_reused,
        stored_bytes=pc.sum(stored["stored_bytes"]).as_py() or 0,
        failures=failures,
    )
