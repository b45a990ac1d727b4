"""A part of a cache is fetched as a cache of its own, for little more than its own bytes."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.layout import INDEX, METADATA, shard_path
from signprep.cache_builder.remote.partial_pull import Selection, pull_selection
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheCorruptError, CacheError
from tests.cache_builder.made_caches import GLOSSES, clip_of, make_cache
from tests.cache_builder.servers import web_server

LARGE = ClipSpec(num_frames=8, size=256)
"""Clips of some 400 KB: further apart than what is fetched for the sake of fewer requests."""


@pytest.mark.parametrize("pushed", [True, False])
def test_the_clips_of_a_split_are_a_cache_of_their_own(pushed: bool, s3_url: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(30), failed=frozenset({7}))
    if pushed:
        push(cache.path, s3_url)
    pull_selection(s3_url if pushed else cache.path, tmp_path / "val.zarr", Selection(splits=("val",)))
    val = open_cache(tmp_path / "val.zarr")
    assert val.index["video_hash"].to_pylist() == [f"{n:032x}" for n in range(3, 30, 4) if n != 7]
    assert set(val.index["split"].to_pylist()) == {"val"} and val.vocabulary == cache.vocabulary
    for position, number in enumerate(n for n in range(3, 30, 4) if n != 7):
        np.testing.assert_array_equal(val.read([position])[0], clip_of(number))
    assert verify_cache(val.path, deep=True) == []


def test_only_the_bytes_of_the_chosen_clips_travel(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "served" / "a.zarr", range(16), clips_per_shard=8, spec=LARGE)
    chosen = [n for n in range(16) if n % 4 == 1]
    with web_server(tmp_path / "served") as server:
        report = pull_selection(f"{server.url}/a.zarr", tmp_path / "one.zarr", Selection(signers=("REAL02",)))
        sent = sum(size for path, size in server.requests if "/clips/c/" in path)
    one = open_cache(tmp_path / "one.zarr")
    stored = sum(one.index["stored_bytes"].to_pylist())
    assert len(one) == len(chosen) and sent == report.sent_bytes
    assert stored < sent < 1.01 * stored < 0.4 * sum(cache.index["stored_bytes"].to_pylist())


def test_chosen_glosses_are_the_vocabulary_and_choices_are_all_to_hold(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(40))
    chosen = Selection(glosses=frozenset(GLOSSES[:2]), signers=("REAL01", "REAL03"), splits=("train",))
    pull_selection(cache.path, tmp_path / "part.zarr", chosen)
    part = open_cache(tmp_path / "part.zarr")
    assert part.vocabulary.glosses == GLOSSES[:2]
    numbers = [int(name, 16) for name in part.index["video_hash"].to_pylist()]
    assert numbers == [n for n in range(40) if n % 4 in (0, 2) and n // 4 % 3 < 2]
    assert part.labels().tolist() == [n // 4 % 3 for n in numbers]


def test_a_selection_is_fetched_again_only_when_it_or_its_source_has_changed(tmp_path: Path) -> None:
    make_cache(tmp_path / "mine.zarr", range(30))
    chosen, out = Selection(signers=("REAL01",)), tmp_path / "part.zarr"
    assert pull_selection(tmp_path / "mine.zarr", out, chosen).num_sent > 0
    assert pull_selection(tmp_path / "mine.zarr", out, chosen).num_sent == 0
    shutil.rmtree(tmp_path / "mine.zarr")
    make_cache(tmp_path / "mine.zarr", range(34))
    assert pull_selection(tmp_path / "mine.zarr", out, chosen).num_sent > 0
    assert len(open_cache(out)) == 9
    pull_selection(tmp_path / "mine.zarr", out, Selection(splits=("val",)))
    assert set(open_cache(out).index["split"].to_pylist()) == {"val"}
    assert verify_cache(out, deep=True) == []
    pull(tmp_path / "mine.zarr", out)
    assert len(open_cache(out)) == 34


def test_what_a_cut_selection_has_fetched_is_not_fetched_again(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "served" / "a.zarr", range(40))
    hidden = cache.path / shard_path(cache.info, 6)
    chosen, out = Selection(splits=("train",)), tmp_path / "part.zarr"
    with web_server(tmp_path / "served") as server:
        hidden.rename(tmp_path / "hidden")
        with pytest.raises(CacheError, match="is gone"):
            pull_selection(f"{server.url}/a.zarr", out, chosen)
        (tmp_path / "hidden").rename(hidden)
        server.requests.clear()
        pull_selection(f"{server.url}/a.zarr", out, chosen)
        fetched_again = {path for path, _ in server.requests if "/clips/c/" in path}
        assert len(fetched_again) < 8 and not any(INDEX in path for path, _ in server.requests)
    assert verify_cache(out, deep=True) == [] and len(open_cache(out)) == 30


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (Selection(splits=("test",)), "has no split test; it has train, val"),
        (Selection(signers=("REAL09",)), "has no signer REAL09; it has REAL01, REAL02"),
        (Selection(signers=("REAL04",), splits=("train",)), "no clip matches all of the filters"),
    ],
)
def test_a_selection_of_nothing_is_said_so(chosen: Selection, message: str, tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(30))
    with pytest.raises(CacheError, match=message):
        pull_selection(cache.path, tmp_path / "part.zarr", chosen)
    assert not (tmp_path / "part.zarr").exists()


def test_a_damaged_clip_is_refused(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(30))
    damaged = cache.path / shard_path(cache.info, 0)
    data = bytearray(damaged.read_bytes())
    data[10] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(CacheCorruptError, match="clip 0 is not what was written"):
        pull_selection(cache.path, tmp_path / "part.zarr", Selection(splits=("train",)))
    assert set(METADATA) and not (tmp_path / "part.zarr" / "manifest.json").exists()


def test_to_ask_what_would_travel_changes_nothing(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "served" / "a.zarr", range(40))
    hidden = cache.path / shard_path(cache.info, 6)
    chosen, out = Selection(splits=("train",)), tmp_path / "part.zarr"
    whole = pull_selection(cache.path, out, chosen, dry_run=True)
    assert whole.num_sent == whole.num_objects and not out.exists()
    with web_server(tmp_path / "served") as server:
        hidden.rename(tmp_path / "hidden")
        with pytest.raises(CacheError, match="is gone"):
            pull_selection(f"{server.url}/a.zarr", out, chosen)
        (tmp_path / "hidden").rename(hidden)
        before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
        rest = pull_selection(f"{server.url}/a.zarr", out, chosen, dry_run=True)
        assert 0 < rest.sent_bytes < whole.sent_bytes
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
        done = pull_selection(f"{server.url}/a.zarr", out, chosen)
        assert done.sent_bytes <= done.num_bytes
        assert (done.num_sent, done.num_objects) == (rest.num_sent, rest.num_objects)
        again = pull_selection(f"{server.url}/a.zarr", out, chosen)
        assert (again.num_sent, again.num_objects) == (0, rest.num_objects)
