"""Files of another state of a cache, or of another place in it, are never read as the ones that are meant."""

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.compact import compact
from signprep.cache_builder.edit.merge import merge
from signprep.cache_builder.edit.verify import repair_cache, verify_cache
from signprep.cache_builder.format.index import parquet_bytes
from signprep.cache_builder.format.layout import INDEX, MANIFEST, read_manifest, shard_path
from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.partial_pull import Selection, pull_selection
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import CacheCorruptError, CacheError
from tests.cache_builder.changed_data import WORD1, add_video, update
from tests.cache_builder.made_caches import as_older, clip_of, forget_rows, make_cache
from tests.cache_builder.servers import web_server
from tests.conftest import build_test_cache

KINDS = [(codec, age) for codec in ("lz4hc", "zstd", "none", "plain") for age in ("new", "older")]
TOLD_BY_SIZES = [kind for kind in KINDS if kind != ("none", "older")]
"""Of older caches sizes are all that is known, and clips that are not compressed all have the same."""


def made(root: Path, codec: str = "lz4hc", age: str = "new") -> Cache:
    cache = make_cache(root, range(16), codec=codec)
    return as_older(cache) if age == "older" else cache


def swap(cache: Cache, a: int, b: int) -> None:
    """Swap the files of two shards."""
    first, second = (cache.path / shard_path(cache.info, number) for number in (a, b))
    first.rename(beside := cache.path / "beside")
    second.rename(first)
    beside.rename(second)


def wrong_clips(cache: Cache) -> list[int]:
    """Return the positions that give another clip than the row means; those that are refused do not count."""
    wrong = []
    for position, digest in enumerate(cache.index["video_hash"].to_pylist()):
        try:
            if not np.array_equal(cache.read([position])[0], clip_of(int(digest, 16))):
                wrong.append(position)
        except CacheCorruptError as error:
            assert str(cache) in str(error) and f"clip {position} (" in str(error), error
    return wrong


@pytest.mark.parametrize(("codec", "age"), TOLD_BY_SIZES)
def test_swapped_shards_of_equal_count_are_refused_clip_by_clip(tmp_path: Path, codec: str, age: str) -> None:
    cache = made(tmp_path / "a.zarr", codec, age)
    swap(cache, 0, 2)
    cache = open_cache(cache.path)
    for position in (*range(4), *range(8, 12)):
        for read in (lambda k: cache.read([k]), cache.rgb, cache.stored_chunk, lambda k: cache.read([4, k], threads=2)):
            with pytest.raises(CacheCorruptError, match=rf"zarr: clip {position} \(.*; it is damaged, or of"):
                read(position)
    for position in (*range(4, 8), *range(12, 16)):
        assert cache.read([position]).any()
    assert wrong_clips(cache) == []
    assert {fault.path for fault in verify_cache(cache.path)} == {shard_path(cache.info, n) for n in (0, 2)}


def test_verify_tells_swapped_shards_where_reading_cannot(tmp_path: Path) -> None:
    cache = made(tmp_path / "a.zarr", "none", "older")
    swap(cache, 0, 2)
    assert {fault.path for fault in verify_cache(cache.path)} == {shard_path(cache.info, n) for n in (0, 2)}


@pytest.mark.parametrize(("codec", "age"), KINDS)
def test_swapped_shards_reach_no_other_cache(tmp_path: Path, codec: str, age: str) -> None:
    cache, other = made(tmp_path / "a.zarr", codec, age), make_cache(tmp_path / "b.zarr", range(16, 20), codec=codec)
    cache = forget_rows(cache, [5]) if age == "new" else as_older(forget_rows(cache, [5]))
    swap(cache, 1, 3)
    for attempt in (
        lambda: pull(cache.path, tmp_path / "mine.zarr"),
        lambda: push(cache.path, tmp_path / "theirs.zarr"),
        lambda: push(cache.path, f"memory://{tmp_path}/a.zarr"),
        lambda: merge([cache.path, other.path], tmp_path / "both.zarr"),
        lambda: compact(cache.path),
    ):
        with pytest.raises(CacheCorruptError):
            attempt()
    for name in ("mine.zarr", "theirs.zarr", "both.zarr"):
        assert not (tmp_path / name / MANIFEST).exists()
    assert len(open_cache(cache.path)) == 16
    if (codec, age) in TOLD_BY_SIZES:
        with pytest.raises(CacheCorruptError):
            pull_selection(cache.path, tmp_path / "part.zarr", Selection(splits=("val",)))


