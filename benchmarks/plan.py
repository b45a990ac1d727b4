"""Planning, resuming and refreshing a build of a million segments (medium: 200,000): seconds and peak memory.

In: nothing; the segments are made up, and no video is there. Out: what `build-cache` needs before its first and after
its last clip: assigning splits, the plan and its digest, finding the shards that are done, and matching an index of the
same size with the plan (nothing, or one label in a thousand, has changed). Each runs in a process of its own.
"""

import atexit
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks._report import Bar, chart, peak_memory_mib, print_machine, print_table
from benchmarks._size import Size
from signprep.cache_builder.building.encode_shard import part_name
from signprep.cache_builder.building.plan import BuildPlan, plan_build
from signprep.cache_builder.building.update import plan_update
from signprep.cache_builder.format.index import SCHEMA, completed
from signprep.cache_builder.options import BuildOptions
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Segment
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.datasets.splits import assign_splits


def run(size: Size) -> None:
    """Print the table."""
    num_segments = size.pick(2_000, 200_000, 1_000_000)
    print_machine(["numpy", "pyarrow"])
    bars = []
    rows = [(f"{num_segments:,} segments", "seconds", "peak MiB")]
    for name in STAGES:
        command = [sys.executable, "-m", "benchmarks.plan", name, str(num_segments)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, peak = done.stdout.split()
        bars.append(Bar(name=name, value=float(seconds), ours=True, note=f"{float(peak):.0f} MiB"))
        rows.append((name, f"{float(seconds):.1f}", f"{float(peak):.0f}"))
    print_table(rows)
    chart(f"Before the first clip of {num_segments:,} segments", "seconds", bars)


def make_segments(num_segments: int) -> list[Segment]:
    """Return segments of AIHub's shape: 3,000 words, five views, as many signers as it takes."""
    segments = []
    for number in range(num_segments):
        signer, rest = divmod(number, 15_000)
        word, view = divmod(rest, 5)
        item, person = f"WORD{word + 1:04d}", f"REAL{signer + 1:02d}"
        base = f"NIA_SL_{item}_{person}_{'FUDLR'[view]}"
        segments.append(
            Segment(
                segment_id=f"{base}#0",
                video=f"video/{base}.mp4",
                start_seconds=1.5 + number % 50 / 100,
                end_seconds=2.6,
                gloss=f"단어{word}",
                item=item,
                source="REAL",
                signer=person,
                view="FUDLR"[view],
                take=f"{person}_{item}",
            )
        )
    return segments


def make_plan(num_segments: int) -> BuildPlan:
    segments = assign_splits(make_segments(num_segments))
    return plan_build(DataRoots.single(Path("data")), segments, BuildOptions(clip_spec=ClipSpec()))


def plan(num_segments: int) -> Callable[[], object]:
    return lambda: make_plan(num_segments).digest()


def resume(num_segments: int) -> Callable[[], object]:
    """Plan again and find what is done: every other shard."""
    scratch = tempfile.TemporaryDirectory(prefix="signprep-bench-")
    folder = Path(scratch.name)
    for number in range(0, -(-num_segments // 128), 2):
        (folder / part_name(number)).touch()

    def work() -> int:
        build = make_plan(num_segments)
        build.digest()
        return sum(not (folder / part_name(shard.number)).exists() for shard in build.shards)

    atexit.register(scratch.cleanup)
    return work


def refresh(num_segments: int) -> Callable[[], object]:
    """Plan again and match the plan with a finished cache's index."""
    build = make_plan(num_segments)
    segments = [segment for shard in build.shards for segment in shard.segments]
    index = index_of(segments, build)
    hashes: dict[str, str | None] = dict(zip(index["video"].to_pylist(), index["video_hash"].to_pylist(), strict=True))
    return lambda: plan_update(index, build.info, build, hashes)


def index_of(segments: list[Segment], build: BuildPlan) -> pa.Table:
    num = len(segments)
    labels = build.info.vocabulary.labels()
    columns = {
        name: pa.array([getattr(segment, name) for segment in segments], SCHEMA.field(name).type)
        for name in Segment.__dataclass_fields__
    }
    columns |= {
        "position": pa.array(np.arange(num)),
        "video_hash": pa.array([f"{number:032x}" for number in range(num)]),
        "clip_start_seconds": columns["start_seconds"],
        "clip_end_seconds": columns["end_seconds"],
        "label": pa.array([labels[segment.gloss] for segment in segments], pa.int32()),
        "status": pa.array(["ok"] * num, SCHEMA.field("status").type),
        "error": pa.nulls(num, pa.string()),
        "sampled_seconds": pa.array([[0.0]] * num, pa.list_(pa.float64())),
        "stored_bytes": pa.array(np.full(num, 400_000)),
    }
    schema = pa.schema([field for field in SCHEMA if field.name in columns])
    return completed(pa.table(columns, schema=schema))


STAGES = {"plan": plan, "resume": resume, "refresh": refresh}


if __name__ == "__main__":
    work = STAGES[sys.argv[1]](int(sys.argv[2]))
    started = time.perf_counter()
    work()
    print(time.perf_counter() - started, peak_memory_mib())
