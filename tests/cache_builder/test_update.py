"""A cache follows its data: what is the same stays, byte for byte, and whatever stops a change, another run ends it."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from click.testing import CliRunner

from signprep.cache_builder import build as build_module
from signprep.cache_builder import open_cache, shard_task
from signprep.cache_builder.build import BuildReport, build
from signprep.cache_builder.compact import compact
from signprep.cache_builder.format import shard_path
from signprep.cache_builder.inspection.describe import describe
from signprep.cache_builder.verify import verify_cache
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import CacheError, CacheIncompleteError, DecodeError
from signprep.pipeline.sources.files import DataRoots
from tests.conftest import plan_of, write_label
from tests.generated_videos import write_video

WORD1, WORD2 = "NIA_SL_WORD0001_REAL", "NIA_SL_WORD0002_REAL"


@pytest.fixture
def root(data_root: Path, tmp_path: Path) -> Path:
    """A copy of the data to change."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


@pytest.fixture
def out(root: Path, tmp_path: Path) -> Path:
    """Its cache: 12 clips in shards of 5, so that the last one is not full."""
    update(root, tmp_path / "a.zarr")
    return tmp_path / "a.zarr"


def update(root: Path, out: Path) -> BuildReport:
    return build(plan_of(root, clips_per_shard=5), out, workers=1)


def add_video(root: Path, name: str, gloss: str, first_number: int) -> None:
    write_video(root / "video" / f"{name}.mp4", 30, first_number=first_number)
    write_label(root / "label" / f"{name}_morpheme.json", [(0.2, 0.8, gloss)], duration=1.0)