@pytest.mark.parametrize("codec", ["lz4hc", "none"])
def test_swapped_shards_behind_a_url_are_refused_whole_and_in_part(tmp_path: Path, codec: str) -> None:
    cache = made(tmp_path / "served" / "a.zarr", codec)
    swap(cache, 0, 1)
    with web_server(tmp_path / "served") as server:
        url = f"{server.url}/a.zarr"
        streamed = open_cache(url, stream=StreamOptions(folder=tmp_path / "stream"))
        for position in range(8):
            with pytest.raises(CacheError, match="not what its manifest says"):
                streamed.read([position])
        with pytest.raises(CacheCorruptError, match=r"is not what was written|is damaged|lies outside"):
            pull_selection(url, tmp_path / "part.zarr", Selection(splits=("train",)))


def test_a_streamed_shard_that_is_another_one_is_fetched_again(tmp_path: Path) -> None:
    cache = made(tmp_path / "served" / "a.zarr", "none")
    with web_server(tmp_path / "served") as server:
        streamed = open_cache(f"{server.url}/a.zarr", stream=StreamOptions(folder=tmp_path / "stream"))
        streamed.read(range(16))
        one, two = (
            tmp_path / "stream/objects" / cache.manifest.objects[shard_path(cache.info, n)].digest for n in (0, 1)
        )
        shutil.copyfile(two, one)
        assert wrong_clips(streamed) == [] and np.array_equal(streamed.read([0]), cache.read([0]))


def states(folder: Path, codec: str, age: str) -> tuple[Path, Path]:
    """Two states of one cache: clips replaced and added, as an update and a compaction make them."""
    older = make_cache(folder / "older.zarr", range(14), codec=codec)
    newer = make_cache(folder / "newer.zarr", [*range(4), *range(20, 30), *range(8, 14)], codec=codec)
    if age == "older":
        as_older(older), as_older(newer)
    return older.path, newer.path


@pytest.mark.parametrize(("codec", "age"), TOLD_BY_SIZES)
def test_a_copy_that_was_stopped_gives_the_clips_of_its_rows_or_none(tmp_path: Path, codec: str, age: str) -> None:
    draw, num_opened = random.Random(0), 0
    for source, target in itertools.permutations(states(tmp_path, codec, age)):
        names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
        orders = [names, names[::-1], *(draw.sample(names, len(names)) for _ in range(3))]
        for order in orders:
            copy = Path(shutil.copytree(target, tmp_path / "copy.zarr"))
            for name in order[:-1]:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, copy / name)
                try:
                    assert wrong_clips(open_cache(copy)) == []
                    num_opened += 1
                except CacheError as error:
                    assert str(copy) in str(error)
            shutil.rmtree(copy)
    assert num_opened


def test_a_clip_of_another_place_in_its_shard_is_refused(tmp_path: Path) -> None:
    cache = made(tmp_path / "a.zarr", "none")
    shard = cache.path / shard_path(cache.info, 0)
    data, size = shard.read_bytes(), len(cache.stored_chunk(0))
    shard.write_bytes(data[size : 2 * size] + data[:size] + data[2 * size :])
    cache = open_cache(cache.path)
    for position in range(2):
        with pytest.raises(CacheCorruptError, match="has other bytes for it than the index"):
            cache.read([position])
    assert wrong_clips(cache) == []


def test_shards_that_are_changed_while_they_are_mapped_are_noticed(tmp_path: Path) -> None:
    cache = made(tmp_path / "a.zarr", "none")
    cache.read(range(16))
    first, second = (cache.path / shard_path(cache.info, number) for number in (0, 1))
    with first.open("r+b") as file:  # in place, as rsync --inplace does
        file.write(second.read_bytes())
    assert wrong_clips(cache) == []


