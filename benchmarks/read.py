"""Reading clips back: sizes, the reader beside its parts and its peers, warm and cold.

The same clips of 16 x 256 x 256, cut from rendered 1080p signing, in every store; batches of 32, shuffled with the same
seed, into one array where a peer allows it. Stores are read by turns, in this process, one thread unless it says so;
medians of the rounds. What the reader takes beside Blosc's decompression is counted in processor seconds, in many short
rounds; such a ratio is the median of the rounds' own. Peers: numcodecs' blosc alone on the same chunks; zarr-python,
zarrs (its codecs in Rust) and TensorStore on the same files; a file for each clip (npy), np.memmap and Lance's blobs;
litData, MosaicML Streaming and WebDataset with raw clips, each through its own dataset class, local, without worker
processes, shuffled by the order that it documents. signprep verifies each clip's checksum, as zarr-python, zarrs and
TensorStore do; the others verify none. MosaicML Streaming asks for NumPy below 2.2: it reads in a process of its own,
from the environment that `make bench` has made for it. A peer that is not installed is named as missing. FFCV is not
there: its newest release, 1.0.2 of 2023, is compiled where it is installed, and asks for the headers of OpenCV and
libjpeg-turbo.
"""

import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before torchvision, which peers import)

import numpy as np
import pyarrow as pa
from numcodecs import blosc
from numpy.typing import NDArray

from benchmarks._reading import VERIFIED_ONCE, cache_epoch, key_frames, parts_of_reading
from benchmarks._report import (
    Bar,
    chart,
    figure,
    peak_memory_mib,
    print_line,
    print_machine,
    print_missing,
    print_table,
)
from benchmarks._signing import filmed, signing_sample
from benchmarks._size import Size
from benchmarks._stores import (
    BATCH,
    Epoch,
    batches,
    lance,
    litdata,
    mosaic,
    npy_files,
    tensorstore,
    webdataset,
    zarr_clips,
    zarrs_clips,
)
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.plan import plan_build
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.format.codec import CHECKSUM_BYTES
from signprep.cache_builder.format.layout import shard_path
from signprep.cache_builder.options import BuildOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.read import read_data_root
from signprep.pipeline.datasets.splits import assign_splits


def run(size: Size) -> None:
    """Print all tables."""
    num_rounds, copies = size.pick((1, 2), (3, 8), (7, 16))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = filmed(signing_sample(size))
        caches = {
            codec: build_cache(data, folder, codec, "rgb24" if codec == "none" else "yuv420p", copies)
            for codec in ("lz4hc", "zstd", "none")
        }
        peers = ["litdata", "mosaicml-streaming", "webdataset", "pylance", "zarrs", "tensorstore"]
        print_machine(["numcodecs", "google-crc32c", "zarr", "torch", *peers])
        sizes(caches)
        order = np.random.default_rng(0).permutation(len(caches["lz4hc"]))
        # First: pages that a reader has mapped cannot be dropped.
        cold({codec: cache.path for codec, cache in caches.items()}, order, num_rounds)
        ways = codec_ways(caches["lz4hc"], order)
        stored = kilobytes_a_clip(caches["lz4hc"].path, len(order))
        rates = print_rates(
            "default codec, warm", ways, num_rounds, dict.fromkeys(ways, stored), parts=("blosc alone",)
        )
        gains = {name: rates[f"{name}, 2 threads"] / rates[name] for name in ("signprep", "blosc alone")}
        print_line(f"two threads / one: {', '.join(f'{name} {gain:.2f}' for name, gain in gains.items())}")
        parts_of_reading(caches["lz4hc"], order, size.pick(2, 15, 25))
        figure("read.threads", gains["signprep"])
        key_frames(caches["lz4hc"], order, num_rounds)
        ways, kilobytes = raw_ways(folder, caches["none"], order)
        rates = print_rates("uncompressed rgb24, warm", ways, num_rounds, kilobytes)
        figure("read.memmap", rates["signprep"] / rates["np.memmap"])
        figure("read.memmap.first", rates[VERIFIED_ONCE] / rates["np.memmap"])
        print_line(f"peak memory of this process {peak_memory_mib():.0f} MiB, mapped files included")


