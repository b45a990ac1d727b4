"""A cache travels to each kind of place and back, only what differs, and nobody sees it half-way."""

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.compact import compact
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.layout import INDEX, MANIFEST, METADATA, shard_path
from signprep.cache_builder.options import StreamOptions, location_of
from signprep.cache_builder.remote import storage
from signprep.cache_builder.remote.published import (
    BUILDING,
    OBJECTS,
    PUBLISHED,
    PublishedCache,
    StoppedError,
    at_once,
    open_published,
)
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.remote.storage import Progress, RemoteFolder
from signprep.pipeline.errors import CacheError
from tests.cache_builder.made_caches import clip_of, make_cache
from tests.cache_builder.servers import web_server
from tests.waiting import HANG_SECONDS


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A destination of the kind that the test is asked for."""
    if request.param == "folder":
        return str(tmp_path / "nfs" / "수어 a.zarr")
    return str(request.getfixturevalue(f"{request.param}_url"))


every_place = pytest.mark.parametrize("place", ["folder", "s3", "sftp"], indirect=True)


@every_place
def test_a_cache_comes_back_from_each_kind_of_place_as_it_was(place: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(30))
    sent = push(cache.path, location_of(place))
    assert sent.num_sent == sent.num_objects == len(cache.manifest.objects)
    assert sent.sent_bytes == sum(entry.num_bytes for entry in cache.manifest.objects.values())
    pull(location_of(place), tmp_path / "theirs.zarr")
    theirs = open_cache(tmp_path / "theirs.zarr")
    assert theirs.fingerprint == cache.fingerprint and verify_cache(theirs.path, deep=True) == []
    np.testing.assert_array_equal(theirs.read([29])[0], clip_of(27))
    assert not (theirs.path / ".build").exists()


@every_place
def test_only_what_changed_travels_again(place: str, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine.zarr", tmp_path / "theirs.zarr"
    make_cache(mine, range(30))
    push(mine, location_of(place))
    pull(location_of(place), theirs)
    synced = (mine / ".synced.json").read_bytes()
    shutil.rmtree(mine)
    changed = make_cache(mine, [*range(29), 33])  # a clip of the last train shard
    (mine / ".synced.json").write_bytes(synced)
    expected = {shard_path(changed.info, 5), INDEX}
    assert push(mine, location_of(place), dry_run=True).num_sent == len(expected)
    sent = push(mine, location_of(place))
    assert sent.sent_bytes == sum(changed.manifest.objects[path].num_bytes for path in expected)
    assert sent.num_sent == len(expected)
    assert pull(location_of(place), theirs) == sent
    assert open_cache(theirs).fingerprint == changed.fingerprint and verify_cache(theirs, deep=True) == []
    assert pull(location_of(place), theirs).num_sent == 0


def test_the_destination_of_a_url_holds_each_object_once_under_its_hash(s3_url: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(30))
    push(cache.path, s3_url)
    assert RemoteFolder(s3_url).sizes(OBJECTS) == {e.hash: e.num_bytes for e in cache.manifest.objects.values()}
    assert RemoteFolder(s3_url).read(PUBLISHED) == (cache.path / MANIFEST).read_bytes()


def test_pruning_deletes_what_no_version_names_any_more(s3_url: str, tmp_path: Path) -> None:
    mine = make_cache(tmp_path / "mine.zarr", range(30)).path
    push(mine, s3_url)
    smaller = make_cache(tmp_path / "smaller.zarr", range(10))
    RemoteFolder(s3_url).upload(b"of a build that counts on objects", f"{BUILDING}/part")
    report = push(smaller.path, s3_url, overwrite=True, prune=True)
    assert report.num_pruned > 0
    assert RemoteFolder(s3_url).sizes(BUILDING) == {}
    assert RemoteFolder(s3_url).sizes(OBJECTS).keys() == {e.hash for e in smaller.manifest.objects.values()}
    pull(s3_url, tmp_path / "theirs.zarr")
    assert open_cache(tmp_path / "theirs.zarr").fingerprint == smaller.fingerprint


@pytest.mark.parametrize("ranges", [True, False])
def test_a_web_server_gives_a_plain_cache_and_a_pushed_one(tmp_path: Path, ranges: bool) -> None:
    cache = make_cache(tmp_path / "served" / "a b.zarr", range(30))
    with web_server(tmp_path / "served", ranges=ranges) as server:
        pull(f"{server.url}/a b.zarr", tmp_path / "theirs.zarr")
    assert open_cache(tmp_path / "theirs.zarr").fingerprint == cache.fingerprint


def test_passing_faults_are_tried_again(tmp_path: Path) -> None:
    make_cache(tmp_path / "served" / "a.zarr", range(30))
    with web_server(tmp_path / "served") as server:
        server.broken += [503, 500, 429, 502]
        pull(f"{server.url}/a.zarr", tmp_path / "theirs.zarr")
        assert server.broken == []
    assert verify_cache(tmp_path / "theirs.zarr") == []


def test_faults_that_do_not_pass_are_not_tried_again(tmp_path: Path) -> None:
    make_cache(tmp_path / "served" / "a.zarr", range(30))
    with web_server(tmp_path / "served") as server:
        server.broken += [403, 403]
        with pytest.raises(CacheError, match="access is denied"):
            pull(f"{server.url}/a.zarr", tmp_path / "theirs.zarr")
        assert server.broken == [403]


def test_a_copy_with_work_of_its_own_is_not_overwritten(s3_url: str, tmp_path: Path) -> None:
    make_cache(tmp_path / "mine.zarr", range(30))
    make_cache(tmp_path / "other.zarr", range(20))
    push(tmp_path / "mine.zarr", s3_url)
    with pytest.raises(CacheError, match="built or changed here and is nowhere else"):
        pull(s3_url, tmp_path / "other.zarr")
    with pytest.raises(CacheError, match="does not come from"):
        push(tmp_path / "other.zarr", s3_url)
    pull(s3_url, tmp_path / "other.zarr", overwrite=True)
    assert open_cache(tmp_path / "other.zarr").fingerprint == open_published(s3_url).manifest.fingerprint


def test_check_fetches_again_what_has_rotted(s3_url: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(30))
    push(cache.path, s3_url)
    rotten = cache.path / shard_path(cache.info, 2)
    data = bytearray(rotten.read_bytes())
    data[100] ^= 1
    rotten.write_bytes(data)
    assert pull(s3_url, cache.path).num_sent == 0
    assert pull(s3_url, cache.path, check=True).num_sent == 1
    assert verify_cache(cache.path, deep=True) == []


def test_a_damaged_object_is_not_pushed(s3_url: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(30))
    (cache.path / shard_path(cache.info, 2)).write_bytes(b"rotten")
    with pytest.raises(CacheError, match="is not what was written"):
        push(cache.path, s3_url)
    with pytest.raises(CacheError, match="no finished cache"):
        pull(s3_url, tmp_path / "theirs.zarr")


def test_nothing_is_pushed_over_a_plain_cache_or_to_a_web_server(s3_url: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(30))
    RemoteFolder(s3_url).upload(b"{}", "zarr.json")
    with pytest.raises(CacheError, match="plain folder"):
        push(cache.path, s3_url)
    with pytest.raises(CacheError, match="web server"):
        push(cache.path, "http://127.0.0.1:9/a.zarr")


def test_what_a_cut_pull_has_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "served" / "a.zarr", range(40))
    last = cache.path / shard_path(cache.info, 9)
    whole = last.read_bytes()
    last.write_bytes(whole[:-1])
    with web_server(tmp_path / "served") as server:
        with pytest.raises(CacheError, match="is not what its manifest says"):
            pull(f"{server.url}/a.zarr", tmp_path / "theirs.zarr")
        fetched = list((tmp_path / "theirs.zarr" / ".build" / "fetched").iterdir())
        assert fetched and not any(path.name.startswith(".") for path in fetched)
        with pytest.raises(CacheError):
            open_cache(tmp_path / "theirs.zarr")
        last.write_bytes(whole)
        server.requests.clear()
        pull(f"{server.url}/a.zarr", tmp_path / "theirs.zarr")
        asked = [path for path, _ in server.requests if path != "/a.zarr/manifest.json"]
        assert len(asked) == len(cache.manifest.objects) - len(fetched)
    assert verify_cache(tmp_path / "theirs.zarr", deep=True) == []


@pytest.mark.parametrize("streamed", [False, True])
def test_what_comes_before_the_shards_travels_together(
    streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = make_cache(tmp_path / "served" / "a.zarr", range(30))
    all_begun, fetch = threading.Barrier(len(METADATA), timeout=HANG_SECONDS), PublishedCache.fetch

    def fetch_beside_others(self: PublishedCache, path: str, *arguments: Any) -> None:
        if path in METADATA:
            all_begun.wait()
        fetch(self, path, *arguments)

    monkeypatch.setattr(PublishedCache, "fetch", fetch_beside_others)
    with web_server(tmp_path / "served") as server:
        if streamed:
            theirs = open_cache(f"{server.url}/a.zarr", stream=StreamOptions(folder=tmp_path / "streamed"))
        else:
            pull(f"{server.url}/a.zarr", tmp_path / "theirs.zarr")
            theirs = open_cache(tmp_path / "theirs.zarr")
        assert theirs.fingerprint == cache.fingerprint


def test_one_small_object_that_fails_stops_those_that_travel_with_it() -> None:
    stopped: list[str] = []
    has_begun = threading.Event()

    def work(job: str, progress: Progress) -> None:
        if job == "fails":
            assert has_begun.wait(HANG_SECONDS)
            raise CacheError("it is gone")
        has_begun.set()
        try:
            while True:
                progress(1)
        except StoppedError:
            stopped.append(job)
            raise

    with pytest.raises(CacheError, match="it is gone"):
        at_once(["fails", "travels"], work)
    assert stopped == ["travels"]


def test_an_object_in_s3_is_asked_for_once_however_large(
    s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    cache = make_cache(tmp_path / "mine.zarr", range(30))
    push(cache.path, s3_url)
    asked, call = [], S3FileSystem._call_s3

    async def counted(self: S3FileSystem, method: str, *arguments: Any, **options: Any) -> Any:
        if method == "get_object":
            asked.append(options["Key"].rpartition("/")[2])
        return await call(self, method, *arguments, **options)

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    monkeypatch.setattr(S3FileSystem, "default_block_size", 100)  # above which s3fs would ask for parts
    pull(s3_url, tmp_path / "theirs.zarr")
    assert sorted(asked) == sorted([PUBLISHED, *(entry.hash for entry in cache.manifest.objects.values())])


@pytest.mark.parametrize("at_once_bytes", [0, 2**30])
def test_an_object_whose_way_to_s3_is_cut_is_sent_again_from_its_start(
    at_once_bytes: int, s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    cache = make_cache(tmp_path / "mine.zarr", range(30))
    cut, prepare = set(), S3FileSystem._get_s3_method_kwargs

    def cut_once(self: S3FileSystem, method: Any, *arguments: Any, **options: Any) -> Any:
        if method.__name__ == "put_object" and options["Key"] not in cut:
            cut.add(options["Key"])
            if not isinstance(options["Body"], bytes):
                options["Body"].read(100)  # some of it was on its way
            raise ConnectionResetError("cut")
        return prepare(self, method, *arguments, **options)

    monkeypatch.setattr(S3FileSystem, "_get_s3_method_kwargs", cut_once)
    monkeypatch.setattr(storage, "_AT_ONCE_BYTES", at_once_bytes)
    push(cache.path, s3_url)
    assert len(cut) == len(cache.manifest.objects) + 1
    pull(s3_url, tmp_path / "theirs.zarr")
    assert verify_cache(tmp_path / "theirs.zarr", deep=True) == []


@pytest.mark.parametrize("as_url", [False, True])
def test_a_push_to_a_folder_loses_nobodys_work_either(as_url: bool, tmp_path: Path) -> None:
    place = tmp_path / "team" / "x.zarr"
    destination = location_of(place.as_uri()) if as_url else place
    mine = make_cache(tmp_path / "mine.zarr", range(30)).path
    push(mine, destination)
    pull(destination, tmp_path / "bobs.zarr")
    newer = make_cache(tmp_path / "newer.zarr", range(34))
    pull(newer.path, mine, overwrite=True)
    push(mine, destination)
    compact(tmp_path / "bobs.zarr", forgotten={"signer": ["REAL01"]})
    for _ in range(2):
        with pytest.raises(CacheError, match="holds a cache that this copy does not come from"):
            push(tmp_path / "bobs.zarr", destination)
    assert open_cache(place).fingerprint == newer.fingerprint
    push(tmp_path / "bobs.zarr", destination, overwrite=True)
    assert open_cache(place).fingerprint == open_cache(tmp_path / "bobs.zarr").fingerprint
