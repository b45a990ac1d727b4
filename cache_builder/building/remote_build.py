"""Build a cache behind a URL: workers, wherever they are, write there directly, and it is published all at once.

In: a plan and a URL that can be written to. Out: the cache that `push` would have put there. A worker uploads its
shard under its hash, then its index part; a part's existence means that its shard is there, so a build that was stopped
goes on. Nothing is locked: objects are named by their bytes and parts by what is built, so that two builders cannot
harm each other, and one that is late to publish is told. The trade-off: what an abandoned build has left stays there.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from signprep.cache_builder.building.build import BuildReport, merged_parts, report_of, why_nothing
from signprep.cache_builder.building.encode_shard import ShardResult, ShardTask, encode_shard, part_path, result_of_part
from signprep.cache_builder.building.plan import BuildPlan
from signprep.cache_builder.building.update import UpdatePlan, plan_update, require_compatible
from signprep.cache_builder.building.workers import RunOptions, needs_of, run_tasks
from signprep.cache_builder.folder.local_records import (
    SEEN,
    SeenVideo,
    look_again,
    read_seen,
    stamp_videos,
    with_hashes,
    write_seen,
)
from signprep.cache_builder.folder.state import write_state
from signprep.cache_builder.format.index import SCHEMA, stacked
from signprep.cache_builder.format.layout import (
    BUILD_FOLDER,
    CacheManifest,
    CacheObject,
    read_manifest,
    shard_path,
    write_metadata,
)
from signprep.cache_builder.format.shard import stored_chunks
from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.remote.published import BUILDING, OBJECTS
from signprep.cache_builder.remote.pull import METADATA
from signprep.cache_builder.remote.push import confirm_readers, publish, published_manifest, send_objects
from signprep.cache_builder.remote.storage import MissingError, RemoteFolder
from signprep.cache_builder.remote.streaming import open_streamed
from signprep.cache_builder.remote.transfer import PARALLEL
from signprep.cache_builder.remote.untrusted import check_manifest
from signprep.pipeline.errors import CacheCorruptError, CacheError, SignprepError


@dataclass(frozen=True, kw_only=True)
class RemoteTask(ShardTask):
    """A shard of a cache behind a URL."""

    remote: RemoteFolder
    kept: CacheObject | None
    """The shard that its clips go into, behind others; None if there is no file of it."""
    part: str
    """Where its index part goes."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The way from what is published to what is to be."""

    published: CacheManifest | None
    change: UpdatePlan
    objects: Mapping[str, CacheObject]
    """Of the published cache, that are built upon; none of a new one."""
    seen: Mapping[str, SeenVideo]
    prefix: str
    """Of its parts; begins with the plan's digest."""

    @property
    def is_new(self) -> bool:
        return not self.objects

    def part(self, number: int) -> str:
        """Return where the index part of a shard goes."""
        return f"{BUILDING}/{self.prefix}{number:06d}.parquet"


def check_place(url: str, confirm: Callable[[str], None] | None = None) -> None:
    """Raise CacheError if nothing can be built at a URL; `confirm` is told who may read it, as for `push`."""
    remote = _writable(url)
    confirm_readers(remote, published_manifest(remote), confirm)


def build_remote(plan: BuildPlan, url: str, run: RunOptions, *, overwrite: bool = False) -> BuildReport:
    """Build the planned cache behind a URL, go on with a build of it, or bring a published cache up to date.

    Args:
        plan: of the cache.
        url: where `push` could put it; all workers must be able to write there.
        run: who builds, and how.
        overwrite: build anew, whatever is published there.

    Raises:
        CacheError: the URL holds something else, cannot be written, or not one clip could be built.
        DecodeError: a clip failed and `run.strict` was asked for.
    """
    remote = _writable(url)
    published = published_manifest(remote)
    with TemporaryDirectory(prefix="signprep-") as folder:
        scratch = Path(folder)
        is_new = published is None or overwrite
        job = _new(plan, remote, published, scratch) if is_new else _update(plan, remote, scratch)
        report = _carry_out(plan, remote, job, run, scratch)
    _delete_parts(plan, remote)
    return report


def _writable(url: str) -> RemoteFolder:
    remote = RemoteFolder(url)
    if remote.is_read_only:
        raise CacheError(f"{remote}: nothing can be built on a web server; build in a folder that it serves")
    return remote


def _carry_out(plan: BuildPlan, remote: RemoteFolder, job: _Job, run: RunOptions, scratch: Path) -> BuildReport:
    if job.published is not None and job.change.is_none and job.published.plan_digest == plan.digest():
        _send_seen(remote, job.seen, scratch)
        return report_of(job.change.kept, num_reused=plan.num_clips)
    num_built_before = _build_shards(plan, remote, job, run, scratch)
    parts, objects = _gathered(remote, job, scratch)
    index = stacked([job.change.kept, parts])
    if job.is_new and (nothing := why_nothing(index)) is not None:
        _delete_parts(plan, remote)
        raise nothing
    write_metadata(scratch, job.change.info)
    write_state(scratch, index=index, objects={**job.objects, **objects}, plan_digest=plan.digest())
    manifest = read_manifest(scratch)
    check_manifest(manifest, remote)
    send_objects(scratch, manifest, list(METADATA), remote)
    _send_seen(remote, with_hashes(job.seen, index) if job.is_new else job.seen, scratch)
    if published_manifest(remote) != job.published:
        raise CacheError(f"{remote}: somebody else has published there meanwhile; the same command goes on from that")
    publish(remote, manifest)
    return replace(
        report_of(index, num_reused=plan.num_clips - parts.num_rows + num_built_before),
        num_changed=job.change.num_changed,
        num_removed=job.change.num_removed,
    )


