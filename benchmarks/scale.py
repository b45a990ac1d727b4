"""Opening a cache of 5,000,000 rows and reading random batches of it, beside one of 5,000.

In: nothing; the index is made up, and of the shards only those exist that the batches touch, as copies of one. Out: for
both sizes the time to open, to find a split's positions and labels, peak memory, and the time of random batches of 32.
Each is measured in a process of its own, by turns; medians of the rounds.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._report import Bar, chart, figure, peak_memory_mib, print_machine, print_table
from benchmarks._size import Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.format.codec import CODECS
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
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary

BATCH, NUM_BATCHES, CLIPS_PER_SHARD, NUM_GLOSSES = 32, 20, 128, 3000
ROWS_A_GROUP = 500_000
STORED = pa.schema([field for field in SCHEMA if field.name not in ("crop_box", "box", "seen_fraction")])
"""The columns of a cache of pixels whose clips are cut by one crop."""


def run(size: Size) -> None:
    """Print the table."""
    print_machine(["pyarrow", "numpy"])
    sizes, num_rounds = ((500, 5_000), 1) if size is Size.TOY else ((5_000, 5_000_000), size.pick(1, 2, 7))
    with tempfile.TemporaryDirectory(prefix="signprep-bench-") as folder:
        roots = {num_rows: Path(folder) / f"{num_rows}.zarr" for num_rows in sizes}
        for num_rows, root in roots.items():
            write_simulated_cache(root, num_rows)
        rounds = [{num_rows: measure_apart(root) for num_rows, root in roots.items()} for _ in range(num_rounds)]
    rows = [("rows", "open s", "positions and labels s", "peak MiB open", "and then", "random batch ms", "ratio")]
    first = ratio = 0.0
    bars = []
    for num_rows in sizes:
        opened, looked_up, peak_opened, peak_looked_up, batch = np.median([found[num_rows] for found in rounds], axis=0)
        first = first or batch
        ratio = batch / first
        bars.append(Bar(name=f"{num_rows:,} rows", value=1e3 * batch, ours=True, note=f"opens in {opened:.2f} s"))
        peaks = f"{peak_opened:.0f}", f"{peak_looked_up:.0f}"
        times = f"{opened:.3f}", f"{looked_up:.3f}"
        rows.append((f"{num_rows:,}", *times, *peaks, f"{batch * 1e3:.1f}", f"{ratio:.2f}"))
    print_table(rows)
    figure("scale.batch", ratio)
    chart(f"A random batch of {BATCH} clips", "ms a batch", bars)


def measure_apart(root: Path) -> list[float]:
    """Return what `measure` finds in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(number) for number in done.stdout.split()]


def touched_positions(num_rows: int) -> np.ndarray:
    """Return the positions of the batches, int64 [NUM_BATCHES, BATCH], anywhere in the cache."""
    return np.random.default_rng(0).integers(0, num_rows, (NUM_BATCHES, BATCH))


def write_simulated_cache(root: Path, num_rows: int) -> None:
    info = CacheInfo(
        clip_spec=ClipSpec(),
        codec="lz4hc",
        vocabulary=Vocabulary(glosses=tuple(f"단어{number}" for number in range(NUM_GLOSSES))),
        num_positions=num_rows,
        clips_per_shard=CLIPS_PER_SHARD,
        provenance={"preprocessing_version": 1, "decoder": "pyav"},
    )
    write_metadata(root, info)
    chunk = CODECS["lz4hc"].encode(signing_like_clip(info.clip_spec))
    shard = shard_bytes([chunk] * CLIPS_PER_SHARD, CLIPS_PER_SHARD)
    entry = CacheObject.of(shard)
    objects = {shard_path(info, number): entry for number in range(info.num_shards)}
    source = root / shard_path(info, 0)
    for number in np.unique(touched_positions(num_rows) // CLIPS_PER_SHARD).tolist():
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


def signing_like_clip(spec: ClipSpec) -> np.ndarray:
    """Return a clip that compresses about as signing does: still, with noise on a part."""
    rng = np.random.default_rng(1)
    clip = np.repeat(rng.integers(40, 200, (1, *spec.frame_shape), np.uint8), spec.num_frames, axis=0)
    clip[:, :100] += rng.integers(0, 4, clip[:, :100].shape, np.uint8)
    return clip


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


def measure(root: Path) -> list[float]:
    """Return seconds to open, seconds for positions and labels, peak MiB after each, and seconds a batch."""
    started = time.perf_counter()
    cache = open_cache(root)
    opened = time.perf_counter() - started
    peak_opened = peak_memory_mib()
    started = time.perf_counter()
    cache.positions("train")
    cache.labels()
    looked_up, peak_looked_up = time.perf_counter() - started, peak_memory_mib()
    out = np.empty((BATCH, *cache.clip_spec.clip_shape), np.uint8)
    seconds = []
    for positions in touched_positions(len(cache)):
        started = time.perf_counter()
        cache.read(positions, out=out)
        seconds.append(time.perf_counter() - started)
    return [opened, looked_up, peak_opened, peak_looked_up, statistics.median(seconds)]


if __name__ == "__main__":
    print(*measure(Path(sys.argv[1])))
