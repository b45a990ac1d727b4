"""Build a cache from its plan: one task a shard, each stored whole, then its index part; the manifest comes last.

A part's existence means that its shard is complete, so a build that was stopped at any moment goes on by running it
again and loses at most the shards in flight. A finished cache stays what it was until all that changes it is built.
The trade-off: a video whose segments fall into two shards is opened twice, once in each task.
"""

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from signprep.cache_builder.building.clip_pool import ClipPool
from signprep.cache_builder.building.cluster import Cluster
from signprep.cache_builder.building.encode_shard import (
    FolderStore,
    ShardResult,
    ShardStore,
    ShardTask,
    build_shard,
    part_name,
)
from signprep.cache_builder.building.plan import BuildPlan, ShardPlan
from signprep.cache_builder.building.remote_target import RemoteTarget, opened_url
from signprep.cache_builder.building.update import UpdatePlan, plan_update, require_compatible, videos_to_cut_again
from signprep.cache_builder.building.workers import BuildProgress, RunOptions, Watch, run_tasks, worker_requirements
from signprep.cache_builder.folder.local_records import (
    VIDEO_STAMPS,
    VideoStamp,
    decode_stamps,
    encode_stamps,
    read_stamps,
    rehash_changed,
    stamp_videos,
    with_hashes,
    write_stamps,
)
from signprep.cache_builder.folder.transaction import CacheChange, changed_cache, free_bytes, write_state
from signprep.cache_builder.format.index import FAILED, OK, SCHEMA, completed, stacked
from signprep.cache_builder.format.layout import CacheInfo, CacheObject, read_info, shard_path, write_atomically
from signprep.cache_builder.options import location_of
from signprep.cache_builder.reader import Cache, open_folder
from signprep.cache_builder.remote.transfer import PARALLEL
from signprep.pipeline.errors import CacheError, SignprepError
from signprep.pipeline.runtime.paths import StrPath
from signprep.pipeline.runtime.text import byte_size

Target: TypeAlias = "FolderTarget | RemoteTarget"
"""A place that a cache is built at, for the process that runs the build."""


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """The outcome of a build, for people and programs."""

    num_clips: int
    num_failed: int
    num_reused: int
    stored_bytes: int
    num_videos: int
    """Videos that stored clips come from."""
    splits: dict[str, int]
    failures: dict[str, list[str]]
    """Segment ids by reason, as far as a person reads: all reasons, ids in order."""
    num_changed: int = 0
    """Reused clips that have other labels, names or splits now."""
    num_removed: int = 0


def build(
    plan: BuildPlan,
    out: StrPath,
    run: RunOptions = RunOptions(),  # noqa: B008  (frozen)
    *,
    overwrite: bool = False,
) -> BuildResult:
    """Build the planned cache at `out`, go on with a build of the same plan, or bring a finished cache up to date.

    Args:
        plan: of the cache.
        out: its folder, which every machine of a cluster must see, and the data, under the same paths; or a URL
            that `push` could put it at, to which all workers must be able to write.
        run: who builds, and how.
        overwrite: build anew what is there.

    Raises:
        CacheError: `out` holds something else, cannot be written, or not one clip could be built.
        DecodeError: a clip failed and `run.strict` was asked for.
    """
    out = location_of(out)
    digest = plan.digest()
    if isinstance(out, Path):
        with changed_cache(out, run.command) as change:
            is_new = change.begin(plan.info, digest, overwrite=overwrite)
            return _build(plan, FolderTarget(change, digest, None if is_new else open_folder(out)), run)
    with opened_url(out, digest, overwrite=overwrite) as target:
        return _build(plan, target, run)


def _build(plan: BuildPlan, target: Target, run: RunOptions) -> BuildResult:
    """Build a new cache, or go on with one; a finished one is brought up to date."""
    if target.old is not None:
        return _update(plan, target, target.old, run)
    store = target.store(None)
    stamps = _first_stamps(plan, target, store)
    num_reused = _build_shards(plan, plan, {}, target, store, run)
    index, objects = _merged_parts(store, plan.shards)
    if not pc.any(pc.equal(index["status"].cast(pa.string()), OK)).as_py():
        target.abandon()
        reason = next((error for error in index["error"].to_pylist() if error), "no segments")
        raise CacheError(f"none of the {index.num_rows} clips could be built; the first reason: {reason}")
    info = target.begun_info(plan.info) if num_reused else plan.info
    target.publish(info, index, objects, with_hashes(stamps, index))
    return _result_of(index, num_reused=num_reused)


def _first_stamps(plan: BuildPlan, target: Target, store: ShardStore) -> Mapping[str, VideoStamp]:
    """Return the videos' stamps of when the build began: one that changes later is read again by the next build."""
    if (data := store.read_part(target.stamps_part)) is not None:
        return decode_stamps(data)
    stamps = {video: VideoStamp(stamp, None) for video, stamp in stamp_videos(plan.roots, plan.videos()).items()}
    store.write_part(target.stamps_part, encode_stamps(stamps))
    return stamps


