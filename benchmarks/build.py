"""Where a cache build spends its CPU, and how many clips a second one and two workers build.

A build should be bound by decoding and scaling alone (90 % of its CPU or more): everything else (compression,
checksums, hashing, the index) is then as good as free. Videos as AIHub's, 1080p30 at 8 Mbit/s. One worker and two take
turns, on so many shards that the last one hardly counts; a ratio is the median of the rounds' own.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from benchmarks._report import (
    Bar,
    chart,
    cpu_seconds_of_all,
    figure,
    forget_peak,
    peak_memory_mib,
    print_line,
    print_machine,
    print_table,
)
from benchmarks._size import Size
from benchmarks.decode import make_videos
from signprep.cache_builder.building import build as build_module
from signprep.cache_builder.building import encode_shard as shard_task
from signprep.cache_builder.building.plan import BuildPlan, plan_build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.format.codec import ClipCodec
from signprep.cache_builder.options import BuildOptions
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.splits import assign_splits

NUM_ROUNDS = 3


class CpuTimer:
    """Adds up the CPU seconds that this process spends in a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return self._function(*args, **kwargs)
        finally:
            self.seconds += time.process_time() - start


def run(size: Size) -> None:
    """Print the share of decoding and the throughput."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_of_many(Path(folder), num_copies=size.pick(1, 4, 12), size=size)
        print_machine(["av", "numcodecs", "zarr", "joblib"])
        forget_peak()  # of rendering the videos
        found = shares(plan, Path(folder) / "share.zarr")
        print_table([(f"of the CPU of {plan.num_clips} clips", "%"), *((k, f"{v:.1%}") for k, v in found.items())])
        stored = found["encoding"] + found["assembling shards"] + found["writing"]
        print_line(f"encoding and writing together: {stored:.1%}")
        figure("build.stored", stored)
        memory = peak_memory_mib()  # so far one process has built all clips
        print_line(f"peak memory of the process that built them {memory:.0f} MiB")
        figure("build.memory", memory)
        if size != Size.TOY:
            print_workers(plan_of_many(Path(folder) / "many", num_copies=size.pick(1, 8, 24), size=size), Path(folder))
        bars = [Bar(name=name, value=100 * share, ours=True) for name, share in found.items()]
        chart("Where a build's CPU goes", "% of the CPU of a build", bars)


def plan_of_many(folder: Path, *, num_copies: int, size: Size) -> BuildPlan:
    """Return the plan for rendered videos, each present under the names of several signers."""
    return plan_of(copied_videos(folder / "data", [video for video, _ in make_videos(size)], num_copies))


def copied_videos(root: Path, videos: list[Path], num_copies: int) -> Path:
    """Make a data root of videos and their labels, each under the names of several signers; return it."""
    root.mkdir(parents=True)
    for source in videos:
        beside = [folder / "label" / f"{source.stem}_morpheme.json" for folder in source.parents[:2]]
        label = next(path for path in beside if path.exists()).read_bytes()
        item, _, view = source.stem.rsplit("_", 2)
        for _ in range(num_copies):
            name = f"{item}_REAL{len(list(root.glob('*.mp4'))) + 1:02d}_{view}"
            (root / f"{name}.mp4").write_bytes(source.read_bytes())
            (root / f"{name}_morpheme.json").write_bytes(label.replace(source.stem.encode(), name.encode()))
    return root


def plan_of(root: Path) -> BuildPlan:
    annotations = read_data_root(root)
    options = BuildOptions(clip_spec=ClipSpec(), clips_per_shard=4)
    return plan_build(annotations.roots, assign_splits(annotations.segments), options)


def shares(plan: BuildPlan, out: Path) -> dict[str, float]:
    """Build in this process; return which share of `build_shard`'s CPU its parts take."""
    seconds = seconds_of_parts(plan, out)
    whole = seconds.pop("all")
    return {name: value / whole for name, value in seconds.items()}


def seconds_of_parts(plan: BuildPlan, out: Path) -> dict[str, float]:
    """Build in this process; return the CPU seconds of `build_shard`'s parts, and of all of it."""
    timed: dict[str, tuple[Any, str]] = {
        "decoding and scaling": (shard_task, "extract_clips"),
        "hashing videos": (shard_task, "content_hash"),
        "encoding": (ClipCodec, "encode"),
        "assembling shards": (shard_task, "shard_bytes"),
        "writing": (shard_task, "write_atomically"),
        "all": (build_module, "build_shard"),
    }
    timers = {name: CpuTimer(getattr(owner, attribute)) for name, (owner, attribute) in timed.items()}
    with ExitStack() as patches:
        for name, (owner, attribute) in timed.items():
            # A function, so that it is bound as a method where it is one.
            patches.enter_context(mock.patch.object(owner, attribute, lambda *a, t=timers[name], **k: t(*a, **k)))
        build_module.build(plan, out, RunOptions(workers=1))
    return {name: timer.seconds for name, timer in timers.items()}


def print_workers(plan: BuildPlan, folder: Path) -> None:
    """Print what one and two workers build, by turns, and why two are not twice as quick as one."""
    found: dict[int, list[Throughput]] = {1: [], 2: []}
    for number in range(NUM_ROUNDS):
        for workers, rounds in found.items():
            rounds.append(throughput(plan, folder / f"{workers}-{number}.zarr", workers))
    rows = [("workers", "clips/s", "ratio to 1", "CPU ms a clip", "of the workers' time in use")]
    rates = {workers: median(each.rate for each in rounds) for workers, rounds in found.items()}
    for workers, rounds in found.items():
        cpu, used = median(each.cpu_seconds for each in rounds), median(each.used for each in rounds)
        rows.append(
            (
                str(workers),
                f"{rates[workers]:.2f}",
                f"{rates[workers] / rates[1]:.2f}",
                f"{cpu * 1e3:.0f}",
                f"{used:.1%}",
            )
        )
    print_table(rows)
    print_line("clips of two workers take more CPU where cores share caches and memory; what is not in use is waited")
    figure("build.workers", median(two.rate / one.rate for one, two in zip(found[1], found[2], strict=True)))


@dataclass(frozen=True, kw_only=True)
class Throughput:
    rate: float
    """Clips a second of wall time."""
    cpu_seconds: float
    """A clip, of the workers and this process."""
    used: float
    """Of the workers' wall time, how much they computed."""


def throughput(plan: BuildPlan, out: Path, workers: int) -> Throughput:
    """Build with so many workers, which are started before."""
    if workers > 1:
        import joblib

        joblib.Parallel(n_jobs=workers)(joblib.delayed(_import_all)() for _ in range(2 * workers))
    cpu, start = cpu_seconds_of_all(), time.perf_counter()
    build_module.build(plan, out, RunOptions(workers=workers))
    seconds, cpu = time.perf_counter() - start, cpu_seconds_of_all() - cpu
    return Throughput(rate=plan.num_clips / seconds, cpu_seconds=cpu / plan.num_clips, used=cpu / (seconds * workers))


def _import_all() -> str:
    import signprep.cache_builder.building.encode_shard

    return signprep.cache_builder.building.encode_shard.__name__
