import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.layout import CacheObject, read_manifest
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CacheCorruptError, CacheError, CacheIncompleteError
from tests.conftest import GLOSSES, build_test_cache, write_data_root


@pytest.fixture
def copy(cache: Cache, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cache.path, tmp_path / "copy.zarr"))


def test_a_good_cache_has_no_faults(cache: Cache) -> None:
    assert verify_cache(cache.path) == verify_cache(cache.path, deep=True) == []
    result = CliRunner().invoke(cli, ["verify", str(cache.path), "--deep"], catch_exceptions=False)
    assert result.exit_code == 0 and "files are as they were written" in result.stdout


def test_every_flipped_truncated_and_deleted_object_is_found(cache: Cache, tmp_path: Path) -> None:
    rng = random.Random(0)
    names = sorted(cache.manifest.objects)
    for number in range(60):
        root = Path(shutil.copytree(cache.path, tmp_path / f"{number}.zarr"))
        name = names[number % len(names)]
        data = bytearray((root / name).read_bytes())
        match number % 3:
            case 0:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                (root / name).write_bytes(data)
            case 1:
                (root / name).write_bytes(data[: rng.randrange(len(data))])
            case 2:
                (root / name).unlink()
        try:
            faults = verify_cache(root)
        except CacheError as error:
            assert str(root) in str(error)
        else:
            assert [fault.path for fault in faults] == [name]


def test_the_reader_finds_every_damaged_clip_it_touches(cache: Cache, copy: Path) -> None:
    rng = random.Random(1)
    true_clips = cache.read(range(12))
    shards = [name for name in cache.manifest.objects if name.startswith("clips/c/")]
    found = 0
    for _ in range(40):
        name = rng.choice(shards)
        whole = (copy / name).read_bytes()
        data = bytearray(whole)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        (copy / name).write_bytes(data)
        damaged = open_cache(copy)
        for position in range(12):
            try:
                clip = damaged.read([position])[0]
            except CacheCorruptError:
                found += 1
            else:
                assert (clip == true_clips[position]).all()
        (copy / name).write_bytes(whole)
    assert found >= 40


def test_strange_files_and_names_outside_are_faults(copy: Path) -> None:
    (copy / "clips" / "c" / "9").mkdir()
    (copy / "clips" / "c" / "9" / "extra").write_text("x")
    manifest = read_manifest(copy)
    objects = {**manifest.objects, "../outside": CacheObject(num_bytes=1, hash="0")}
    (copy / "manifest.json").write_text(replace(manifest, objects=objects).to_json())
    messages = [fault.message for fault in verify_cache(copy)]
    assert any("extra: is not in the manifest" in message for message in messages)
    assert any("outside the cache" in message for message in messages)
    result = CliRunner().invoke(cli, ["verify", str(copy)])
    assert isinstance(result.exception, CacheCorruptError) and "faults" in str(result.exception)


def test_an_unfinished_cache_says_how_to_finish_it(copy: Path) -> None:
    (copy / "manifest.json").unlink()
    with pytest.raises(CacheIncompleteError, match="build-cache"):
        verify_cache(copy)


def test_inspect_tells_what_is_there_and_what_failed(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "data")
    (root / "video" / "NIA_SL_WORD0001_REAL01_F.mp4").write_bytes(b"")
    built = build_test_cache(root, tmp_path / "c.zarr")
    result = CliRunner().invoke(cli, ["inspect", str(built.path), "--json"], catch_exceptions=False)
    document = json.loads(result.stdout)
    assert (document["clips"], document["positions"], document["classes"]) == (11, 12, 2)
    assert document["by"]["gloss"] == {"오른쪽": 6, "왼쪽": 5}
    assert document["by"]["view"] == {"L": 6, "F": 5}
    assert sum(document["failures"].values()) == 1
    assert document["ratio_to_raw_rgb"] == pytest.approx(document["stored_bytes"] / (11 * 4 * 64 * 64 * 3))
    text = CliRunner().invoke(cli, ["inspect", str(built.path)], catch_exceptions=False).stdout
    told = (*GLOSSES, "REAL17", "fingerprint", "1 clip could not be decoded", built.fingerprint)
    assert all(word in text for word in told)


def test_what_nothing_else_tells_is_not_made_up_by_a_repair(cache: Cache, data_root: Path, copy: Path) -> None:
    def repaired() -> Result:
        return CliRunner().invoke(cli, ["verify", str(copy), "--repair", "--data-root", str(data_root)])

    (copy / "notes.txt").write_text("")
    assert "is none of the cache's own files" in repaired().output
    (copy / "notes.txt").unlink()
    index = (copy / "index.parquet").read_bytes()
    (copy / "index.parquet").write_bytes(index[:-9])
    assert "nothing else tells what it held; take it from another copy" in str(repaired().exception)
    (copy / "index.parquet").write_bytes(index)
    assert repaired().exit_code == 0 and open_cache(copy).fingerprint == cache.fingerprint