def _update(plan: BuildPlan, target: Target, old: Cache, run: RunOptions) -> BuildResult:
    """Bring a finished cache to the plan's data: see `plan_update`."""
    require_compatible(old, old.info, plan.info)
    stamps = rehash_changed(plan.roots, plan.videos(), target.stamps())
    hashes = {video: entry.video_hash for video, entry in stamps.items()}
    recut = videos_to_cut_again(old.index, old.info, plan, run.workers)
    change = plan_update(old.index, old.info, plan, hashes, recut)
    if change.is_none and old.manifest.plan_digest == plan.digest():
        target.keep(stamps)
        return _result_of(old.index, num_reused=plan.num_clips)
    new = [(s.segment_id, stamps.get(s.video)) for shard in change.shards for s in shard.segments]
    store = target.store([old.fingerprint, new])
    num_built_before = _build_shards(plan, change, old.manifest.objects, target, store, run)
    parts, objects = _merged_parts(store, change.shards)
    index = stacked([change.kept, parts])
    target.publish(change.info, index, {**old.manifest.objects, **objects}, stamps)
    return replace(
        _result_of(index, num_reused=plan.num_clips - parts.num_rows + num_built_before),
        num_changed=change.num_changed,
        num_removed=change.num_removed,
    )


def _build_shards(
    plan: BuildPlan,
    change: BuildPlan | UpdatePlan,
    objects: Mapping[str, CacheObject],
    target: Target,
    store: ShardStore,
    run: RunOptions,
) -> int:
    """Build the missing shards (some extend a shard listed in `objects`); return how many clips were built already."""
    info, roots = change.info, plan.roots.absolute()
    pool = None
    if run.pool is not None and change.shards:
        pool = ClipPool.open(run.pool.location, info, target.scratch / "shelf.sqlite")
    twin = None
    if run.twin is not None and change.shards:
        twin_info = replace(info, clip_spec=run.twin.clip_spec)
        twin = ClipPool.open(run.twin.location, twin_info, target.scratch / "twin.sqlite")
    tasks = {
        part_name(shard.number): ShardTask(
            plan=shard,
            info=info,
            roots=roots,
            strict=run.strict,
            store=store,
            kept=objects.get(shard_path(info, shard.number)) if shard.num_kept else None,
            pool=pool,
            twin=twin,
        )
        for shard in change.shards
    }

    def left() -> list[ShardTask]:
        parts = store.part_names()
        return [task for name, task in tasks.items() if name not in parts]

    missing = left()
    num_reused = sum(len(shard.segments) for shard in change.shards) - sum(len(t.plan.segments) for t in missing)
    with target.watched(run, num_reused, len(missing)) as (watch, paths):

        def done(result: ShardResult) -> None:
            if run.pool is not None:
                run.pool.num_taken += result.num_pooled
                if result.pool_error is not None:
                    run.pool.errors.append(result.pool_error)
            watch(result)

        requirements = worker_requirements(plan, *paths) if run.cluster is not None else None
        run_tasks(missing, left, _shard_or_error, done, run, requirements)
    for used in (pool, twin):
        if used is not None:
            with suppress(CacheError):  # whoever cannot delete there can still read
                used.clean()
    return num_reused


def check_space_left(out: Path, *, num_bytes: int, num_done: int, num_left: int) -> None:
    """Raise CacheError if the disk will not hold the shards that are still to come, judged by those that are done."""
    needed = num_bytes / num_done * num_left
    if (free := free_bytes(out)) < needed:
        raise CacheError(
            f"{out}: {byte_size(free)} are free, but the rest of this build will need about {byte_size(needed)}; "
            "make room, and the same command goes on"
        )


def _shard_or_error(task: ShardTask) -> ShardResult | SignprepError:
    """Build a shard in a worker process; an error that left it would have joblib kill the other workers."""
    try:
        return build_shard(task)
    except SignprepError as error:
        return error


def _merged_parts(store: ShardStore, shards: Sequence[ShardPlan]) -> tuple[pa.Table, dict[str, CacheObject]]:
    """Return the index rows of built shards in order of position, and their objects by path."""
    objects = {}
    tables = [SCHEMA.empty_table()]
    with ThreadPoolExecutor(PARALLEL) as threads:
        for data in threads.map(store.read_part, (part_name(shard.number) for shard in shards)):
            part = completed(pq.read_table(pa.BufferReader(data)))  # an older version may have begun the build
            stored = {key.decode(): value.decode() for key, value in (part.schema.metadata or {}).items()}
            if "path" in stored:
                num_bytes, blake3 = int(stored["num_bytes"]), stored.get("blake3")
                objects[stored["path"]] = CacheObject(num_bytes=num_bytes, hash=stored["hash"], blake3=blake3)
            tables.append(part.replace_schema_metadata(None))
    return stacked(tables), objects


