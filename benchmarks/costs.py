"""What 536,000 clips and 5,000,000 cost: plan, build, publish, push and stream, with 1 to 64 workers.

Constants are measured here, in CPU seconds, which other programs on the machine disturb least: the parts of a build of
1080p videos in one process; tasks of 128 clips on a Dask cluster whose workers do nothing; reading labels, planning
and putting the index together, at two sizes; pushing to an S3-compatible server and streaming from it. Then two small
data sets, of other videos, are built on a Dask cluster of two workers and pushed: what the model says stands beside
what was measured. The tables of the large sizes are computed (see docs/scale.md); nobody has built those.

    python -m benchmarks costs
"""

import math
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks._cost_constants import codec_figures, stages, task_lines, transfers, upkeep, watched
from benchmarks._costs import (
    Case,
    Constants,
    build_seconds,
    epoch_seconds,
    largest_useful,
    limits,
    plan_seconds,
    publish_seconds,
    push_seconds,
    stream_rates,
    task_seconds,
    worker_seconds,
)
from benchmarks._report import figure, peak_memory_mib, print_line, print_machine, print_table
from benchmarks._signing import filmed, signing_sample
from benchmarks._size import Size
from benchmarks.build import copied_videos, plan_of, seconds_of_parts
from benchmarks.share import environment
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.cluster import Cluster
from signprep.cache_builder.building.plan import MAX_CLIPS_PER_SHARD
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.format.layout import METADATA, read_manifest
from signprep.cache_builder.remote.push import push
from signprep.training.data.epoch_order import BatchPlan, streaming_order
from tests.cache_builder.building.clusters import DaskCluster, dask_cluster
from tests.cache_builder.servers import CREDENTIALS, make_bucket, s3_server

SIZES = (536_000, 5_000_000)
WORKERS = (1, 2, 4, 8, 16, 32, 64)
STREAM_THREADS, BATCH = 8, 8
"""Threads of a machine that trains, and clips of a batch."""


