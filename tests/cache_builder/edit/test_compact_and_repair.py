"""What is removed from a cache for good, and what is made good again."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CacheError
from tests.cache_builder.changed_data import add_video, assert_same_clips_as_a_new_build, files, run, update
from tests.generated_videos import write_video


def test_compact_drops_what_is_gone_and_writes_no_other_shard(root: Path, out: Path, tmp_path: Path) -> None:
    order = open_cache(out).index["video"].to_pylist()
    before = files(out)
    (root / order[1]).unlink()
    update(root, out)
    size = sum(path.stat().st_size for path in (out / "clips").rglob("*") if path.is_file())
    code, text = run("compact", str(out))
    assert code == 0 and "1 clip dropped" in text and "2 shards written" in text
    assert sum(path.stat().st_size for path in (out / "clips").rglob("*") if path.is_file()) < size
    after = files(out)
    assert {name for name in before if "/c/" in name and before[name] != after.get(name)} == {
        "clips/c/0/0/0/0",
        "clips/c/2/0/0/0",
    }
    assert len(open_cache(out)) == 11
    assert_same_clips_as_a_new_build(root, out, tmp_path)
    assert update(root, out).num_reused == 11
    assert run("compact", str(out))[1].count("0 clips dropped") == 1


def test_a_forgotten_signer_is_nowhere_in_the_cache(root: Path, out: Path, tmp_path: Path) -> None:
    cache = open_cache(out)
    signers = cache.index["signer"].to_pylist()
    chunks = [cache.stored_chunk(p) for p in range(len(cache)) if signers[p] == "REAL02"]
    videos = [path for path in root.rglob("*REAL02*")]
    assert len(chunks) == 4
    assert run("forget", str(out), "--signer", "REAL99") == (
        1,
        f"{out}: has no signer REAL99; it has REAL01, REAL02, REAL17",
    )
    code, text = run("forget", str(out), "--signer", "REAL02", "--dry-run")
    assert code == 0 and "4 clips (signer REAL02) would be deleted" in text
    unasked = CliRunner().invoke(cli, ["forget", str(out), "--signer", "REAL02"], input="y\n")
    assert "Delete 4 clips (signer REAL02)" in str(unasked.exception) and "add --yes" in str(unasked.exception)
    assert len(open_cache(out)) == 12
    torn = out / "clips" / "c" / "1" / "0" / "0" / ".0.123.part"
    torn.write_bytes(b"".join(chunks))
    code, text = run("forget", str(out), "--signer", "REAL02", "--yes")
    assert code == 0 and "4 clips dropped" in text
    assert not torn.exists()
    for path in (path for path in out.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert b"REAL02" not in data, path
        assert not [chunk for chunk in chunks if chunk[16:-4] in data], path
    for path in videos:
        path.unlink()
    assert_same_clips_as_a_new_build(root, out, tmp_path)


def test_nobody_is_left_is_an_error(out: Path) -> None:
    before = files(out)
    code, text = run("forget", str(out), "--signer", "REAL01", "--signer", "REAL02", "--signer", "REAL17", "--yes")
    assert code == 1 and "no clip would be left" in text and files(out) == before


def test_repair_makes_what_is_bad_again_and_nothing_else(root: Path, out: Path) -> None:
    fingerprint = open_cache(out).fingerprint
    shards = [out / f"clips/c/{number}/0/0/0" for number in range(3)]
    data = bytearray(shards[0].read_bytes())
    data[700] ^= 8
    shards[0].write_bytes(data)
    shards[1].unlink()
    (out / "clips" / "zarr.json").write_text("{}")
    whole = shards[2].stat().st_ino
    code, text = run("verify", str(out), "--repair", "--data-root", str(root))
    assert code == 0 and "3 files repaired, 6 clips made again" in text
    assert open_cache(out).fingerprint == fingerprint and verify_cache(out, deep=True) == []
    assert shards[2].stat().st_ino == whole


def test_repair_leaves_a_shard_alone_whose_video_is_another_one(root: Path, out: Path) -> None:
    cache = open_cache(out)
    write_video(root / cache.index["video"][6].as_py(), 30, first_number=3000)
    shard = out / "clips/c/1/0/0/0"
    shard.unlink()
    code, text = run("verify", str(out), "--repair", "--data-root", str(root))
    assert code == 1 and "1 fault could not be repaired" in text
    assert not shard.exists()
    code, text = run("verify", str(out), "--repair")
    assert code == 2 and "--data-root" in text


def test_a_damaged_clip_is_not_copied_under_a_new_checksum(root: Path, out: Path) -> None:
    shard = out / "clips/c/2/0/0/0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    add_video(root, "NIA_SL_WORD0003_REAL01_F", "위", 900)
    with pytest.raises(CacheError, match="--repair"):
        update(root, out)
    cache = open_cache(out)
    assert len(cache) == 12
    np.testing.assert_array_equal(cache.positions(), np.arange(12))