def test_an_update_takes_no_clip_of_another_shard_over(root: Path, out: Path, tmp_path: Path) -> None:
    cache = open_cache(out)
    last = out / shard_path(cache.info, 2)
    data = bytearray(last.read_bytes())
    data[:8] = bytes(8)
    last.write_bytes(data)
    add_video(root, f"{WORD1}09_F", "왼쪽", 90)
    with pytest.raises(CacheCorruptError, match="its bytes are not those that were written"):
        update(root, out)
    assert read_manifest(out) == cache.manifest


@pytest.mark.parametrize("age", ["new", "older"])
def test_a_repair_of_swapped_shards_makes_their_clips_again(root: Path, tmp_path: Path, age: str) -> None:
    cache = build_test_cache(root, tmp_path / "a.zarr", codec="none", clips_per_shard=5)
    if age == "older":
        cache = as_older(cache)
    true_clips = cache.read(range(12))
    cache.unmap()
    swap(cache, 0, 1)
    faults = verify_cache(cache.path)
    assert len(faults) == 2
    found = repair_cache(cache.path, faults, DataRoots.single(root))
    assert (found.num_clips, found.unrepaired) == (10, ())
    repaired = open_cache(cache.path)
    assert np.array_equal(repaired.read(range(12)), true_clips) and verify_cache(cache.path, deep=True) == []
    assert repaired.index["stored_crc32c"].slice(0, 10).null_count == 0


def test_rows_of_older_caches_get_checksums_where_their_shards_are_written_again(tmp_path: Path) -> None:
    older, other = made(tmp_path / "a.zarr", age="older"), made(tmp_path / "b.zarr", age="older")
    assert older.index["stored_crc32c"].null_count == 16
    merge([older.path, make_cache(tmp_path / "c.zarr", range(16, 20)).path], tmp_path / "both.zarr")
    pull_selection(other.path, tmp_path / "part.zarr", Selection(splits=("train",)))
    forget_rows(other, [0])
    as_older(open_cache(other.path))
    compact(other.path)
    for name, num_unknown in (("both", 0), ("part", 0), ("b", 8)):
        cache = open_cache(tmp_path / f"{name}.zarr")
        assert cache.index["stored_crc32c"].null_count == num_unknown
        assert wrong_clips(cache) == []


def test_an_index_of_another_program_is_refused_with_advice(tmp_path: Path) -> None:
    cache = made(tmp_path / "a.zarr")
    rows = cache.index.to_pylist()
    writers: list[Callable[[pa.Table], bytes]] = [
        parquet_bytes,
        lambda table: parquet_bytes(table, compression="zstd", write_page_checksum=True),
        lambda table: parquet_bytes(table.set_column(9, "label", table["label"].cast(pa.int64()))),
        lambda table: parquet_bytes(table.drop_columns(["sampled_seconds"])),
        lambda table: (cache.path / INDEX).read_bytes()[:-1],
        lambda table: b"",
    ]
    rows[0] |= {"gloss": rows[8]["gloss"], "label": rows[8]["label"]}
    rows[8], rows[9] = rows[9] | {"position": 8}, rows[8] | {"position": 9}
    changed = pa.Table.from_pylist(rows, schema=cache.index.schema)
    for number, write in enumerate(writers):
        copy = Path(shutil.copytree(cache.path, tmp_path / f"{number}.zarr"))
        (copy / INDEX).write_bytes(write(changed))
        with pytest.raises(CacheCorruptError, match=r"another program has changed it.*build-cache` brings"):
            open_cache(copy)
        with pytest.raises(CacheCorruptError, match=rf"{number}\.zarr.*is not what"):
            pull(copy, tmp_path / "mine")
        with pytest.raises(CacheCorruptError, match="another program has changed it"):
            push(copy, tmp_path / "theirs")
        assert [fault.path for fault in verify_cache(copy)] == [INDEX]
