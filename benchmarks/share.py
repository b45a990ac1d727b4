"""Push and pull of a cache beside each driver's own bulk copy of the same files, over loopback.

A cache of made-up shards (2 GB; medium: 0.3 GB) goes to an S3-compatible server (moto), to OpenSSH's sftp, and to a
folder, and comes back; beside it fsspec's `put` and `get` of all its files, as many at once, in turns, medians. Servers
and clients share this machine's cores. Then one shard changes: what travels is counted in bytes. A push and a pull hash
every byte, a bulk copy none: that is most of the difference.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_missing, print_table
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
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.remote.storage import RemoteFolder
from signprep.cache_builder.remote.transfer import PARALLEL
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from tests.cache_builder.made_caches import PROVENANCE, row_of
from tests.cache_builder.servers import CREDENTIALS, make_bucket, s3_server, sftp_server

CLIPS_PER_SHARD = 128
FOLDER = "folder"
"""Is shown too, but is no driver: the kernel copies there without a program that looks at the bytes."""


def run(size: Size) -> None:
    num_shards, chunk_bytes, num_rounds = size.pick((4, 1_000, 1), (6, 400_000, 2), (40, 400_000, 3))
    print_machine(["fsspec", "s3fs", "sshfs", "moto"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = made_cache(folder / "cache.zarr", num_shards, chunk_bytes)
        num_bytes = sum(entry.num_bytes for entry in read_manifest(cache).objects.values())
        print_line(f"{num_bytes / 1e9:.2f} GB in {num_shards} shards; MB/s, and ours / bulk copy")
        sent_ratios: list[float] = []
        fetched_ratios: list[float] = []
        rows = [("", "bulk put", "push", "ratio", "bulk get", "pull", "ratio")]
        for kind, place in places(folder):
            put, sent, got, fetched = rates(cache, place, folder / "work", num_rounds)
            found = [num_bytes / 1e6 / seconds for seconds in (put, sent, got, fetched)]
            if kind != FOLDER:
                sent_ratios.append(found[1] / found[0])
                fetched_ratios.append(found[3] / found[2])
            chart(
                f"{kind}: push",
                "MB/s",
                [Bar(name="push", value=found[1], ours=True), Bar(name="the driver's bulk put", value=found[0])],
                more_is_better=True,
            )
            chart(
                f"{kind}: pull",
                "MB/s",
                [Bar(name="pull", value=found[3], ours=True), Bar(name="the driver's bulk get", value=found[2])],
                more_is_better=True,
            )
            ratios = [f"{found[1] / found[0]:.2f}", f"{found[3] / found[2]:.2f}"]
            shown = [f"{rate:,.0f}" for rate in found]
            rows.append((kind, *shown[:2], ratios[0], *shown[2:], ratios[1]))
            changed(cache, place, kind)
        print_table(rows)
        figure("share.push", min(sent_ratios))
        figure("share.pull", min(fetched_ratios))


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
        yield "s3 (moto)", "s3://team"
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


def rates(cache: Path, place: str, work: Path, num_rounds: int) -> tuple[float, float, float, float]:
    """Return seconds of bulk put, push, bulk get and pull, medians of rounds after one that does not count."""
    import fsspec

    if place.startswith("sftp"):
        fs, root = RemoteFolder(place).driver()
    else:
        fs, root = fsspec.core.url_to_fs(place)
    found: dict[str, list[float]] = {}
    for number in range(num_rounds + 1):
        bulk, ours = f"{root}/bulk-{number}", location_of(f"{place}/ours-{number}")
        sources = sorted(str(path) for path in cache.rglob("*") if path.is_file())
        there = [f"{bulk}/{count}" for count in range(len(sources))]
        back = [f"{work}/bulk/{count}" for count in range(len(sources))]
        ways: dict[str, Callable[[], object]] = {
            "put": partial(fs.put, sources, there, batch_size=PARALLEL),
            "push": partial(push, cache, ours),
            "get": partial(fs.get, there, back, batch_size=PARALLEL),
            "pull": partial(pull, ours, work / "ours.zarr"),
        }
        (work / "bulk").mkdir(parents=True)
        fs.makedirs(bulk, exist_ok=True)
        for name, way in ways.items():
            os.sync()  # nobody waits for what another one has written
            started = time.perf_counter()
            way()
            if number or num_rounds == 1:
                found.setdefault(name, []).append(time.perf_counter() - started)
        shutil.rmtree(work)
        if number < num_rounds:
            fs.rm(bulk, recursive=True)
            fs.rm(f"{root}/ours-{number}", recursive=True)
    put, sent, got, fetched = (statistics.median(found[name]) for name in ("put", "push", "get", "pull"))
    return put, sent, got, fetched


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