def _result_of(index: pa.Table, *, num_reused: int) -> BuildResult:
    """Return what an index tells of its build; removed clips do not count."""
    failures: dict[str, list[str]] = {}
    failed = index.filter(pc.equal(index["status"].cast(pa.string()), FAILED))
    for error, segment_id in zip(failed["error"].to_pylist(), failed["segment_id"].to_pylist(), strict=True):
        failures.setdefault(error, []).append(segment_id)
    stored = index.filter(pc.equal(index["status"].cast(pa.string()), OK))
    return BuildResult(
        num_clips=failed.num_rows + stored.num_rows,
        num_videos=pc.count_distinct(stored["video"]).as_py(),
        splits=dict(Counter(stored["split"].to_pylist())),
        num_failed=failed.num_rows,
        num_reused=num_reused,
        stored_bytes=pc.sum(stored["stored_bytes"]).as_py() or 0,
        failures=failures,
    )


class FolderTarget:
    """A cache that is built in a folder of this machine, or one that a cluster shares.

    `old` is the finished cache that is brought up to date, None if a new one is built; `scratch` is a folder for files
    of this build alone.
    """

    stamps_part = VIDEO_STAMPS
    """Name of the part that tells of the videos when a new build began."""

    def __init__(self, change: CacheChange, plan_digest: str, old: Cache | None) -> None:
        self.old = old
        self._change, self._plan_digest = change, plan_digest
        # Absolute: workers are in other folders, and those of an earlier call may be in one that is gone.
        self.scratch = change.build_folder.absolute()

    def stamps(self) -> Mapping[str, VideoStamp]:
        """Return what is known of the videos that the finished cache was built from."""
        return read_stamps(self._change.root)

    def begun_info(self, info: CacheInfo) -> CacheInfo:
        """Return the info of the new cache that was begun before, perhaps by an older version."""
        return replace(info, provenance=read_info(self._change.root).provenance)

    def store(self, changes: Sequence[object] | None) -> FolderStore:
        """Return where workers put shards; what a stopped build of the same changes has left there stays.

        Args:
            changes: JSON of what changes the finished cache; None for a new one, which is built in place.
        """
        if changes is not None:
            self._change.resume("update.json", json.dumps([self._plan_digest, *changes]))
        return FolderStore(root=self.scratch.parent, new_objects=self._change.new_objects.absolute())

    @contextmanager
    def watched(self, run: RunOptions, num_reused: int, num_shards: int) -> Iterator[Watch]:
        """Watch the workers while the block runs: count clips for `run.progress`, and stop before the disk is full."""
        sizes: list[int] = []

        def check_space(result: ShardResult) -> None:
            sizes.append(result.num_bytes)
            num_left = num_shards - len(sizes)
            check_space_left(self._change.root, num_bytes=sum(sizes), num_done=len(sizes), num_left=num_left)

        with _polled(self.scratch, num_reused, run.progress), _marker(self.scratch, run.cluster) as marker:
            yield check_space, marker

    def keep(self, stamps: Mapping[str, VideoStamp]) -> None:
        """Leave the finished cache as it is, and note what is known of the videos."""
        write_stamps(self._change.root, stamps)
        self._change.discard()

    def publish(
        self, info: CacheInfo, index: pa.Table, objects: Mapping[str, CacheObject], stamps: Mapping[str, VideoStamp]
    ) -> None:
        """Commit all that was built."""
        folder = self._change.new_objects
        write_stamps(folder, stamps)
        self._change.commit(write_state(folder, info, index=index, objects=objects, plan_digest=self._plan_digest))

    def abandon(self) -> None:
        """Delete the folder."""
        self._change.delete_cache()


@contextmanager
def _marker(folder: Path, cluster: Cluster | None) -> Iterator[tuple[Path, ...]]:
    """Put a marker file into the folder, so that workers can check that they see this one, not one of their machine."""
    if cluster is None:
        yield ()
        return
    marker = folder / f"{uuid.uuid4().hex}.builder"
    write_atomically(marker, b"")
    try:
        yield (marker,)
    finally:
        marker.unlink(missing_ok=True)


@contextmanager
def _polled(folder: Path, num_reused: int, progress: BuildProgress | None) -> Iterator[None]:
    """Tell `progress` twice a second how many clips are done, from what workers count in files."""
    if progress is None:
        yield
        return
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
            except (FileNotFoundError, pa.ArrowInvalid):
                continue  # finished between the listing and the look
        return num_reused + sum(known.values()) + in_flight

    return count
