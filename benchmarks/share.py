"""Push and pull of a cache beside each driver's own bulk copy of the same files, over loopback.

A cache of made-up shards (2 GB; medium: 0.3 GB) goes to an S3-compatible server (moto), to OpenSSH's sftp, and to a
folder, and comes back; beside it fsspec's `put` and `get` of all its files, as many at once. Each opens a connection of
its own, as a command does. They take turns, and each round begins with the other one; a ratio is the median of the
rounds' own. Servers and clients share this machine's cores, so where others use them too, processor seconds of client
and server together tell more: they are printed as well. S3 gets shards of two sizes: those of filmed clips (`read`) are
above 50 MiB, which s3fs asks for in parts, and `pull` does not. Then one shard changes: what travels is counted in
bytes. A push and a pull hash every byte, and look at what they read and publish; a bulk copy does neither.
"""

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks._report import (
    Bar,
    chart,
    cpu_seconds_of_all,
    figure,
    print_line,
    print_machine,
    print_missing,
    print_table,
)
from benchmarks._size import Size
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.format.index import index_table
from signprep.cache_builder.format.layout import (
    CacheInfo,
    CacheObject,
    read_info,
    read_manifest,
    shard_path,
    write_atomically,
)
from signprep.cache_builder.format.shard import shard_bytes
from signprep.cache_builder.options import Location, location_of
from signprep.cache_builder.remote.published import open_published
from signprep.cache_builder.remote.pull import fetch_metadata, pull
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.remote.storage import RemoteFolder
from signprep.cache_builder.remote.transfer import PARALLEL
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from tests.cache_builder.made_caches import PROVENANCE, row_of
from tests.cache_builder.servers import CREDENTIALS, make_bucket, s3_server, sftp_server

CLIPS_PER_SHARD = 128
S3 = "s3 (moto)"
FOLDER = "folder"
"""Is shown too, but is no driver: the kernel copies there without a program that looks at the bytes."""


