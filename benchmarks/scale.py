"""Opening a cache of 5,000,000 rows and reading random batches of it, beside one of 5,000.

In: a clip of rendered signing. The index is made up; of the shards only those exist that the batches touch, each a name
of one file that holds this clip over and over, so that the page cache and the processor's hold the same bytes for all.
Out: for both sizes the time to open, to find a split's positions and labels, peak memory, and the CPU time of random
batches of 32. Of the large cache they are read from anywhere, where each clip lies in a shard that was not open yet;
and from as many shards as the small one has, which leaves only the rows that are more. Beside that stands what the
system takes to open and map as many files and to touch as many bytes. Each is measured in a process of its own, by
turns; medians of the rounds.
"""

import mmap
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._report import Bar, chart, figure, peak_memory_mib, print_line, print_machine, print_table
from benchmarks._signing import signing_cache
from benchmarks._size import Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.format.index import SCHEMA
from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    CacheInfo,
    CacheManifest,
    CacheObject,
    shard_path,
)
from signprep.cache_builder.format.shard import chunk_checksum, shard_bytes
from signprep.cache_builder.format.zarr_metadata import write_metadata
from signprep.cache_builder.reader import MAX_OPEN_SHARDS, Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.options import SampleSpec

BATCH, NUM_BATCHES, CLIPS_PER_SHARD, NUM_GLOSSES = 32, 20, 128, 3000
ROWS_A_GROUP = 500_000
STORED = pa.schema([field for field in SCHEMA if field.name not in ("crop_box", "box", "seen_fraction")])
"""The columns of a cache of pixels whose clips are cut by one crop."""


