"""A cache follows its data: what is the same stays, byte for byte, and whatever stops a change, another run ends it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.building import build as build_module
from signprep.cache_builder.building import encode_shard as shard_task
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.edit.compact import compact
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.layout import shard_path
from signprep.cache_builder.report.statistics import describe
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import CacheError, CacheIncompleteError, DecodeError
from tests.cache_builder.changed_data import (
    WORD1,
    WORD2,
    add_video,
    assert_same_clips_as_a_new_build,
    clips_by_segment,
    files,
    run,
    update,
)
from tests.conftest import plan_of, write_label
from tests.generated_videos import write_video


def test_when_nothing_has_changed_no_video_is_read_and_no_file_is_written(
    root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(out)
    monkeypatch.setattr(DataRoots, "content_hash", lambda *_: pytest.fail("a video was read"))
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
        build(plan_of(root, codec="zstd"), out, RunOptions(workers=1))
    assert files(out) == before
    build(plan_of(root, codec="zstd"), out, RunOptions(workers=1), overwrite=True)
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


def test_strict_stops_an_update_and_keeps_the_old_cache(root: Path, out: Path) -> None:
    before = json.loads((out / "manifest.json").read_text())["fingerprint"]
    add_video(root, "NIA_SL_WORD0003_REAL01_F", "위", 900)
    (root / "video" / "NIA_SL_WORD0003_REAL01_F.mp4").write_bytes(b"no video")
    with pytest.raises(DecodeError):
        build(plan_of(root, clips_per_shard=5), out, RunOptions(workers=1, strict=True))
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


def test_a_video_of_a_year_that_is_too_late_is_built_and_known_again(root: Path, tmp_path: Path) -> None:
    video = root / "video" / f"{WORD1}01_F.mp4"
    os.utime(video, (0, 330 * 365 * 86_400))
    out = tmp_path / "late.zarr"
    assert update(root, out).num_failed == 0
    assert update(root, out).num_reused == 12


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cache_of_an_older_version_has_clips_cut_again_that_are_cut_otherwise_now_and_no_others(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    wide, broken = root / "video" / f"{WORD1}01_F.mp4", root / "video" / f"{WORD2}01_F.mp4"
    write_video(wide, 30, first_number=900, pixel_aspect=Fraction(4, 3))
    broken.write_bytes(broken.read_bytes()[:700])
    out = tmp_path / "a.zarr"
    with monkeypatch.context() as older:
        older.setattr("signprep.cache_builder.building.plan.PREPROCESSING_VERSION", 1)
        assert update(root, out).num_failed == 1
    monkeypatch.setattr("signprep.cache_builder.building.update.OPENED_VIDEOS_A_CHUNK", 5)
    capsys.readouterr()
    report = build(plan_of(root, clips_per_shard=5), out, RunOptions(workers=workers))
    assert (report.num_clips, report.num_failed, report.num_reused, report.num_removed) == (12, 1, 11, 1)
    assert "Looking at the videos of an older version: 12/12" in capsys.readouterr().err
    assert open_cache(out).index["video"].to_pylist()[-1] == f"video/{wide.name}"
    assert update(root, out).num_reused == 12
    assert "older version" not in capsys.readouterr().err
    assert_same_clips_as_a_new_build(root, out, tmp_path)
