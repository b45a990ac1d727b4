"""Opening reads no row of the index; what is needed of it is read when it is needed, once."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from signprep.cache_builder import open_cache, reader
from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CacheCorruptError, CacheError


@pytest.fixture
def copy(cache: Cache, tmp_path: Path) -> Path:
    """A cache of one's own, its index in row groups of five."""
    path = tmp_path / "copy.zarr"
    shutil.copytree(cache.path, path)
    pq.write_table(cache.index, path / "index.parquet", row_group_size=5, write_page_checksum=True)
    return path


@pytest.fixture
def columns_read(monkeypatch: pytest.MonkeyPatch) -> list[list[str] | None]:
    """Columns of each reading of an index; None for all of them."""
    asked: list[list[str] | None] = []

    def read_table(path: Path, *, columns: list[str] | None, **options: Any) -> Any:
        asked.append(columns)
        return pq.core.read_table(path, columns=columns, **options)

    monkeypatch.setattr(reader.pq, "read_table", read_table)
    return asked


def test_columns_of_the_index_are_read_when_they_are_needed_and_once(
    copy: Path, columns_read: list[list[str] | None]
) -> None:
    opened = open_cache(copy)
    assert len(opened) and opened.vocabulary.glosses and columns_read == []
    for _ in range(2):
        opened.positions("train"), opened.labels()
    assert columns_read == [["status"], ["split"], ["label"]]
    for _ in range(2):
        assert "sampled_seconds" in opened.index.column_names
    assert columns_read == [["status"], ["split"], ["label"], None]


def test_positions_and_labels_are_those_of_the_whole_index(copy: Path, cache: Cache) -> None:
    opened = open_cache(copy)
    rows = cache.index.to_pylist()
    for split in ("train", "val", "test"):
        assert opened.positions(split).tolist() == [row["position"] for row in rows if row["split"] == split]
    assert opened.positions().tolist() == [row["position"] for row in rows if row["status"] == "ok"]
    assert opened.labels().tolist() == [row["label"] for row in rows] and opened.labels().dtype == np.int32
    assert opened.index.equals(cache.index)


def test_every_position_is_named_from_its_own_row_group(
    copy: Path, cache: Cache, columns_read: list[list[str] | None]
) -> None:
    opened = open_cache(copy)
    assert [opened.segment_id(k) for k in range(len(opened))] == cache.index["segment_id"].to_pylist()
    assert columns_read == []
    for outside in (-1, len(opened)):
        with pytest.raises(IndexError, match=f"position {outside} is outside"):
            opened.segment_id(outside)


def test_a_damaged_clip_is_named_without_the_whole_index(copy: Path, columns_read: list[list[str] | None]) -> None:
    opened = open_cache(copy)
    position = len(opened) - 1
    shard = copy / reader.shard_path(opened.info, position // opened.info.clips_per_shard)
    chunk = opened._chunk(position)
    data = shard.read_bytes()
    at = data.index(chunk.tobytes()) + len(chunk) // 2
    shard.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(CacheCorruptError, match=f"clip {position} .*#.*checksum") as raised:
        open_cache(copy).read([position])
    assert opened.segment_id(position) in str(raised.value) and columns_read == []


def test_an_index_that_went_bad_after_opening_is_one_clear_error(copy: Path) -> None:
    opened = open_cache(copy)
    (copy / "index.parquet").write_bytes(b"not parquet")
    for use in (opened.positions, opened.labels, lambda: opened.index, lambda: opened.segment_id(0)):
        with pytest.raises(CacheError, match=r"index\.parquet: cannot be read"):
            use()


def test_positions_that_may_mean_other_clips_by_now_are_not_given(copy: Path) -> None:
    opened = open_cache(copy)
    manifest = copy / "manifest.json"
    beside = copy / "beside"
    beside.write_bytes(manifest.read_bytes())
    beside.replace(manifest)
    for use in (opened.positions, opened.labels, lambda: opened.index, lambda: opened.segment_id(0)):
        with pytest.raises(CacheError, match="was changed while it was open"):
            use()
