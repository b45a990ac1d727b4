"""Opening reads and checks the labels and splits of the index; what else is needed is read when it is needed, once."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from signprep.cache_builder import open_cache, reader
from signprep.cache_builder.format.index import SCHEMA
from signprep.cache_builder.format.layout import INDEX, CacheObject
from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CacheCorruptError, CacheError


@pytest.fixture
def copy(cache: Cache, tmp_path: Path) -> Path:
    """A cache of one's own, its index in row groups of five."""
    path = tmp_path / "copy.zarr"
    shutil.copytree(cache.path, path)
    pq.write_table(cache.index, path / INDEX, row_group_size=5, write_page_checksum=True)
    entry = CacheObject.of_file(path / INDEX)
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
    chunk = opened._chunk(position)
    data = shard.read_bytes()
    at = data.index(chunk.tobytes()) + len(chunk) // 2
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
        with pytest.raises(CacheError, match=r"index\.parquet: cannot be read"):
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
