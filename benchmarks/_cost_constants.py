"""The constants of `costs`, each measured in CPU seconds, and in processes of their own where memory is measured too.

    python -m benchmarks._cost_constants STAGE CLIPS

prints the CPU seconds and the peak MiB of one stage of that many made-up clips.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from benchmarks._costs import Line, Transfer
from benchmarks._report import cpu_seconds_of, forget_peak, peak_memory_mib
from benchmarks._size import Size
from benchmarks.plan import index_of, make_plan
from benchmarks.scan import write_labels
from benchmarks.share import made_cache
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import _merged_parts, _result_of
from signprep.cache_builder.building.cluster import Cluster, WorkerRequirements, connected
from signprep.cache_builder.building.encode_shard import FolderStore, ShardTask, part_name
from signprep.cache_builder.folder.local_records import VideoStamp, stamp_videos, with_hashes, write_stamps
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.format.codec import CODECS
from signprep.cache_builder.format.index import parquet_bytes
from signprep.cache_builder.format.layout import BUILD_FOLDER, read_manifest, shard_path
from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.remote.streaming import StreamedCache
from signprep.pipeline.datasets.files.video_files import FileStamp
from signprep.pipeline.datasets.read import read_data_root
from tests.cache_builder.building.clusters import DaskCluster


@dataclass(kw_only=True)
class Watch:
    """CPU seconds of processes while a block runs."""

    processes: list[psutil.Process]
    seconds: list[float] = field(default_factory=list)


@contextmanager
def watched(*pids: int) -> Iterator[Watch]:
    """Measure the CPU of processes while the block runs."""

    def now() -> list[float]:
        return [cpu_seconds_of(process) for process in watch.processes]

    watch = Watch(processes=[psutil.Process(pid) for pid in pids])
    before = now()
    yield watch
    watch.seconds = [after - then for after, then in zip(now(), before, strict=True)]


def stages(size: Size) -> tuple[dict[str, Line], dict[str, Line]]:
    """Return CPU seconds and bytes of memory of what one process does before and after the shards, by clip."""
    seconds, peaks = {}, {}
    for name in STAGES:
        # Labels are files to be written; memory of the others grows evenly from larger sizes on only.
        sizes = size.pick((200, 1_000), (10_000, 100_000), (10_000, 100_000))
        sizes = (2_000, 12_000) if name == "labels" and size is Size.MEDIUM else sizes
        ends = []
        for num_clips in sizes:
            command = [sys.executable, "-m", "benchmarks._cost_constants", name, str(num_clips)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            ends.append([float(number) for number in done.stdout.split()])
        few, many = ends
        seconds[name] = Line.through((sizes[0], few[0]), (sizes[1], many[0]))
        peaks[name] = Line.through((sizes[0], few[1] * 2**20), (sizes[1], many[1] * 2**20))
    return seconds, peaks


def labels(num_clips: int, folder: Path) -> Callable[[], object]:
    write_labels(folder, num_clips, videos=True)

    def work() -> object:
        annotations = read_data_root(folder)
        return stamp_videos(annotations.roots, [segment.video for segment in annotations.segments])

    return work


def planned(num_clips: int, _: Path) -> Callable[[], object]:
    return lambda: make_plan(num_clips).digest()


def merge(num_clips: int, folder: Path) -> Callable[[], object]:
    """Put the parts of a build together, write index, manifest and what is known of videos, and sum all up."""
    plan = make_plan(num_clips)
    table = index_of([segment for shard in plan.shards for segment in shard.segments], plan)
    table = table.set_column(
        table.column_names.index("stored_crc32c"), "stored_crc32c", pa.array(np.ones(num_clips, np.uint32))
    )
    stamps = {video: VideoStamp(FileStamp(4_660_000, 1), None) for video in plan.videos()}
    store = FolderStore(root=folder, new_objects=folder)
    (folder / BUILD_FOLDER).mkdir()
    for shard in plan.shards:
        part = table.slice(shard.first_position, len(shard.segments))
        stored = {"path": shard_path(plan.info, shard.number), "num_bytes": "50000000", "hash": f"{shard.number:064x}"}
        store.write_part(part_name(shard.number), parquet_bytes(part.replace_schema_metadata(stored)))

    def work() -> object:
        index, objects = _merged_parts(store, plan.shards)
        write_stamps(folder, with_hashes(stamps, index))
        write_state(folder, plan.info, index=index, objects=objects, plan_digest="made").write(folder)
        return _result_of(index, num_reused=0)

    return work


STAGES = {"labels": labels, "plan": planned, "merge": merge}
NUM_SENT = 8
"""Shards that travel to measure a transfer."""


def task_lines(cluster: DaskCluster, size: Size) -> tuple[Line, Line, Line]:
    """Return the CPU seconds of a task that does nothing, by clip: here, in the scheduler, and in its worker."""
    num_tasks = size.pick(20, 100, 1_000)
    pids = [os.getpid(), cluster.scheduler.pid, *(worker.pid for worker in cluster.workers)]
    needs, nothing = WorkerRequirements(paths=(), versions={}), attrgetter("plan.number")
    ends = []
    for clips in (4, 128):
        shards = make_plan(num_tasks * clips)
        store = FolderStore(root=Path("nowhere"), new_objects=Path("nowhere"))
        size_of_shards = [replace(shard, segments=shard.segments[:clips]) for shard in shards.shards[:num_tasks]]
        tasks = [
            ShardTask(plan=shard, info=shards.info, roots=shards.roots, strict=False, store=store, kept=None)
            for shard in size_of_shards
        ]
        with connected(Cluster(backend="dask", scheduler=cluster.address)) as client:
            list(client.results(needs, nothing, tasks[:4]))
            with watched(*pids) as watch:
                list(client.results(needs, nothing, tasks))
        own, scheduler, *workers = watch.seconds
        clips_a_task = sum(len(task.plan.segments) for task in tasks) / len(tasks)
        ends.append([(clips_a_task, seconds / len(tasks)) for seconds in (own, scheduler, sum(workers))])
    own, scheduler, worker = (Line.through(few, many) for few, many in zip(*ends, strict=True))
    return own, scheduler, worker


def upkeep(cluster: DaskCluster) -> float:
    """Return what a worker takes of a core while its task sleeps."""
    workers = [worker.pid for worker in cluster.workers]
    with connected(Cluster(backend="dask", scheduler=cluster.address)) as client:
        started = time.perf_counter()
        with watched(*workers) as watch:
            list(client.results(WorkerRequirements(paths=(), versions={}), time.sleep, [2.0] * len(workers)))
        return sum(watch.seconds) / len(workers) / (time.perf_counter() - started)


def transfers(folder: Path, size: Size) -> tuple[Transfer, Transfer]:
    """Return this process's CPU seconds of pushing to S3 and of streaming from there."""
    sent, fetched = [], []
    for name, chunk_bytes in zip(
        ("few", "many"), size.pick((1_000, 10_000), (10_000, 200_000), (20_000, 400_000)), strict=True
    ):
        cache = made_cache(folder / f"{name}.zarr", NUM_SENT, chunk_bytes)
        num_bytes = sum(entry.num_bytes for entry in read_manifest(cache).objects.values())
        with watched(os.getpid()) as pushing:
            push(cache, f"s3://team/{name}")
        streamed = open_cache(f"s3://team/{name}", stream=StreamOptions(folder=folder / f"{name}-stream"))
        assert isinstance(streamed, StreamedCache)
        with watched(os.getpid()) as fetching:
            for number in range(streamed.info.num_shards):
                streamed.fetch(number)
        sent.append((num_bytes, pushing.seconds[0]))
        fetched.append((num_bytes, fetching.seconds[0]))
    of_sent, of_fetched = Line.through(*sent), Line.through(*fetched)
    return (
        Transfer(an_object=of_sent.fixed / (NUM_SENT + 3), a_byte=of_sent.each),  # metadata and index travel too
        Transfer(an_object=of_fetched.fixed / NUM_SENT, a_byte=of_fetched.each),
    )


def codec_figures(cache: Cache) -> dict[str, tuple[float, float]]:
    """Return by codec the bytes of a clip and the CPU seconds of reading it back, from clips of a cache."""
    clips = cache.read(cache.positions())
    out = np.empty_like(clips[0])
    figures = {}
    for name in ("lz4hc", "zstd", "none"):
        chunks = [np.frombuffer(CODECS[name].encode(clip), np.uint8) for clip in clips]
        started = time.process_time()
        for chunk in 5 * chunks:
            CODECS[name].decode(chunk, out)
        seconds = (time.process_time() - started) / (5 * len(chunks))
        figures[name] = (float(np.mean([len(chunk) for chunk in chunks])), seconds)
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="signprep-bench-") as warm, tempfile.TemporaryDirectory() as folder:
        stage = STAGES[sys.argv[1]]
        stage(10, Path(warm))()  # imports are no part of it
        work = stage(int(sys.argv[2]), Path(folder))
        forget_peak()
        started = time.process_time()
        work()
        print(time.process_time() - started, peak_memory_mib())