def files(out: Path) -> dict[str, tuple[int, int]]:
    """Return inode and time of change of every file of a cache."""
    paths = [path for path in out.rglob("*") if path.is_file()]
    return {path.relative_to(out).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def clips_by_segment(out: Path) -> dict[str, bytes]:
    cache = open_cache(out)
    names = cache.index["segment_id"].to_pylist()
    return {names[p]: cache.read([int(p)])[0].tobytes() for p in cache.positions()}


def assert_same_clips_as_a_new_build(root: Path, out: Path, tmp_path: Path) -> None:
    update(root, tmp_path / "new.zarr")
    assert clips_by_segment(out) == clips_by_segment(tmp_path / "new.zarr")
    cache, new = open_cache(out), open_cache(tmp_path / "new.zarr")
    assert cache.index["position"].to_pylist() == list(range(len(cache)))
    glosses, labels = cache.vocabulary.glosses, cache.labels()
    assert set(glosses) == set(new.vocabulary.glosses)
    for position in cache.positions():
        assert glosses[labels[position]] == cache.index["gloss"][int(position)].as_py()
    assert verify_cache(out, deep=True) == []


def test_when_nothing_has_changed_no_video_is_read_and_no_file_is_written(
    root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(out)
    monkeypatch.setattr("signprep.cache_builder.seen.content_hash", lambda file: pytest.fail("a video was read"))
    report = update(root, out)
    assert (report.num_clips, report.num_reused, report.num_changed, report.num_removed) == (12, 12, 0, 0)
    after = files(out)
    assert after.pop(".seen.parquet") and before.pop(".seen.parquet") and after == before


def test_a_changed_label_moves_no_clip(root: Path, out: Path, tmp_path: Path) -> None:
    before = files(out)
    write_label(root / "label" / f"{WORD1}01_F_morpheme.json", [(0.2, 0.8, "위")], duration=1.0)
    report = update(root, out)
    assert (report.num_reused, report.num_changed) == (12, 1)
    after = files(out)
    assert {name: before[name] for name in before if "/c/" in name} == {
        name: after[name] for name in after if "/c/" in name
    }
    assert open_cache(out).vocabulary.glosses == ("왼쪽", "오른쪽", "위")
    assert_same_clips_as_a_new_build(root, out, tmp_path)


def test_new_videos_go_behind_and_only_the_last_shard_is_written_again(root: Path, out: Path, tmp_path: Path) -> None:
    before, order = files(out), open_cache(out).index["segment_id"].to_pylist()
    for number in range(5):
        add_video(root, f"NIA_SL_WORD000{number + 3}_REAL01_F", f"새{number}", 900 + 30 * number)
    report = update(root, out)
    assert (report.num_clips, report.num_reused) == (17, 12)
    after = files(out)
    assert {name for name in after if "/c/" in name and before.get(name) != after[name]} == {
        "clips/c/2/0/0/0",
        "clips/c/3/0/0/0",
    }
    assert open_cache(out).index["segment_id"].to_pylist()[:12] == order
    assert_same_clips_as_a_new_build(root, out, tmp_path)


def test_what_is_gone_is_removed_and_what_comes_back_is_there_again(root: Path, out: Path, tmp_path: Path) -> None:
    video = root / "video" / f"{WORD1}01_F.mp4"
    video.rename(tmp_path / "away.mp4")
    report = update(root, out)
    assert (report.num_clips, report.num_removed) == (11, 1)
    cache = open_cache(out)
    assert len(cache) == 12 and len(cache.positions()) == 11
    assert cache.index["status"].to_pylist().count("removed") == 1
    described = describe(cache)
    assert (described["clips"], described["removed"], described["failures"]) == (11, 1, {})
    told = " ".join(run("inspect", str(out))[1].split())
    assert "gone from the data. `signprep compact` gives back their bytes" in told
    assert_same_clips_as_a_new_build(root, out, tmp_path)
    (tmp_path / "away.mp4").rename(video)
    assert update(root, out).num_reused == 12
    assert len(open_cache(out).positions()) == 12


def test_a_renamed_video_is_known_by_its_content(
    root: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in [*root.glob(f"*/{WORD1}02_*")]:
        path.rename(path.with_name(path.name.replace("REAL02", "REAL05")))
    monkeypatch.setattr(shard_task, "extract_clips", lambda *_, **__: pytest.fail("a video was decoded"))
    report = update(root, out)
    assert (report.num_reused, report.num_changed, report.num_removed) == (12, 2, 0)
    monkeypatch.undo()
    assert "REAL05" in open_cache(out).index["signer"].to_pylist()
    assert_same_clips_as_a_new_build(root, out, tmp_path)


def test_a_replaced_video_and_one_that_was_broken_are_built(root: Path, tmp_path: Path) -> None:
    broken = root / "video" / f"{WORD1}01_F.mp4"
    data = broken.read_bytes()
    broken.write_bytes(data[:700])
    out = tmp_path / "a.zarr"
    assert update(root, out).num_failed == 1
    broken.write_bytes(data)
    write_video(root / "video" / f"{WORD1}01_L.mp4", 30, first_number=2000)
    report = update(root, out)
    assert (report.num_clips, report.num_failed, report.num_reused) == (12, 0, 10)
    assert_same_clips_as_a_new_build(root, out, tmp_path)


def test_a_clip_that_still_fails_is_not_tried_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "video" / f"{WORD1}01_F.mp4").write_bytes(b"no video")
    update(root, tmp_path / "a.zarr")
    monkeypatch.setattr(shard_task, "extract_clips", lambda *_, **__: pytest.fail("a video was decoded"))
    report = update(root, tmp_path / "a.zarr")
    assert report.num_failed == 1 and "does not open" in next(iter(report.failures))


def test_a_video_that_cannot_be_read_is_no_new_one_each_time_and_is_built_once_it_can(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, opened = tmp_path / "a.zarr", DataRoots.opened
    closed = f"video/{WORD1}01_F.mp4"

    @contextmanager
    def denied(roots: DataRoots, video: str) -> Iterator[Path | BinaryIO]:
        if video == closed:
            raise PermissionError(13, "Permission denied")
        with opened(roots, video) as file:
            yield file

    monkeypatch.setattr(DataRoots, "opened", denied)
    assert update(root, out).num_failed == 1
    for _ in range(2):
        report = update(root, out)
        assert (report.num_failed, report.num_removed, len(open_cache(out))) == (1, 0, 12)
    monkeypatch.undo()  # its size and date are what they were
    report = update(root, out)
    assert (report.num_clips, report.num_failed, len(open_cache(out))) == (12, 0, 13)
    assert update(root, out).num_reused == 12 and len(open_cache(out)) == 13
    assert_same_clips_as_a_new_build(root, out, tmp_path)


def test_clips_cut_in_another_way_are_refused(root: Path, out: Path) -> None:
    before = files(out)
    with pytest.raises(CacheError, match=r"cut in another way \(.* there, .* asked for\)"):
        build(plan_of(root, codec="zstd"), out, workers=1)
    assert files(out) == before
    build(plan_of(root, codec="zstd"), out, workers=1, overwrite=True)
    assert open_cache(out).info.codec == "zstd"


def test_a_stopped_update_leaves_the_old_cache_and_goes_on_later(
    root: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = clips_by_segment(out)
    for number in range(12):
        add_video(root, f"NIA_SL_WORD0{number + 10:03d}_REAL01_F", f"새{number}", 900 + 30 * number)
    built: list[int] = []
    original = build_module.build_shard

    def stopped(task: shard_task.ShardTask) -> shard_task.ShardResult:
        if len(built) == 2:
            raise KeyboardInterrupt
        built.append(task.plan.number)
        return original(task)

    monkeypatch.setattr(build_module, "build_shard", stopped)
    with pytest.raises(KeyboardInterrupt):
        update(root, out)
    assert clips_by_segment(out) == old and verify_cache(out) == []
    monkeypatch.undo()
    monkeypatch.setattr(build_module, "build_shard", lambda task: built.append(task.plan.number) or original(task))
    assert update(root, out).num_clips == 24
    assert sorted(built) == [2, 3, 4]
    assert_same_clips_as_a_new_build(root, out, tmp_path)


@pytest.mark.parametrize("num_steps", range(7))
def test_a_commit_that_was_stopped_anywhere_is_finished_by_the_next_command(
    root: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_steps: int
) -> None:
    old = clips_by_segment(out)
    for number in range(5):
        add_video(root, f"NIA_SL_WORD000{number + 3}_REAL01_F", f"새{number}", 900 + 30 * number)
    steps = 0
    original = Path.replace

    def power_cut(path: Path, target: Path) -> Path:
        nonlocal steps
        if "staged" in path.parts and ".build" not in Path(target).relative_to(out).parts:
            steps += 1
            if steps > num_steps:
                raise KeyboardInterrupt
        return original(path, target)

    monkeypatch.setattr(Path, "replace", power_cut)
    try:
        update(root, out)
    except KeyboardInterrupt:
        with pytest.raises(CacheIncompleteError):
            open_cache(out)
    monkeypatch.undo()
    update(root, out)
    assert clips_by_segment(out).items() > old.items()
    assert_same_clips_as_a_new_build(root, out, tmp_path)


def test_a_cache_without_notes_of_its_videos_compares_them_all(root: Path, out: Path) -> None:
    (out / ".seen.parquet").unlink()
    for path in (root / "video").iterdir():
        os.utime(path, (1, 1))
    assert update(root, out).num_reused == 12
    assert (out / ".seen.parquet").exists()


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 1, str(result.exception)
    return result.exit_code, result.output


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
    chunks = [bytes(cache._chunk(p)) for p in range(len(cache)) if signers[p] == "REAL02"]
    videos = [path for path in root.rglob("*REAL02*")]
    assert len(chunks) == 4
    assert run("forget", str(out), "--signer", "REAL99") == (
        1,
        f"{out}: has no signer REAL99; it has REAL01, REAL02, REAL17",
    )
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


def test_strict_stops_an_update_and_keeps_the_old_cache(root: Path, out: Path) -> None:
    before = json.loads((out / "manifest.json").read_text())["fingerprint"]
    add_video(root, "NIA_SL_WORD0003_REAL01_F", "위", 900)
    (root / "video" / "NIA_SL_WORD0003_REAL01_F.mp4").write_bytes(b"no video")
    with pytest.raises(DecodeError):
        build(plan_of(root, clips_per_shard=5), out, workers=1, strict=True)
    assert open_cache(out).fingerprint == before


def test_a_lost_shard_is_told_before_a_change_makes_its_clips_vanish(root: Path, out: Path) -> None:
    shard = out / shard_path(open_cache(out).info, 2)
    shard.rename(out.parent / "lost")
    before = files(out)
    add_video(root, f"{WORD2}03_F", "오른쪽", 900)
    with pytest.raises(CacheError, match="this shard is missing; `signprep verify CACHE --repair"):
        update(root, out)
    with pytest.raises(CacheError, match="this shard is missing"):
        compact(out, forgotten={"segment_id": [open_cache(out).segment_id(0)]})
    assert {name: stat for name, stat in files(out).items() if ".build" not in name} == before
    (out.parent / "lost").rename(shard)
    assert update(root, out).num_reused == 12 and verify_cache(out, deep=True) == []