def run(size: Size) -> None:
    num_shards, clip_bytes, num_rounds = size.pick(
        (4, (1_000,), 1), (6, (400_000, 463_000), 3), (40, (400_000, 463_000), 3)
    )
    print_machine(["fsspec", "s3fs", "sshfs", "moto", "blake3"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        caches = [made_cache(folder / f"cache-{each}.zarr", num_shards, each) for each in clip_bytes]
        print_line(f"{num_shards} shards; MB/s, and ours / bulk copy")
        ratios: dict[str, list[float]] = {"push": [], "pull": []}
        rows = [("", "bulk put", "push", "ratio", "bulk get", "pull", "ratio")]
        for kind, place in places(folder):
            for cache in caches if kind == S3 else caches[:1]:
                row, found = compared(cache, place, kind, folder / "work", num_rounds)
                rows.append(row)
                if kind != FOLDER:
                    for way, ratio in found.items():
                        ratios[way].append(ratio)
            changed(caches[0], place, kind)
        print_table(rows)
        for way, found_ratios in ratios.items():
            figure(f"share.{way}", min(found_ratios))


def compared(
    cache: Path, place: str, kind: str, work: Path, num_rounds: int
) -> tuple[tuple[str, ...], dict[str, float]]:
    """Return a row of the table, and what push and pull reach of the bulk copies; print what else is known."""
    sizes = [entry.num_bytes for entry in read_manifest(cache).objects.values()]
    shown, num_bytes = f"{kind}, shards of {max(sizes) / 1e6:.0f} MB", sum(sizes)
    rounds = [measured(cache, place, work, number) for number in range(num_rounds + 1)]
    counted = rounds[1:]  # the first one warms up
    rate = {name: num_bytes / 1e6 / median(each[name].seconds for each in counted) for name in WAYS}
    ratios = {}
    for ours, bulk in (("push", "put"), ("pull", "get")):
        ratios[ours] = median(each[bulk].seconds / each[ours].seconds for each in counted)
        used = median(each[bulk].cpu_seconds / each[ours].cpu_seconds for each in counted)
        if kind != FOLDER:
            print_line(f"{shown}, {ours}: processor seconds of the bulk copy / ours {used:.2f}")
        bars = [
            Bar(name=ours, value=rate[ours], ours=True),
            Bar(name=f"the driver's bulk {bulk}", value=rate[bulk]),
        ]
        chart(f"{shown}: {ours}", "MB/s", bars, more_is_better=True)
    if kind == S3:
        parts = parts_of_pull(cache, place, work, 2 * num_rounds + 1)
        told = ", ".join(f"{part} {1000 * seconds:.0f}" for part, seconds in parts.items())
        print_line(f"{shown}, ms of a pull beside its shards' way: {told}")
    put, push_rate, get, pull_rate = (f"{rate[name]:,.0f}" for name in WAYS)
    return (shown, put, push_rate, f"{ratios['push']:.2f}", get, pull_rate, f"{ratios['pull']:.2f}"), ratios


def parts_of_pull(cache: Path, place: str, work: Path, num_rounds: int) -> dict[str, float]:
    """Return the seconds of what a pull does beside fetching shards; only the first a bulk copy does as well."""
    location = location_of(f"{place}/parts")
    push(cache, location)
    found: dict[str, list[float]] = {
        "opening and the manifest": [],
        "metadata and index": [],
        "hashing by one core": [],
    }
    for number in range(num_rounds):
        started = [time.perf_counter()]
        published = open_published(location)
        started.append(time.perf_counter())
        fetch_metadata(published, work / str(number))
        started.append(time.perf_counter())
        for path, entry in published.manifest.objects.items():
            assert entry.matches(cache / path)
        started.append(time.perf_counter())
        for part, (start, end) in zip(found, pairwise(started), strict=True):
            found[part].append(end - start)
    shutil.rmtree(work)
    fs, root = opened(place)
    fs.rm(f"{root}/parts", recursive=True)
    return {part: median(values) for part, values in found.items()}


def made_cache(root: Path, num_shards: int, chunk_bytes: int) -> Path:
    """Write a cache whose clips are noise: what is in them does not matter to a copy."""
    info = CacheInfo(
        clip_spec=ClipSpec(),
        codec="none",
        vocabulary=Vocabulary(glosses=("왼쪽", "오른쪽", "위")),
        num_positions=num_shards * CLIPS_PER_SHARD,
        clips_per_shard=CLIPS_PER_SHARD,
        provenance=PROVENANCE,
    )
    objects = {}
    for number in range(num_shards):
        objects[shard_path(info, number)] = write_noise(root, info, number, chunk_bytes, seed=number)
    rows = rows_of(info, chunk_bytes)
    index: pa.Table = index_table(rows)
    write_state(root, info, index=index, objects=objects, plan_digest="made").write(root)
    return root


def rows_of(info: CacheInfo, chunk_bytes: int) -> list[dict[str, object]]:
    stored = {"stored_bytes": chunk_bytes, "sampled_seconds": [0.5] * info.clip_spec.num_frames}
    return [row_of(number, number, **stored) for number in range(info.num_positions)]


def write_noise(root: Path, info: CacheInfo, number: int, chunk_bytes: int, seed: int) -> CacheObject:
    noise = np.random.default_rng(seed).bytes(CLIPS_PER_SHARD * chunk_bytes)
    chunks = [noise[first : first + chunk_bytes] for first in range(0, len(noise), chunk_bytes)]
    data = shard_bytes(list(chunks), CLIPS_PER_SHARD)
    write_atomically(root / shard_path(info, number), data)
    return CacheObject.of(data)


def places(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the kinds of places with a URL each; servers live until the next one is asked for."""
    with s3_server() as endpoint, environment(**CREDENTIALS, AWS_ENDPOINT_URL=endpoint):
        make_bucket(endpoint, "team")
        yield S3, "s3://team"
    (folder / "sshd").mkdir()
    with ExitStack() as stack:
        try:
            url, home = stack.enter_context(sftp_server(folder / "sshd"))
        except BaseException as error:
            if type(error).__name__ != "Skipped":
                raise
            print_missing("sftp (OpenSSH)", error)
        else:
            stack.enter_context(environment(HOME=str(home)))
            yield "sftp (OpenSSH)", f"{url}{folder}/sftp"
    yield FOLDER, str(folder / "nfs")


@contextmanager
def environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class Cost:
    seconds: float
    cpu_seconds: float
    """Of this process and those that it has started."""


WAYS = ("put", "push", "get", "pull")


def measured(cache: Path, place: str, work: Path, number: int) -> dict[str, Cost]:
    """Return what bulk put, push, bulk get and pull cost in a round, and leave nothing of it there."""
    sources = sorted(str(path) for path in cache.rglob("*") if path.is_file())
    ours = location_of(f"{place}/ours-{number}")
    there, back = (
        [f"{folder}/{count}" for count in range(len(sources))] for folder in (f"bulk-{number}", work / "bulk")
    )
    fs, root = opened(place)
    fs.makedirs(f"{root}/bulk-{number}", exist_ok=True)
    (work / "bulk").mkdir(parents=True)

    def bulk(way: str) -> None:
        driver, folder = opened(place)
        away = [f"{folder}/{name}" for name in there]
        pairs = (sources, away) if way == "put" else (away, back)
        getattr(driver, way)(*pairs, batch_size=PARALLEL)

    ways: dict[str, Callable[[], object]] = {
        "put": partial(bulk, "put"),
        "push": partial(push, cache, ours),
        "get": partial(bulk, "get"),
        "pull": partial(pull, ours, work / "ours.zarr"),
    }
    costs = {}
    for name in WAYS if number % 2 else ("push", "put", "pull", "get"):
        os.sync()  # nobody waits for what another one has written
        gc.collect()  # nor cleans up after it
        before, started = cpu_seconds_of_all(), time.perf_counter()
        ways[name]()
        costs[name] = Cost(time.perf_counter() - started, cpu_seconds_of_all() - before)
    shutil.rmtree(work)
    fs.rm(f"{root}/bulk-{number}", recursive=True)
    fs.rm(f"{root}/ours-{number}", recursive=True)
    return costs


def opened(place: str) -> tuple[Any, str]:
    """Return a driver that nobody has used, and the path of a place in it."""
    import fsspec

    if place.startswith("sftp"):
        return RemoteFolder(place).driver()
    fs, root = fsspec.core.url_to_fs(place, skip_instance_cache=True)
    return fs, root


def changed(cache: Path, place: str, kind: str) -> None:
    """Push again with one shard changed, and say what travelled."""
    destination: Location = location_of(f"{place}/again")
    push(cache, destination)
    info, manifest = read_info(cache), read_manifest(cache)
    chunk_bytes = (manifest.objects[shard_path(info, 0)].num_bytes - 16 * CLIPS_PER_SHARD - 4) // CLIPS_PER_SHARD
    entry = write_noise(cache, info, 0, chunk_bytes, seed=int(time.time()))
    rows = rows_of(info, chunk_bytes)
    rows[0] |= {"gloss": "위", "label": 2}
    objects = dict(manifest.objects) | {shard_path(info, 0): entry}
    write_state(
        cache, replace(info, num_positions=len(rows)), index=index_table(rows), objects=objects, plan_digest="made"
    ).write(cache)
    report = push(cache, destination)
    print_line(f"{kind}, one shard changed: {report.num_sent} objects, {report.sent_bytes / 1e6:.1f} MB travelled")
