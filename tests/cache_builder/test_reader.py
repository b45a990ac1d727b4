"""Opening reads and checks the labels and splits of the index; what else is needed is read when it is needed, once."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from signprep.cache_builder import open_cache, reader
from signprep.cache_builder.format.index import SCHEMA
from signprep.cache_builder.format.layout import INDEX, CacheObject
from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CacheCorruptError, CacheError
from tests.conftest import build_test_cache


@pytest.fixture
def copy(cache: Cache, tmp_path: Path) -> Path:
    """A cache of one's own, its index in row groups of five."""
    path = tmp_path / "copy.zarr"
    shutil.copytree(cache.path, path)
    pq.write_table(cache.index, path / INDEX, row_group_size=5, write_page_checksum=True)
    entry = CacheObject.of(path / INDEX)
    replace(cache.manifest, objects={**cache.manifest.objects, INDEX: entry}).write(path)
    return path


@pytest.fixture
def columns_read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Columns of each reading of all rows of an index."""
    asked: list[list[str]] = []
    whole = pq.ParquetFile.read

    def read(file: pq.ParquetFile, columns: list[str]) -> Any:
        asked.append(columns)
        return whole(file, columns)

    monkeypatch.setattr(pq.ParquetFile, "read", read)
    return asked


def test_columns_of_the_index_are_read_when_they_are_needed_and_once(copy: Path, columns_read: list[list[str]]) -> None:
    opened = open_cache(copy)
    for _ in range(2):
        opened.positions("train"), opened.labels(), opened.vocabulary
    assert columns_read == []  # they were read and checked when it was opened
    for _ in range(2):
        opened.read([0, len(opened) - 1])
    assert columns_read == [["stored_bytes", "stored_crc32c"]]
    for _ in range(2):
        assert "sampled_seconds" in opened.index.column_names
    assert columns_read[1:] == [SCHEMA.names]


def test_positions_and_labels_are_those_of_the_whole_index(copy: Path, cache: Cache) -> None:
    opened = open_cache(copy)
    rows = cache.index.to_pylist()
    for split in ("train", "val", "test"):
        assert opened.positions(split).tolist() == [row["position"] for row in rows if row["split"] == split]
    assert opened.positions().tolist() == [row["position"] for row in rows if row["status"] == "ok"]
    assert opened.labels().tolist() == [row["label"] for row in rows] and opened.labels().dtype == np.int32
    assert opened.index.equals(cache.index)


def test_every_position_is_named_from_its_own_row_group(
    copy: Path, cache: Cache, columns_read: list[list[str]]
) -> None:
    opened = open_cache(copy)
    columns_read.clear()
    assert [opened.segment_id(k) for k in range(len(opened))] == cache.index["segment_id"].to_pylist()
    assert columns_read == []
    for outside in (-1, len(opened)):
        with pytest.raises(IndexError, match=f"position {outside} is outside"):
            opened.segment_id(outside)


def test_a_damaged_clip_is_named_without_the_whole_index(copy: Path, columns_read: list[list[str]]) -> None:
    opened = open_cache(copy)
    position = len(opened) - 1
    shard = copy / reader.shard_path(opened.info, position // opened.info.clips_per_shard)
    chunk = opened.stored_chunk(position)
    data = shard.read_bytes()
    at = data.index(chunk) + len(chunk) // 2
    shard.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    again = open_cache(copy)
    columns_read.clear()
    with pytest.raises(CacheCorruptError, match=f"clip {position} .*#.*checksum") as raised:
        again.read([position])
    assert opened.segment_id(position) in str(raised.value)
    assert columns_read == [["stored_bytes", "stored_crc32c"]]


def test_an_index_that_went_bad_after_opening_is_one_clear_error(copy: Path) -> None:
    opened = open_cache(copy)
    labels = opened.labels().tolist()
    (copy / "index.parquet").write_bytes(b"not parquet")
    for use in (lambda: opened.index, lambda: opened.segment_id(0), lambda: opened.read([0])):
        with pytest.raises(CacheError, match=r"index\.parquet:? cannot be read|zarr: was changed while it was open"):
            use()
    assert opened.labels().tolist() == labels


def test_positions_that_may_mean_other_clips_by_now_are_not_given(copy: Path) -> None:
    opened = open_cache(copy)
    manifest = copy / "manifest.json"
    beside = copy / "beside"
    beside.write_bytes(manifest.read_bytes())
    beside.replace(manifest)
    for use in (lambda: opened.index, lambda: opened.segment_id(0), lambda: opened.read([0])):
        with pytest.raises(CacheError, match="was changed while it was open"):
            use()


@pytest.mark.parametrize("split", ["validation", "", "Train", "all", 0, ["train"]])
def test_a_name_that_is_no_split_is_told_the_splits(cache: Cache, split: Any) -> None:
    with pytest.raises(ValueError, match=r"split is .*; expected train, val, test, or None for all"):
        cache.positions(split)
    assert len(cache.positions("test")) == 0  # a split, but this cache has no clips in it


def test_positions_may_be_any_whole_numbers(cache: Cache) -> None:
    true_clips = cache.read(range(12))
    for positions in (
        [3, 0],
        (3, 0),
        np.array([3, 0]),
        np.array([3, 0], np.uint8),
        [np.int64(3), np.int32(0)],
        range(3, -1, -3),
        torch.tensor([3, 0]),
        pa.array([3, 0]),
        pa.chunked_array([[3], [0]]),
    ):
        for threads in (1, 2):
            assert np.array_equal(cache.read(positions, threads=threads), true_clips[[3, 0]])
    for none in ([], (), range(0), np.zeros(0, np.int64), np.zeros(0)):
        assert cache.read(none).shape == (0, *cache.clip_spec.clip_shape)
    assert np.array_equal(cache.rgb(np.int64(3)), cache.rgb(3))


@pytest.mark.parametrize(
    "positions",
    [
        *(0, np.int64(0), np.array(0), 1.0, None, True, "0", ["0"], [0.0], [1.5], [None], [[0]], np.zeros((1, 1), int)),
        *(slice(0, 2), {0, 1}, {0: 1}, iter([0]), [slice(0, 2)], [2**70], [[0], [1, 2]], b"0", np.array([0j])),
    ],
)
def test_what_are_no_positions_is_told_what_is_wanted(cache: Cache, positions: Any) -> None:
    for threads in (1, 2):
        with pytest.raises(TypeError, match=r"^positions are .*; expected a list, range or array of whole numbers"):
            cache.read(positions, threads=threads)


@pytest.mark.parametrize("mask", [[True], [True, False], np.ones(12, bool), torch.ones(12, dtype=torch.bool)])
def test_a_mask_is_told_how_to_become_positions(cache: Cache, mask: Any) -> None:
    with pytest.raises(TypeError, match=r"np\.flatnonzero\(mask\)"):
        cache.read(mask)


@pytest.mark.parametrize("position", [-1, 12, -12, 2**40])
def test_positions_outside_are_told_what_is_inside(cache: Cache, position: int) -> None:
    for read in (
        lambda: cache.read([0, position]),
        lambda: cache.read([0, position], threads=2),
        lambda: cache.rgb(position),
        lambda: cache.segment_id(position),
    ):
        with pytest.raises(IndexError, match=rf"position {position} is outside the cache's 0\.\.11"):
            read()


def test_an_out_that_does_not_fit_and_threads_that_are_none(cache: Cache) -> None:
    shape = (2, *cache.clip_spec.clip_shape)
    for out in (np.empty(shape), np.empty(shape[1:], np.uint8), np.empty((*shape, 2), np.uint8)[..., 0]):
        with pytest.raises(ValueError, match="expected C-contiguous uint8"):
            cache.read([0, 1], out=out)
    for out in ([], "out", torch.empty(shape, dtype=torch.uint8)):
        with pytest.raises(TypeError, match=r"out is .*; expected a NumPy array"):
            cache.read([0, 1], out=out)  # type: ignore[arg-type]
    for threads in (0, -1):
        with pytest.raises(ValueError, match="expected at least 1"):
            cache.read([0, 1], threads=threads)


@pytest.mark.parametrize("threads", [1, 3])
def test_some_frames_of_each_clip_are_read(cache: Cache, threads: int) -> None:
    positions, whole = [3, 1, 3, 0], cache.read([3, 1, 3, 0])
    num_frames = cache.clip_spec.num_frames
    frames = np.random.default_rng(0).integers(num_frames, size=(4, 3))
    found = cache.read(positions, threads=threads, frames=frames)
    assert np.array_equal(found, np.stack([clip[some] for clip, some in zip(whole, frames, strict=True)]))
    out = np.empty_like(found)
    assert cache.read(positions, out, threads=threads, frames=frames) is out and np.array_equal(out, found)
    assert cache.read([], frames=np.empty((0, 3), np.int64)).shape == (0, *found.shape[1:])
    with pytest.raises(ValueError, match="out is uint8"):
        cache.read(positions, np.empty_like(whole), frames=frames)
    for wrong in (frames[:2], frames[0], frames * 1.0, frames.tolist()):
        with pytest.raises(ValueError, match=r"expected an array of whole numbers, \[4, t\]"):
            cache.read(positions, frames=wrong)  # type: ignore[arg-type]
    with pytest.raises(IndexError, match=f"frames -1 to .* clips have {num_frames}"):
        cache.read(positions, frames=np.where(frames == frames[0, 0], -1, frames))


@pytest.mark.parametrize("verify", ["always", "first"])
def test_a_clip_that_was_read_before_is_verified_again_unless_once_is_enough(
    data_root: Path, tmp_path: Path, verify: str
) -> None:
    path = build_test_cache(data_root, tmp_path / "raw.zarr", codec="none").path
    opened = pickle.loads(pickle.dumps(open_cache(path, verify=verify)))
    before, _ = opened.read([0, 0])  # a shard is mapped for its second clip
    with (path / reader.shard_path(opened.info, 0)).open("r+b") as file:  # into the mapped file, as rsync --inplace
        size = before.nbytes + 4
        for place in range(2):
            file.seek(place * size)
            file.write(bytes([int(before.flat[0]) ^ 1]))
    if verify == "first":
        assert (opened.read([0])[0] != before).sum() == 1
    else:
        with pytest.raises(CacheCorruptError, match="checksum does not match"):
            opened.read([0])
    with pytest.raises(CacheCorruptError, match=r"clip 1 .*checksum does not match"):
        opened.read([1])  # nobody has seen this one before
    opened.unmap()
    with pytest.raises(CacheCorruptError, match="checksum does not match"):
        opened.read([0])


def test_another_word_for_when_to_verify_is_refused(cache: Cache) -> None:
    with pytest.raises(ValueError, match="verify is 'never'; expected always or first"):
        open_cache(cache.path, verify="never")
