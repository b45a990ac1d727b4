"""A cache behind a URL is read as if it were here, in bounded space, by many at once."""

import json
import multiprocessing
import os
import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_published
from signprep.cache_builder.format.index import index_table, parquet_bytes
from signprep.cache_builder.format.layout import INDEX, shard_path
from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.remote.storage import RemoteFolder
from signprep.cache_builder.remote.streaming import Prefetcher, StreamedCache, _locked
from signprep.pipeline.errors import CacheCorruptError, CacheError
from tests.cache_builder.made_caches import clip_of, make_cache, rewritten
from tests.cache_builder.servers import WebServer, web_server
from tests.waiting import until, until_time_passes


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Cache, WebServer, str]]:
    """A cache of 40 clips in 10 shards, its web server and its URL."""
    cache = make_cache(tmp_path / "served" / "a.zarr", range(40))
    with web_server(tmp_path / "served") as server:
        yield cache, server, f"{server.url}/a.zarr"


def streamed(url: str, folder: Path, num_shards: float = 100, cache: Cache | None = None) -> StreamedCache:
    """Open a URL with room for so many of a cache's largest shards."""
    largest = max(e.num_bytes for path, e in cache.manifest.objects.items() if "/c/" in path) if cache else 2**20
    opened = open_cache(url, stream=StreamOptions(folder=folder, max_bytes=int(num_shards * largest)))
    assert isinstance(opened, StreamedCache)
    return opened


def bytes_of_shards(folder: Path) -> int:
    """What the objects take, those on their way with their whole size."""
    sizes = {}
    with _locked(folder / "locks" / "room"):  # nothing takes the place of another meanwhile
        for entry in os.scandir(folder / "objects"):
            is_whole = not entry.name.startswith(".")
            with suppress(FileNotFoundError):  # what was on its way has arrived
                digest = entry.name if is_whole else entry.name.split(".")[1]
                sizes[digest] = entry.stat().st_size if is_whole else int(entry.name.split(".")[2])
    return sum(sizes.values())


def shard_requests(server: WebServer) -> list[str]:
    return [path for path, _ in server.requests if "/clips/c/" in path]