def run(size: Size) -> None:
    """Print the table."""
    print_machine(["pyarrow", "numpy"])
    small, large = (500, 5_000) if size is Size.TOY else (5_000, 5_000_000)
    num_rounds = size.pick(1, 3, 7)
    few = small // CLIPS_PER_SHARD
    ways = {"few": (small, few), "more rows": (large, few), "more files, too": (large, large // CLIPS_PER_SHARD)}
    frame_size = (160, 96) if size is Size.TOY else (1920, 1080)
    signing = signing_cache(SampleSpec(words=1, signers=1, frame_size=frame_size), ClipSpec())
    chunk = signing.stored_chunk(0)
    with tempfile.TemporaryDirectory(prefix="signprep-bench-") as folder:
        roots = {num_rows: Path(folder) / f"{num_rows}.zarr" for num_rows in (small, large)}
        for num_rows, root in roots.items():
            write_simulated_cache(
                root, num_rows, chunk, [touched for rows, touched in ways.values() if rows == num_rows]
            )
        rounds = [
            {way: measure_apart(roots[rows], touched) for way, (rows, touched) in ways.items()}
            for _ in range(num_rounds)
        ]
    found = {way: Measured(*np.median([one[way] for one in rounds], axis=0)) for way in ways}
    print_table(
        [
            ("rows", "open s", "positions and labels s", "peak MiB open", "and then"),
            *(
                (
                    f"{num_rows:,}",
                    f"{one.opened:.3f}",
                    f"{one.looked_up:.3f}",
                    f"{one.peak_opened:.0f}",
                    f"{one.peak:.0f}",
                )
                for num_rows, one in ((small, found["few"]), (large, found["more files, too"]))
            ),
        ]
    )
    first = found["few"].batch
    rows = [("rows", "in shards", "random batch ms", "ratio", "the system's part, ms", "first batch ms")]
    for (num_rows, touched), one in zip(ways.values(), found.values(), strict=True):
        times = (
            f"{1e3 * one.batch:.1f}",
            f"{one.batch / first:.2f}",
            f"{1e3 * one.system:.1f}",
            f"{1e3 * one.first:.0f}",
        )
        rows.append((f"{num_rows:,}", f"{touched:,}", *times))
    print_table(rows)
    print_line(f"{len(chunk) / 1e3:.0f} KB a clip; the first batch also reads sizes and checksums of all rows")
    figure("scale.rows", found["more rows"].batch / first)
    figure("scale.batch", found["more files, too"].batch / first)
    chart(
        f"A random batch of {BATCH} clips",
        "CPU ms a batch",
        [
            Bar(name=f"{rows:,} rows in {touched:,} shards", value=1e3 * found[way].batch, ours=True)
            for way, (rows, touched) in ways.items()
        ],
    )


class Measured(NamedTuple):
    """What is found in one process: seconds, and MiB."""

    opened: float
    looked_up: float
    peak_opened: float
    peak: float
    first: float
    batch: float
    system: float
    """Of a batch's time, for opening and mapping the files that it touches, and for touching their pages."""


def measure_apart(root: Path, num_touched: int) -> Measured:
    """Return what `measure` finds in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", str(root), str(num_touched)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Measured(*(float(number) for number in done.stdout.split()))


def touched_positions(num_rows: int, num_touched: int) -> np.ndarray:
    """Return the positions of the batches, int64 [NUM_BATCHES, BATCH], in so many whole shards, evenly over all."""
    shards = np.linspace(0, num_rows // CLIPS_PER_SHARD - 1, num_touched).astype(np.int64)
    rng, shape = np.random.default_rng(0), (NUM_BATCHES, BATCH)
    return shards[rng.integers(0, num_touched, shape)] * CLIPS_PER_SHARD + rng.integers(0, CLIPS_PER_SHARD, shape)


def write_simulated_cache(root: Path, num_rows: int, chunk: bytes, touched: list[int]) -> None:
    info = CacheInfo(
        clip_spec=ClipSpec(),
        codec="lz4hc",
        vocabulary=Vocabulary(glosses=tuple(f"단어{number}" for number in range(NUM_GLOSSES))),
        num_positions=num_rows,
        clips_per_shard=CLIPS_PER_SHARD,
        provenance={"preprocessing_version": 1, "decoder": "pyav"},
    )
    write_metadata(root, info)
    shard = shard_bytes([chunk] * CLIPS_PER_SHARD, CLIPS_PER_SHARD)
    entry = CacheObject.of(shard)
    objects = {shard_path(info, number): entry for number in range(info.num_shards)}
    source = root / shard_path(info, 0)
    positions = np.concatenate([touched_positions(num_rows, number) for number in touched])
    for number in np.unique(positions // CLIPS_PER_SHARD).tolist():
        path = root / shard_path(info, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        # One file under many names: the disk need not hold terabytes, and each is mapped by itself.
        path.hardlink_to(source) if source.exists() else path.write_bytes(shard)
        source = path
    with pq.ParquetWriter(root / INDEX, STORED, compression="zstd", write_page_checksum=True) as writer:
        for first in range(0, num_rows, ROWS_A_GROUP):
            writer.write_table(index_rows(first, min(num_rows, first + ROWS_A_GROUP), chunk))
    for path in (GROUP_METADATA, ARRAY_METADATA, INDEX):
        objects[path] = CacheObject.of((root / path).read_bytes())
    (root / MANIFEST).write_text(CacheManifest(objects=objects, plan_digest="").to_json(), encoding="utf-8")


def index_rows(first: int, last: int, chunk: bytes) -> pa.Table:
    numbers = np.arange(first, last)
    signers, words = numbers // 15_000 % 36, numbers // 5 % NUM_GLOSSES
    names = [f"NIA_SL_WORD{w:04d}_REAL{s:02d}_{'FUDLR'[n % 5]}_{n}" for n, w, s in zip(numbers, words, signers)]  # noqa: B905
    count = len(numbers)
    starts = 1.5 + numbers % 50 / 100
    columns = {
        "position": numbers,
        "segment_id": [f"{name}#0" for name in names],
        "video": [f"video/{name}.mp4" for name in names],
        "video_hash": [f"{number * 2654435761 % 2**128:032x}" for number in numbers.tolist()],
        "start_seconds": starts,
        "end_seconds": starts + 1.06,
        "clip_start_seconds": starts,
        "clip_end_seconds": starts + 1.06,
        "gloss": [f"단어{word}" for word in words],
        "label": words.astype(np.int32),
        "item": [f"WORD{word:04d}" for word in words],
        "source": ["REAL"] * count,
        "signer": [f"REAL{signer:02d}" for signer in signers],
        "view": ["FUDLR"[number % 5] for number in numbers],
        "take": [f"REAL{signer:02d}_WORD{word:04d}" for signer, word in zip(signers, words, strict=True)],
        "split": ["val" if signer > 32 else "train" for signer in signers],
        "status": ["ok"] * count,
        "error": pa.nulls(count, pa.string()),
        "sampled_seconds": pa.FixedSizeListArray.from_arrays(
            np.round((starts[:, None] + np.arange(16) / 15).ravel(), 3), 16
        ).cast(pa.list_(pa.float64())),
        "stored_bytes": np.full(count, len(chunk)),
        "stored_crc32c": np.full(count, chunk_checksum(chunk), np.uint32),
    }
    return pa.table(
        {name: pa.array(values, SCHEMA.field(name).type) for name, values in columns.items()}, schema=STORED
    )


def measure(root: Path, num_touched: int) -> Measured:
    started = time.perf_counter()
    cache = open_cache(root)
    opened = time.perf_counter() - started
    peak_opened = peak_memory_mib()
    started = time.perf_counter()
    cache.positions("train")
    cache.labels()
    looked_up, peak_looked_up = time.perf_counter() - started, peak_memory_mib()
    out = np.zeros((BATCH, *cache.clip_spec.clip_shape), np.uint8)
    out[:] = 1  # so that the system has given the memory
    batches = touched_positions(len(cache), num_touched)
    seconds = []
    for positions in batches:
        started = time.process_time()
        cache.read(positions, out=out)
        seconds.append(time.process_time() - started)
    first, batch, chunk_bytes = (
        seconds[0],
        statistics.median(seconds[1:]),
        len(cache.stored_chunk(int(batches[0, 0]))),
    )
    cache.unmap()
    system = [system_seconds(cache, positions, chunk_bytes) for positions in batches]
    return Measured(opened, looked_up, peak_opened, peak_looked_up, first, batch, statistics.median(system[1:]))


_MAPPED: dict[int, np.ndarray] = {}


def system_seconds(cache: Cache, positions: np.ndarray, chunk_bytes: int) -> float:
    """Return the CPU seconds of opening, mapping and touching what these positions need and was not mapped before."""
    started = time.process_time()
    for position in positions.tolist():
        number, place = divmod(position, CLIPS_PER_SHARD)
        if number not in _MAPPED:
            descriptor = os.open(f"{cache.path}/clips/c/{number}/0/0/0", os.O_RDONLY)
            _MAPPED[number] = np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), np.uint8)
            os.close(descriptor)
            if len(_MAPPED) > MAX_OPEN_SHARDS:
                del _MAPPED[next(iter(_MAPPED))]
        _MAPPED[number][place * chunk_bytes : (place + 1) * chunk_bytes : mmap.PAGESIZE].sum()
    return time.process_time() - started


if __name__ == "__main__":
    print(*measure(Path(sys.argv[1]), int(sys.argv[2])))
