"""Two hashes of each object: BLAKE2b, which every version compares, and BLAKE3, faster where it is installed."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import blake3
import numpy as np
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format import layout
from signprep.cache_builder.format.layout import INDEX, MANIFEST, CacheManifest, CacheObject, read_manifest, shard_path
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.published import open_published
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.remote.streaming import DiskCache
from signprep.pipeline.errors import CacheCorruptError, CacheError
from tests.cache_builder.made_caches import clip_of, make_cache


@contextmanager
def without_blake3() -> Iterator[None]:
    """This machine has no package blake3 meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "_known_hashes", lambda: {"hash": lambda: hashlib.blake2b(digest_size=16)})
        yield


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[50] ^= 1
    file.write_bytes(data)


def test_the_manifest_names_both_hashes_as_the_format_document_tells(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "a.zarr", range(9))
    document = json.loads((cache.path / MANIFEST).read_text())
    assert document["blake3"].keys() == document["objects"].keys()
    for path, entry in document["objects"].items():
        data = (cache.path / path).read_bytes()
        assert entry == {"num_bytes": len(data), "hash": hashlib.blake2b(data, digest_size=16).hexdigest()}
        assert document["blake3"][path] == blake3.blake3(data).hexdigest(length=16)


def test_a_cache_is_the_same_whether_it_was_written_with_the_package_or_without(tmp_path: Path) -> None:
    with_both = make_cache(tmp_path / "both.zarr", range(9))
    with without_blake3():
        plain = make_cache(tmp_path / "plain.zarr", range(9))
    assert "blake3" not in json.loads((plain.path / MANIFEST).read_text())
    assert plain.manifest == with_both.manifest and plain.fingerprint == with_both.fingerprint
    assert pull(with_both.path, tmp_path / "copy.zarr").num_sent == pull(plain.path, tmp_path / "again.zarr").num_sent
    # What one has pulled from the other is the same already: nothing travels.
    assert pull(plain.path, tmp_path / "copy.zarr").num_sent == 0


def machine(has_blake3: bool) -> AbstractContextManager[None]:
    return nullcontext() if has_blake3 else without_blake3()


@pytest.mark.parametrize("is_written_with", [True, False])
@pytest.mark.parametrize("is_read_with", [True, False])
def test_damage_is_found_whoever_has_the_package(tmp_path: Path, is_written_with: bool, is_read_with: bool) -> None:
    with machine(is_written_with):
        cache = make_cache(tmp_path / "a.zarr", range(9))
    shard = shard_path(cache.info, 1)
    with machine(is_read_with):
        pull(cache.path, tmp_path / "whole.zarr")
        assert verify_cache(tmp_path / "whole.zarr") == []
        np.testing.assert_array_equal(open_cache(tmp_path / "whole.zarr").read([4])[0], clip_of(5))
        flip(cache.path / shard)
        with pytest.raises(CacheCorruptError, match=f"{shard} is not what its manifest says"):
            pull(cache.path, tmp_path / "copy.zarr")
        with pytest.raises(CacheCorruptError, match=f"{shard}: is not what was written"):
            push(cache.path, f"memory://{tmp_path}/pushed")
        assert {fault.path for fault in verify_cache(cache.path)} == {shard}


@pytest.mark.parametrize("is_begun_with", [True, False])
def test_a_pull_that_was_cut_goes_on_where_the_package_came_or_went(tmp_path: Path, is_begun_with: bool) -> None:
    cache = make_cache(tmp_path / "a.zarr", range(9))
    last = cache.path / shard_path(cache.info, 2)
    aside = last.replace(tmp_path / "aside")
    with machine(is_begun_with), pytest.raises(CacheError, match="is gone"):
        pull(cache.path, tmp_path / "copy.zarr")
    aside.replace(last)
    with machine(not is_begun_with):
        pull(cache.path, tmp_path / "copy.zarr")
    assert read_manifest(tmp_path / "copy.zarr") == cache.manifest
    assert verify_cache(tmp_path / "copy.zarr") == []


def lying(cache: Cache, other: Cache, path: str) -> None:
    """Make a cache carry another one's shard under its own shard's name: the two hashes tell of different bytes."""
    shutil.copyfile(other.path / path, cache.path / path)
    theirs, ours = other.manifest.objects[path], cache.manifest.objects[path]
    assert theirs.num_bytes == ours.num_bytes
    objects = {**cache.manifest.objects, path: replace(ours, blake3=theirs.blake3)}
    CacheManifest(objects=objects, plan_digest="made").write(cache.path)


def test_hashes_that_contradict_each_other_are_a_fault_and_reach_no_other_cache(tmp_path: Path) -> None:
    honest = make_cache(tmp_path / "honest.zarr", range(9), codec="none")
    other = make_cache(tmp_path / "other.zarr", range(20, 29), codec="none")
    hostile = open_cache(shutil.copytree(honest.path, tmp_path / "hostile.zarr"))
    shard = shard_path(honest.info, 1)
    lying(hostile, other, shard)
    assert shard in {fault.path for fault in verify_cache(hostile.path)}
    store = DiskCache(tmp_path / "stream", 10**9)
    for cache in (hostile, honest):
        fetched = store.get(open_published(cache.path), shard)
        assert fetched is not None
    assert fetched.read_bytes() == (honest.path / shard).read_bytes()


def test_metadata_are_compared_by_both_hashes(tmp_path: Path) -> None:
    cache = make_cache(tmp_path / "a.zarr", range(9))
    for name in ("hash", "blake3"):
        wrong = replace(cache.manifest.objects[INDEX], **{name: "0" * 32})
        CacheManifest(objects={**cache.manifest.objects, INDEX: wrong}, plan_digest="made").write(cache.path)
        with pytest.raises(CacheCorruptError, match="its bytes are not those that were written"):
            open_cache(cache.path)


def test_an_object_is_compared_by_its_size_too(tmp_path: Path) -> None:
    entry, file = CacheObject.of(b"clips"), tmp_path / "object"
    for data, is_same in ((b"clips", True), (b"clip", False), (b"clipz", False), (b"", False)):
        file.write_bytes(data)
        assert entry.matches(file) is entry.matches(data) is entry.matches(file, by_all=True) is is_same
    assert not replace(entry, num_bytes=4).matches(b"clips")