def build_cache(data: Path, folder: Path, codec: str, pixels: str, copies: int) -> Cache:
    """Build a cache, and repeat its shards until it is of a realistic size."""
    annotations = read_data_root(data)
    options = BuildOptions(clip_spec=ClipSpec(pixels=pixels), codec=codec, clips_per_shard=32)
    # A data set that fills whole shards, so that they can be repeated.
    segments = assign_splits(annotations.segments)
    many = [segments[number % len(segments)] for number in range(-(-len(segments) // 32) * 32)]
    plan = plan_build(annotations.roots, many, options)
    build(plan, folder / f"{codec}-small.zarr")
    return repeated(open_cache(folder / f"{codec}-small.zarr"), folder / f"{codec}.zarr", copies)


def repeated(cache: Cache, target: Path, copies: int) -> Cache:
    """Return a cache that holds another one's shards many times over, as files of their own."""
    info, objects = replace(cache.info, num_positions=len(cache) * copies), {}
    for number in range(info.num_shards):
        path = target / shard_path(info, number)
        path.parent.mkdir(parents=True)
        source = shard_path(info, number % cache.info.num_shards)
        shutil.copyfile(cache.path / source, path)
        objects[shard_path(info, number)] = cache.manifest.objects[source]
    index = pa.concat_tables([cache.index] * copies)
    index = index.set_column(0, index.schema.field(0), pa.array(np.arange(index.num_rows)))
    write_state(target, info, index=index, objects=objects, plan_digest="").write(target)
    return open_cache(target)


def sizes(caches: dict[str, Cache]) -> None:
    rows = [("codec", "KB a clip", "of raw RGB")]
    for codec, cache in caches.items():
        stored = float(np.mean(cache.index["stored_bytes"].to_numpy()))
        rows.append((codec, f"{stored / 1e3:.0f}", f"{stored / cache.clip_spec.raw_rgb_bytes:.3f}"))
    print_table(rows)


def codec_ways(cache: Cache, order: NDArray[np.int64]) -> dict[str, Epoch]:
    verified_once = open_cache(cache.path, verify="first")
    out = np.empty((BATCH, *cache.clip_spec.clip_shape), np.uint8)
    cache_epoch(cache, order, 1)()  # after which all shards are mapped
    chunks = [cache._located(int(position)).chunk for position in order]
    payloads = [chunk[:-CHECKSUM_BYTES] for chunk in chunks if chunk is not None]
    pool = ThreadPoolExecutor(2)

    def decompress(first: int, last: int, step: int = 1) -> None:
        for clip, payload in zip(out[first % BATCH :: step], payloads[first:last:step], strict=False):
            blosc.decompress(payload, dest=clip.reshape(-1))

    def blosc_alone() -> int:
        for first in range(0, len(order), BATCH):
            decompress(first, first + BATCH)
        return len(order)

    def blosc_in_threads() -> int:
        for first in range(0, len(order), BATCH):
            wait([pool.submit(decompress, first + k, first + BATCH, 2) for k in range(2)])
        return len(order)

    return {
        "signprep": cache_epoch(cache, order, 1),
        VERIFIED_ONCE: cache_epoch(verified_once, order, 1),
        "signprep, 2 threads": cache_epoch(cache, order, 2),
        "blosc alone": blosc_alone,
        "blosc alone, 2 threads": blosc_in_threads,
        "DataLoader over zarr-python": zarr_epoch(cache, order[: 4 * BATCH]),
    }


def zarr_epoch(cache: Cache, order: NDArray[np.int64]) -> Epoch:
    import torch
    import zarr

    class ZarrClips(torch.utils.data.Dataset[torch.Tensor]):
        def __init__(self) -> None:
            array = zarr.open_group(cache.path, mode="r")["clips"]
            assert isinstance(array, zarr.Array)
            self.clips = array

        def __len__(self) -> int:
            return len(order)

        def __getitem__(self, place: int) -> torch.Tensor:
            return torch.from_numpy(np.asarray(self.clips[int(order[place])]))

    loader = torch.utils.data.DataLoader(ZarrClips(), batch_size=BATCH)
    return lambda: sum(len(batch) for batch in loader)


def raw_ways(folder: Path, cache: Cache, order: NDArray[np.int64]) -> tuple[dict[str, Epoch], dict[str, float]]:
    """Return the ways, and the kilobytes that a clip takes of the disk in each."""
    shape = cache.clip_spec.clip_shape
    clips = np.memmap(folder / "clips.raw", np.uint8, "w+", shape=(len(cache), *shape))
    for position in range(len(cache)):
        clips[position] = cache.read([position])[0]
    clips.flush()
    mapped = np.memmap(folder / "clips.raw", np.uint8, "r", shape=(len(cache), *shape))
    out = np.empty((BATCH, *shape), np.uint8)

    def memmap() -> int:
        for positions in batches(order):
            for place, position in enumerate(positions):
                out[place] = mapped[position]
        return len(order)

    ways: dict[str, Epoch] = {
        "signprep": cache_epoch(cache, order, 1),
        VERIFIED_ONCE: cache_epoch(open_cache(cache.path, verify="first"), order, 1),
        "signprep, 2 threads": cache_epoch(cache, order, 2),
        "np.memmap": memmap,
        "npy, a file a clip": npy_files(folder / "npy", mapped, order),
        "zarr-python": zarr_clips(cache, order),
    }
    own = kilobytes_a_clip(cache.path, len(cache))
    kilobytes = dict.fromkeys(ways, own) | {"np.memmap": mapped.nbytes / len(mapped) / 1e3}
    kilobytes["npy, a file a clip"] = kilobytes_a_clip(folder / "npy", len(cache))
    for name, make in {"litData": litdata, "MosaicML Streaming": mosaic, "WebDataset": webdataset}.items():
        store = folder / name.replace(" ", "")
        try:
            ways[name] = make(store, mapped)
            kilobytes[name] = kilobytes_a_clip(store, len(cache))
        except ImportError as error:
            print_missing(name, error)
    for name, open_same in {"zarrs": zarrs_clips, "TensorStore": tensorstore}.items():
        try:
            ways[name] = open_same(cache, order)
            kilobytes[name] = own
        except ImportError as error:
            print_missing(name, error)
    try:
        # Last: its threads do not outlive a fork, by which litData works.
        ways["Lance"] = lance(folder / "lance", mapped, order)
        kilobytes["Lance"] = kilobytes_a_clip(folder / "lance", len(cache))
    except ImportError as error:
        print_missing("Lance", error)
    return ways, kilobytes


def kilobytes_a_clip(store: Path, num_clips: int) -> float:
    return sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) / num_clips / 1e3


def print_rates(
    title: str, ways: dict[str, Epoch], num_rounds: int, kilobytes: dict[str, float], parts: tuple[str, ...] = ()
) -> dict[str, float]:
    """Print the median clips a second of each way, read by turns, after one round to warm up."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(num_rounds + 1):
        for name, epoch in ways.items():
            start = time.perf_counter()
            count = epoch()
            if number:
                rates[name].append(count / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours = medians["signprep"]
    print_table(
        [
            (title, "clips/s", "signprep / it", "KB a clip on disk"),
            *((k, f"{v:,.0f}", f"{ours / v:.2f}", f"{kilobytes[k]:,.0f}") for k, v in medians.items()),
        ]
    )
    one_thread = {name: rate for name, rate in medians.items() if "2 threads" not in name}
    bars = [
        Bar(name=k, value=v, ours=k == "signprep", part=k in parts, note=f"{kilobytes[k]:,.0f} KB")
        for k, v in one_thread.items()
    ]
    chart(f"Reading clips, {title}, one thread", "clips/s; KB a clip on disk", bars, more_is_better=True)
    return medians


def cold(paths: dict[str, Path], order: NDArray[np.int64], num_rounds: int) -> None:
    """Read an epoch after the files have been dropped from the page cache."""
    found: dict[str, list[tuple[float, float]]] = {codec: [] for codec in paths}
    for _ in range(num_rounds):
        for codec, path in paths.items():
            found[codec].append(cold_epoch(path, order))
    rates, megabytes = (
        {codec: statistics.median(values[k] for values in found[codec]) for codec in paths} for k in range(2)
    )
    print_table(
        [
            ("cold, 1 thread", "clips/s", "lz4hc / it", "MB read"),
            *((k, f"{v:,.0f}", f"{rates['lz4hc'] / v:.2f}", f"{megabytes[k]:,.0f}") for k, v in rates.items()),
        ]
    )


def cold_epoch(path: Path, order: NDArray[np.int64]) -> tuple[float, float]:
    """Return clips a second, and the megabytes that came from the disk; NaN where the system does not count them."""
    drop_from_page_cache(path)
    epoch = cache_epoch(open_cache(path), order, 1)
    before, start = megabytes_from_disk(), time.perf_counter()
    count = epoch()
    return count / (time.perf_counter() - start), megabytes_from_disk() - before


def megabytes_from_disk() -> float:
    """Return what this process has had read from storage so far, page cache hits left out."""
    counters = Path("/proc/self/io")
    if not counters.is_file():
        return float("nan")
    return next(
        int(line.split()[1]) / 1e6 for line in counters.read_text().splitlines() if line.startswith("read_bytes:")
    )


def drop_from_page_cache(root: Path) -> None:
    for path in (path for path in root.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
