"""Merges that are stopped, or cannot be done."""

import shutil
from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit import merge as merge_module
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.layout import shard_path
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheCorruptError, CacheError, CacheIncompleteError
from tests.cache_builder.edit.merging import merged, run
from tests.cache_builder.made_caches import make_cache, rewrite_rows


def stop_after(monkeypatch: pytest.MonkeyPatch, num_shards: int) -> None:
    """Have the merge be killed when it has written so many shards."""
    write = merge_module.write_atomically
    written: list[Path] = []

    def write_some(path: Path, data: bytes) -> None:
        if len(written) == num_shards:
            raise KeyboardInterrupt
        written.append(path)
        write(path, data)

    monkeypatch.setattr(merge_module, "write_atomically", write_some)


def test_a_merge_that_was_stopped_is_no_cache_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(30)), make_cache(tmp_path / "b.zarr", range(20, 50))
    whole, _ = merged(tmp_path / "whole.zarr", a, b)
    out = tmp_path / "c.zarr"
    with monkeypatch.context() as patched:
        stop_after(patched, 5)
        code, text = run(a.path, b.path, "--out", out)
    assert code == 1 and text == f"{out}: stopped; the same command goes on from here"
    with pytest.raises(CacheIncompleteError, match="merge"):
        open_cache(out)
    with pytest.raises(CacheError, match="other data or options"):
        merged(out, b, a)
    before = {path: path.stat().st_ino for path in (out / "clips" / "c").rglob("*") if path.is_file()}
    assert len(before) == 5
    assert run(a.path, b.path, "--out", out)[0] == 0
    assert {path: path.stat().st_ino for path in before} == before
    assert open_cache(out).fingerprint == whole.fingerprint and verify_cache(out, deep=True) == []


def test_a_damaged_clip_is_named_and_nothing_is_finished(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)), make_cache(tmp_path / "b.zarr", range(8, 16))
    shard = b.path / shard_path(b.info, 0)
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CacheCorruptError, match=r"b\.zarr: clip 0 \(NIA_SL_WORD0003_REAL01_F#0\): its checksum"):
        merged(tmp_path / "c.zarr", a, b)
    with pytest.raises(CacheIncompleteError):
        open_cache(tmp_path / "c.zarr")
    shard.unlink()
    with pytest.raises(CacheCorruptError, match="this shard is missing"):
        merged(tmp_path / "c.zarr", a, b)


def test_a_clip_that_is_not_what_the_index_says_is_refused(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)), make_cache(tmp_path / "b.zarr", range(8, 16))
    b = rewrite_rows(b, {2: {"stored_bytes": 77}})
    with pytest.raises(CacheCorruptError, match=r"b\.zarr: its index\.parquet tells of \d+ bytes in clips/c/0/0/0/0"):
        merged(tmp_path / "c.zarr", a, b)


def test_a_disk_that_is_too_small_is_found_before_the_first_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)), make_cache(tmp_path / "b.zarr", range(8, 16))
    small = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("signprep.cache_builder.folder.transaction.shutil.disk_usage", lambda _: small)
    with pytest.raises(CacheError, match=r"0\.0 kB are free"):
        merged(tmp_path / "c.zarr", a, b)
    assert not list((tmp_path / "c.zarr").glob("clips/c/*"))


def test_mistakes_are_one_clear_line_and_touch_nothing(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)).path, make_cache(tmp_path / "b.zarr", range(8, 16)).path
    other = make_cache(tmp_path / "other.zarr", range(4), spec=ClipSpec(num_frames=8, size=32), codec="zstd").path
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "link.zarr").symlink_to(a)
    out = tmp_path / "c.zarr"
    mistakes: dict[str, tuple[Path, ...]] = {
        "there is no cache at this path": (a, tmp_path / "nowhere", out),
        "is given twice": (a, tmp_path / "link.zarr", out),
        "lies in one of the caches": (a, b, b),
        f"{a / 'sub.zarr'}: lies in": (a, b, a / "sub.zarr"),
        "num_frames is 4 in the first, 8 in the second; codec is 'lz4hc' in the first, 'zstd'": (a, other, out),
        "is a file; a cache is a folder": (a, b, tmp_path / "file"),
        "holds files that are no signprep cache": (a, b, tmp_path / "full"),
        "is a cache already": (a, b, other),
    }
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for message, (first, second, target) in mistakes.items():
        code, text = run(first, second, "--out", target)
        assert code == 1 and message in text and "\n" not in text, (message, text)
    assert run(a, "--out", out)[0] == run(a, b, "--out", out, "--validation-fraction", "0.3")[0] == 2
    assert run(a, b, "--out", out, "--split-by", "signer", "--validation-fraction", "3")[0] == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_overwrite_replaces_what_is_there(tmp_path: Path) -> None:
    a, b = make_cache(tmp_path / "a.zarr", range(8)), make_cache(tmp_path / "b.zarr", range(8, 16))
    old = make_cache(tmp_path / "old.zarr", range(40, 90))
    assert run(a.path, b.path, "--out", old.path, "--overwrite")[0] == 0
    assert len(open_cache(old.path)) == 16 and verify_cache(old.path, deep=True) == []