def test_every_clip_is_that_of_the_cache(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    cache, server, url = served
    opened = streamed(url, tmp_path / "stream")
    assert shard_requests(server) == [] and str(opened) == url
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(opened.read(order, threads=3), cache.read(order))
    assert opened.index.equals(cache.index) and opened.fingerprint == cache.fingerprint
    assert sorted(set(shard_requests(server))) == sorted(shard_requests(server))


def test_a_pushed_cache_is_read_from_a_bucket_and_by_others_of_its_folder(s3_url: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(40))
    push(cache.path, s3_url)
    opened = streamed(s3_url, tmp_path / "stream")
    np.testing.assert_array_equal(opened.read(range(40)), cache.read(range(40)))
    elsewhere = pickle.loads(pickle.dumps(opened))
    RemoteFolder(s3_url).delete(f"objects/{entry.hash}" for entry in cache.manifest.objects.values())
    np.testing.assert_array_equal(elsewhere.read([39])[0], clip_of(39))


def test_the_folder_keeps_its_bound_and_what_was_used_last(
    served: tuple[Cache, WebServer, str], tmp_path: Path
) -> None:
    cache, server, url = served
    opened = streamed(url, tmp_path / "stream", 3.5, cache)
    bound = opened._options.max_bytes
    for position in (0, 4, 8, 12, 8, 16):
        opened.read([position])
        assert bytes_of_shards(tmp_path / "stream") <= bound
        until_time_passes(tmp_path)  # so that the files' times tell which was used last
    server.requests.clear()
    opened.read([8])
    assert shard_requests(server) == []
    opened.read([0])
    assert len(shard_requests(server)) == 1


def test_the_bound_holds_while_many_processes_read(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    cache, server, url = served
    bound = streamed(url, tmp_path / "stream", 3.5, cache)._options.max_bytes
    context = multiprocessing.get_context("spawn")
    arguments = [(url, tmp_path / "stream", bound, seed) for seed in range(3)]
    watched, stop = [], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002) or not watched:
            watched.append(bytes_of_shards(tmp_path / "stream"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with context.Pool(3) as pool:
            assert pool.starmap(read_everything, arguments) == [True] * 3
    finally:
        stop.set()
        thread.join()
    assert max(watched) <= bound
    assert len(shard_requests(server)) >= 10


def read_everything(url: str, folder: Path, max_bytes: int, seed: int) -> bool:
    """Read all clips in an order of this process's own; whether each was right."""
    opened = open_cache(url, stream=StreamOptions(folder=folder, max_bytes=max_bytes))
    order = np.random.default_rng(seed).permutation(40)
    numbers = [int(name, 16) for name in opened.index["video_hash"].to_pylist()]
    return all(np.array_equal(opened.read([p], threads=2)[0], clip_of(numbers[p])) for p in order.tolist())


def test_processes_that_want_the_same_shard_fetch_it_once(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    _, server, url = served
    streamed(url, tmp_path / "stream")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert (
            pool.starmap(read_everything, [(url, tmp_path / "stream", 2**30, seed) for seed in range(3)]) == [True] * 3
        )
    assert len(shard_requests(server)) == 10


def is_idle(prefetcher: Prefetcher) -> bool:
    """Whether all its threads wait to be told of more: nothing else will come."""
    with prefetcher._changed:
        return len(prefetcher._changed._waiters) == len(prefetcher._threads)  # type: ignore[attr-defined]


def test_announced_shards_come_before_they_are_needed(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    cache, server, url = served
    opened = streamed(url, tmp_path / "stream", 40, cache)
    prefetcher = opened.prefetcher()
    order = np.random.default_rng(0).permutation(40)
    prefetcher.announce(order)
    until(lambda: is_idle(prefetcher))
    assert len(set(shard_requests(server))) == len(shard_requests(server)) == 10
    server.requests.clear()
    opened.read(order)
    assert shard_requests(server) == []
    prefetcher.close()


def test_no_more_is_fetched_ahead_than_a_quarter_of_the_bound(
    served: tuple[Cache, WebServer, str], tmp_path: Path
) -> None:
    cache, server, url = served
    opened = streamed(url, tmp_path / "stream", 20, cache)
    prefetcher = opened.prefetcher()
    prefetcher.announce(np.arange(40))
    until(lambda: is_idle(prefetcher))
    assert len(shard_requests(server)) == 5
    prefetcher.used(np.arange(0, 8))
    until(lambda: is_idle(prefetcher))
    assert len(shard_requests(server)) == 7
    prefetcher.close()


def test_what_a_killed_process_has_left_makes_room(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    cache, _, url = served
    opened = streamed(url, tmp_path / "stream", 2.5, cache)
    largest = opened._options.max_bytes * 2 // 5
    (tmp_path / "stream" / "objects" / f".{'0' * 32}.{2 * largest}.part").write_bytes(b"torn")
    np.testing.assert_array_equal(opened.read([0])[0], clip_of(0))
    assert bytes_of_shards(tmp_path / "stream") <= opened._options.max_bytes


def test_a_copy_that_has_rotted_is_fetched_again(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    cache, _, url = served
    opened = streamed(url, tmp_path / "stream")
    opened.read(range(40))
    digest = cache.manifest.objects[shard_path(cache.info, 0)].digest
    local = tmp_path / "stream" / "objects" / digest
    data = bytearray(local.read_bytes())
    data[50] ^= 1
    local.write_bytes(data)
    np.testing.assert_array_equal(opened.read([0])[0], clip_of(0))
    local.write_bytes(b"short")
    np.testing.assert_array_equal(opened.read([0])[0], clip_of(0))


def test_damage_on_the_server_is_never_read(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    cache, _, url = served
    opened = streamed(url, tmp_path / "stream")
    damaged = cache.path / shard_path(cache.info, 2)
    data = bytearray(damaged.read_bytes())
    data[50] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(CacheCorruptError, match="is not what its manifest says"):
        opened.read([8])


def test_a_cache_that_is_pruned_meanwhile_is_said_so(s3_url: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(40))
    push(cache.path, s3_url)
    opened = streamed(s3_url, tmp_path / "stream")
    push(make_cache(tmp_path / "other.zarr", range(100, 120)).path, s3_url, overwrite=True, prune=True)
    with pytest.raises(CacheError, match=r"is gone; the cache was changed or pruned"):
        opened.read([0])


def test_a_bound_that_shuffled_reading_would_break_is_refused(
    served: tuple[Cache, WebServer, str], tmp_path: Path
) -> None:
    cache, _, url = served
    with pytest.raises(CacheError, match="--stream-gb gives it"):
        streamed(url, tmp_path / "stream", 8, cache).require_room(40)
    streamed(url, tmp_path / "stream", 10, cache).require_room(8192)
    streamed(url, tmp_path / "stream", 9.5, cache).require_room(8)
    with pytest.raises(CacheError, match="a larger --stream-gb"):
        streamed(url, tmp_path / "stream", 0.5, cache).read([0])


def test_hostile_metadata_are_refused(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    cache, _, url = served
    manifest = json.loads((cache.path / "manifest.json").read_text())
    manifest["objects"]["../../evil"] = manifest["objects"]["index.parquet"]
    (cache.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CacheCorruptError):
        streamed(url, tmp_path / "stream")
    assert not list(tmp_path.glob("**/evil"))


@pytest.mark.parametrize("name", ["index.parquet", "zarr.json", "clips/zarr.json", "manifest.json"])
def test_metadata_that_have_rotted_here_are_fetched_again(
    served: tuple[Cache, WebServer, str], tmp_path: Path, name: str
) -> None:
    cache, _, url = served
    copy = streamed(url, tmp_path / "stream").path / name
    data = copy.read_bytes()
    for damaged in (b"", data[:-7], data[:-60] + bytes(60)):
        copy.write_bytes(damaged)
        opened = streamed(url, tmp_path / "stream")
        assert opened.index.equals(cache.index) and np.array_equal(opened.read([7]), cache.read([7]))
    assert not list(tmp_path.rglob("stream/caches/*/.*.part"))


def test_many_open_a_cache_for_the_first_time_at_once(served: tuple[Cache, WebServer, str], tmp_path: Path) -> None:
    cache, _, url = served
    with ThreadPoolExecutor(6) as threads:
        opened = list(threads.map(lambda _: streamed(url, tmp_path / "stream"), range(6)))
    for each in opened:
        assert each.index.equals(cache.index) and np.array_equal(each.read([3]), cache.read([3]))


def test_a_cache_that_contradicts_itself_is_refused_behind_its_url(
    served: tuple[Cache, WebServer, str], tmp_path: Path
) -> None:
    cache, _, url = served
    rows = cache.index.to_pylist()
    for columns in ({"label": 2}, {"label": 10**9}, {"stored_bytes": 7}, {"sampled_seconds": []}, {"split": "dev"}):
        table = index_table([rows[0] | columns, *rows[1:]])
        rewritten(cache, INDEX, parquet_bytes(table, compression="zstd", write_page_checksum=True))
        name = next(iter(columns))
        with pytest.raises(CacheCorruptError, match=rf"a\.zarr: its index\.parquet .*({name}|bytes in clips/c/0)"):
            streamed(url, tmp_path / "stream")
        [fault] = verify_published(url)[0]
        assert "a.zarr: its index.parquet" in fault.message