def _new(plan: BuildPlan, remote: RemoteFolder, published: CacheManifest | None, scratch: Path) -> _Job:
    prefix = _prefix(plan, None)
    name = f"{prefix}seen.parquet"
    if name in remote.sizes(BUILDING):
        remote.download(f"{BUILDING}/{name}", scratch / SEEN)
    else:
        # Stamped before the first video is read: one that changes later is read again by the next build.
        stamps = stamp_videos(plan.roots, plan.videos())
        write_seen(scratch / SEEN, {video: SeenVideo(stamp, None) for video, stamp in stamps.items()})
        remote.upload(scratch / SEEN, f"{BUILDING}/{name}")
    kept = SCHEMA.empty_table()
    change = UpdatePlan(info=plan.info, kept=kept, shards=plan.shards, num_changed=0, num_removed=0)
    return _Job(published=published, change=change, objects={}, seen=read_seen(scratch / SEEN), prefix=prefix)


def _update(plan: BuildPlan, remote: RemoteFolder, scratch: Path) -> _Job:
    cache = open_streamed(remote.url, StreamOptions(folder=scratch / "published"))
    require_compatible(remote, cache.info, plan.info)
    with suppress(MissingError):  # it was pushed, not built there
        remote.download(SEEN, scratch / SEEN)
    seen = look_again(plan.roots, plan.videos(), read_seen(scratch / SEEN))
    hashes = {video: entry.video_hash for video, entry in seen.items()}
    change = plan_update(cache.index, cache.info, plan, hashes)
    new = [(s.segment_id, seen.get(s.video)) for shard in change.shards for s in shard.segments]
    prefix = _prefix(plan, [cache.fingerprint, new])
    return _Job(published=cache.manifest, change=change, objects=cache.manifest.objects, seen=seen, prefix=prefix)


def _prefix(plan: BuildPlan, before: object) -> str:
    digest = hashlib.blake2b(json.dumps(before).encode(), digest_size=8).hexdigest()
    return f"{plan.digest()}-{digest}-"


def _build_shards(plan: BuildPlan, remote: RemoteFolder, job: _Job, run: RunOptions, scratch: Path) -> int:
    """Build the shards that have no part yet; return how many clips the others hold."""
    info, roots = job.change.info, plan.roots.absolute()
    shelf = run.shelf.open(info, scratch / "shelf.sqlite") if run.shelf else None
    tasks = [
        RemoteTask(
            plan=shard,
            info=info,
            roots=roots,
            strict=run.strict,
            shelf=shelf,
            remote=remote,
            kept=job.objects.get(shard_path(info, shard.number)) if shard.num_kept else None,
            part=job.part(shard.number),
        )
        for shard in job.change.shards
    ]

    def left() -> list[RemoteTask]:
        parts = {f"{BUILDING}/{name}" for name in remote.sizes(BUILDING)}
        return [task for task in tasks if task.part not in parts]

    missing = left()
    num_reused = sum(len(task.plan.segments) for task in tasks) - sum(len(task.plan.segments) for task in missing)
    num_done = num_reused

    def done(result: ShardResult) -> None:
        nonlocal num_done
        num_done += result.num_ok + result.num_failed
        if run.shelf is not None:
            run.shelf.count(result)
        if run.progress is not None:
            run.progress(num_done)

    run_tasks(missing, left, _shard_or_error, done, run, needs_of(plan))
    return num_reused


def _shard_or_error(task: RemoteTask) -> ShardResult | SignprepError:
    """Runs in a worker process."""
    try:
        return build_remote_shard(task)
    except SignprepError as error:
        return error


def build_remote_shard(task: RemoteTask) -> ShardResult:
    """Decode, encode and upload one shard, then its index part. Runs in a worker process."""
    with suppress(MissingError):
        return result_of_part(task.plan.number, task.remote.read(task.part))
    shard = encode_shard(task, _kept_chunks(task), lambda: None)
    if shard.data is not None:
        task.remote.upload(shard.data, f"{OBJECTS}/{CacheObject.of(shard.data).hash}")
    task.remote.upload(shard.part, task.part)
    return shard.result


def _kept_chunks(task: RemoteTask) -> list[bytes | None]:
    if task.kept is None:
        return [None] * task.plan.num_kept
    with TemporaryDirectory(prefix="signprep-") as folder:
        file = Path(folder) / "shard"
        task.remote.download(f"{OBJECTS}/{task.kept.hash}", file)
        if CacheObject.of_file(file) != task.kept:
            raise CacheCorruptError(f"{task.remote}: its object {task.kept.hash} is damaged; push it again")
        return stored_chunks(file, task.info.clips_per_shard, task.plan.num_kept)


def _gathered(remote: RemoteFolder, job: _Job, scratch: Path) -> tuple[pa.Table, dict[str, CacheObject]]:
    """Return the index rows of built shards in order of position, and their objects by path."""
    (scratch / BUILD_FOLDER).mkdir()

    def fetch(number: int) -> None:
        remote.download(job.part(number), part_path(scratch, number))

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(fetch, (shard.number for shard in job.change.shards)))
    return merged_parts(scratch, job.change.shards)


def _send_seen(remote: RemoteFolder, seen: Mapping[str, SeenVideo], scratch: Path) -> None:
    write_seen(scratch / SEEN, seen)
    remote.upload(scratch / SEEN, SEEN)


def _delete_parts(plan: BuildPlan, remote: RemoteFolder) -> None:
    names = [f"{BUILDING}/{name}" for name in remote.sizes(BUILDING) if name.startswith(plan.digest())]
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(lambda name: remote.delete([name]), names))