def run(size: Size) -> None:
    """Measure, check, and print the tables."""
    print_machine(["av", "numcodecs", "distributed", "s3fs", "moto"])
    with tempfile.TemporaryDirectory(prefix="signprep-bench-") as name, s3_server() as endpoint:
        folder = Path(name)
        make_bucket(endpoint, "team")
        with environment(**CREDENTIALS, AWS_ENDPOINT_URL=endpoint), dask_cluster(2) as cluster:
            found, checks = measured(folder, cluster, size)
    print_constants(found)
    print_checks(found, checks)
    for num_clips in SIZES:
        print_builds(found, num_clips)
    print_streams(found)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A small build on a cluster, as it went."""

    case: Case
    num_sent: int
    sent_bytes: int
    """Objects and bytes that a push brings away."""
    figures: dict[str, float]
    """What was measured, by what it is."""


WORKERS_CPU, OWN_CPU, PUSH_CPU = "CPU of the workers, s", "CPU where the build runs, s", "CPU of pushing, s"
STORED, WALL = "stored, MB", "wall, s"


def measured(folder: Path, cluster: DaskCluster, size: Size) -> tuple[Constants, list[Check]]:
    """Return the constants, and two builds on the cluster; the parts of a build are measured between them."""
    small, large = size.pick((8, 24), (2, 6), (12, 48))
    videos = sorted((filmed(signing_sample(size)) / "video").glob("*.mp4"))
    known, others = videos[::6], videos[3::6]
    run_on = RunOptions(cluster=Cluster(backend="dask", scheduler=cluster.address))
    workers = [process.pid for process in cluster.workers]
    plan = plan_of(copied_videos(folder / "known", known, size.pick(16, 1, 4)))
    warm = plan_of(copied_videos(folder / "warm", known, size.pick(8, 2, 1)))
    assert len(warm.shards) >= len(workers)
    build(warm, folder / "warm.zarr", run_on)  # everybody has imported everything
    push(folder / "warm.zarr", "s3://team/warm")
    parts, checks = [seconds_of_parts(plan, folder / "parts-0.zarr")], []
    for number, copies in enumerate((small, large), 1):
        root = copied_videos(folder / f"others-{number}", others, copies)
        checks.append(checked(root, folder / f"check-{number}.zarr", run_on, workers))
        parts.append(seconds_of_parts(plan, folder / f"parts-{number}.zarr"))
    means = {name: statistics.mean(part[name] for part in parts) for name in parts[0]}
    video_bytes = sum(file.stat().st_size for file in (folder / "known").glob("*.mp4"))
    store = means["encoding"] + means["assembling shards"] + means["writing"]
    rest = means["all"] - means["decoding and scaling"] - means["hashing videos"] - store
    lines, bytes_of = stages(size)
    task, scheduler, worker_task = task_lines(cluster, size)
    own_loop = upkeep(cluster)
    sent, fetched = transfers(folder, size)
    found = Constants(
        labels=lines["labels"],
        plan=lines["plan"],
        plan_bytes=bytes_of["plan"],
        decode_seconds=means["decoding and scaling"] / plan.num_clips,
        hash_seconds=means["hashing videos"] / video_bytes,
        store_seconds=store / plan.num_clips,
        shard_seconds=max(0.0, rest) / len(plan.shards),
        task=task,
        scheduler=scheduler,
        worker_task=worker_task,
        upkeep=own_loop,
        merge=lines["merge"],
        merge_bytes=bytes_of["merge"],
        worker_bytes=max(peak_memory_mib(pid) for pid in workers) * 2**20,
        push=sent,
        fetch=fetched,
        codecs=codec_figures(open_cache(folder / "parts-0.zarr")),
    )
    return found, checks


def checked(root: Path, out: Path, run_on: RunOptions, workers: list[int]) -> Check:
    """Build and push a data root; return what it took."""
    with watched(os.getpid(), *workers) as watch:
        started = time.perf_counter()
        plan = plan_of(root)
        build(plan, out, run_on)
        wall = time.perf_counter() - started
    with watched(os.getpid()) as pushing:
        push(out, f"s3://team/{out.stem}")
    objects = read_manifest(out).objects
    stored_bytes = sum(entry.num_bytes for path, entry in objects.items() if path not in METADATA)
    # The same video under many names gives some shards twice, which travel once.
    travelled = {entry.hash: entry.num_bytes for entry in objects.values()}
    own, *others = watch.seconds
    figures = {WORKERS_CPU: sum(others), OWN_CPU: own, PUSH_CPU: pushing.seconds[0], WALL: wall}
    case = Case(
        num_clips=plan.num_clips,
        workers=len(workers),
        clips_per_shard=plan.info.clips_per_shard,
        video_bytes=sum(file.stat().st_size for file in root.glob("*.mp4")) / plan.num_clips,
        request_seconds=0,
    )
    figures[STORED] = stored_bytes / 1e6
    return Check(case=case, num_sent=len(travelled), sent_bytes=sum(travelled.values()), figures=figures)


def predicted(found: Constants, check: Check) -> dict[str, float]:
    """Return what the model says of a build that was made."""
    case = check.case
    before, after = plan_seconds(found, case), publish_seconds(found, case)
    of_workers = case.num_shards * worker_seconds(found, case)
    # A worker that others keep from its core is kept up as long as the build lasts.
    busy = of_workers * (1 - found.upkeep) + found.upkeep * case.workers * check.figures[WALL]
    own = before + case.num_shards * found.task.at(case.clips_per_shard) + after
    stored = case.num_clips * found.codecs[case.codec][0]
    return {
        WORKERS_CPU: busy,
        OWN_CPU: own,
        PUSH_CPU: found.push.at(check.num_sent, check.sent_bytes),
        STORED: stored / 1e6,
        WALL: before + max(of_workers / case.workers, case.num_shards * task_seconds(found, case)) + after,
    }


def print_constants(found: Constants) -> None:
    stored = found.codecs["lz4hc"][0]
    rows = [
        ("constant", "measured"),
        ("labels and their videos, ms a clip", f"{1e3 * found.labels.each:.2f}"),
        ("splits and plan, ms a clip", f"{1e3 * found.plan.each:.3f}"),
        ("memory of the plan, KB a clip", f"{found.plan_bytes.each / 1e3:.1f}"),
        ("decoding and scaling, s a clip", f"{found.decode_seconds:.3f}"),
        ("hashing videos, s a GB", f"{1e9 * found.hash_seconds:.2f}"),
        ("encoding and writing, s a clip", f"{found.store_seconds:.4f}"),
        ("other work of a worker, s a shard", f"{found.shard_seconds:.4f}"),
        ("a task of 128 clips, ms, where the build runs", f"{1e3 * found.task.at(128):.1f}"),
        ("a task of 128 clips, ms, in Dask's scheduler", f"{1e3 * found.scheduler.at(128):.1f}"),
        ("a worker's own loop, part of a core", f"{found.upkeep:.3f}"),
        ("merging and the index, ms a clip", f"{1e3 * found.merge.each:.3f}"),
        ("memory of merging, KB a clip", f"{found.merge_bytes.each / 1e3:.1f}"),
        ("most memory of a worker, MiB", f"{found.worker_bytes / 2**20:.0f}"),
        ("pushing, s of CPU a GB", f"{1e9 * found.push.a_byte:.2f}"),
        ("streaming, s of CPU a GB", f"{1e9 * found.fetch.a_byte:.2f}"),
    ]
    for codec, (num_bytes, seconds) in found.codecs.items():
        rows.append((f"{codec}: KB a clip; ms to read it", f"{num_bytes / 1e3:.0f}; {1e3 * seconds:.2f}"))
    print_table(rows)
    rate = 1 / found.push.a_byte if found.push.a_byte else math.inf  # a toy's bytes may cost nothing that shows
    print_line(f"one process pushes {rate / 1e6:,.0f} MB/s, {rate / stored:,.0f} clips/s")


def print_checks(found: Constants, checks: list[Check]) -> None:
    """Print what the model says of the builds that were made beside what they took."""
    rows = [("built by two Dask workers", "clips", "predicted", "measured", "ratio")]
    ratios = []
    for check in checks:
        for name, said in predicted(found, check).items():
            real = check.figures[name]
            rows.append((name, str(check.case.num_clips), f"{said:.2f}", f"{real:.2f}", f"{said / real:.2f}"))
            if name == WORKERS_CPU:
                ratios.append(said / real)
    print_table(rows)
    print_line("the model's wall time is that of idle cores; here other programs may have run as well")
    figure("costs.cpu", max(abs(ratio - 1) for ratio in ratios))


def print_builds(found: Constants, num_clips: int) -> None:
    """Print what a build of many clips takes with more and more workers, and what it waits for."""
    case = Case(num_clips=num_clips, workers=1)
    before, after = plan_seconds(found, case), publish_seconds(found, case)
    rows = [(f"{num_clips:,} clips, workers", "hours", "waits for", "1 worker / it", "before and after, %")]
    alone = build_seconds(found, case)
    for workers in WORKERS:
        many = replace(case, workers=workers)
        parts, whole = limits(found, many), build_seconds(found, many)
        share = 100 * (before + after) / whole
        longest = max(parts, key=lambda name: parts[name])
        rows.append((str(workers), f"{whole / 3600:.2f}", longest, f"{alone / whole:.1f}", f"{share:.1f}"))
    print_table(rows)
    memory = found.plan_bytes.at(num_clips), found.merge_bytes.at(num_clips)
    print_line(
        f"{num_clips:,} clips: {case.num_shards:,} shards; {before / 60:.1f} minutes before the first, "
        f"{after / 60:.1f} after the last; memory where the build runs {max(memory) / 1e9:.1f} GB"
    )
    useful = ", ".join(f"{name} {number:,.0f}" for name, number in largest_useful(found, case).items())
    print_line(f"{num_clips:,} clips: workers from which on a build waits for something else than CPU: {useful}")
    for codec, (each, _) in found.codecs.items():
        pushed = push_seconds(found, replace(case, codec=codec))
        print_line(
            f"{num_clips:,} clips, {codec}: {num_clips * each / 1e9:,.0f} GB; pushed in {pushed / 3600:.2f} hours"
        )


def print_streams(found: Constants) -> None:
    """Print how fast machines train that share one link, and the first epoch of all of AIHub."""
    rows = [("one link of 10 Gbit/s, machines", "codec", "clips/s each: CPU", "link", "hours of the first epoch")]
    for codec in ("lz4hc", "zstd", "none"):
        for workers in WORKERS:
            case = Case(num_clips=SIZES[0], workers=workers, codec=codec)
            cpu, link = stream_rates(found, case, threads=STREAM_THREADS)
            hours = max(epoch_seconds(found, case), SIZES[0] / cpu) / 3600
            rows.append((str(workers), codec, f"{cpu:,.0f}", f"{link:,.0f}", f"{hours:.2f}"))
    print_table(rows)
    for num_ranks in (2, 8, 64):
        print_line(
            f"of its shards, a rank of {num_ranks} reads {shards_of_a_rank(SIZES[0], num_ranks):.1%} in an epoch"
        )


def shards_of_a_rank(num_clips: int, num_ranks: int) -> float:
    """Return the share of a cache's shards of which one rank of a training reads clips in an epoch."""
    shard = MAX_CLIPS_PER_SHARD
    order = streaming_order(np.arange(num_clips), shard, seed=0, epoch=0) // shard
    plan = BatchPlan(num_clips=num_clips, batch_size=BATCH, num_ranks=num_ranks)
    own = [order[slice(*plan.bounds(step, rank=0))] for step in range(len(plan))]
    return len(np.unique(np.concatenate(own))) / len(np.unique(order))
