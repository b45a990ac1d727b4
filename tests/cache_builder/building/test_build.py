import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.encode_shard import ShardResult, ShardTask
from signprep.cache_builder.building.run import estimate_build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.format.codec import CODECS
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli, main
from signprep.pipeline.clips import Clip, Span, extract_clips
from signprep.pipeline.datasets.splits import leaks
from signprep.pipeline.errors import CacheError, CacheIncompleteError, CacheVersionError, DecodeError
from tests.conftest import CLIP_SPEC, GLOSSES, build_test_cache, plan_of, write_data_root, write_label
from tests.generated_videos import write_video
from tests.waiting import HANG_SECONDS, Hold, until


def test_plain_zarr_reads_the_true_frames(cache: Cache) -> None:
    clips = zarr.open_group(cache.path, mode="r")["clips"]
    assert clips.shape == (12, 4, 96, 64) and clips.dtype == np.uint8
    assert clips.metadata.dimension_names == ("clip", "frame", "row", "column")
    assert np.array_equal(clips[:], cache.read(range(12)))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("pixels", ["yuv420p", "rgb24"])
def test_every_codec_and_pixel_layout_agrees_with_plain_zarr(
    data_root: Path, tmp_path: Path, codec: str, pixels: str
) -> None:
    spec = type(CLIP_SPEC)(num_frames=3, size=32, pixels=pixels)
    built = build_test_cache(data_root, tmp_path / "c.zarr", spec, codec=codec)
    ours = built.read(range(len(built)))
    assert ours.any()
    assert np.array_equal(zarr.open_group(built.path, mode="r")["clips"][:], ours)


def test_stored_clips_are_those_of_their_segments(cache: Cache, data_root: Path) -> None:
    for row in cache.index.to_pylist():
        span = Span(row["start_seconds"], row["end_seconds"])
        [clip] = extract_clips(data_root / row["video"], [span], CLIP_SPEC)
        assert isinstance(clip, Clip)
        assert np.array_equal(cache.read([row["position"]])[0], clip.frames)
        assert row["sampled_seconds"] == clip.sampled_seconds.tolist()


def test_the_index_opens_with_pyarrow_in_order_of_position(cache: Cache) -> None:
    index = pq.read_table(cache.path / "index.parquet")
    assert index["position"].to_pylist() == list(range(12))
    assert set(index["gloss"].to_pylist()) == set(GLOSSES)
    assert cache.vocabulary.glosses == GLOSSES
    for gloss, label in zip(index["gloss"].to_pylist(), index["label"].to_pylist(), strict=True):
        assert GLOSSES[label] == gloss


def test_validation_has_no_take_no_signer_and_no_content_of_training(cache: Cache) -> None:
    columns = [cache.index[name].cast(pa.string()).to_pylist() for name in ("split", "take", "video_hash", "signer")]
    assert set(columns[0]) == {"train", "val"}
    assert leaks(zip(*columns, strict=True)) == []
    assert all(columns[2])


def test_reading_takes_any_order_and_writes_into_the_callers_array(cache: Cache) -> None:
    everything = cache.read(range(12))
    out = np.zeros((3, *CLIP_SPEC.clip_shape), np.uint8)
    assert cache.read([7, 0, 7], out=out) is out
    assert np.array_equal(out, everything[[7, 0, 7]])
    with pytest.raises(ValueError, match="expected"):
        cache.read([1], out=out)
    with pytest.raises(IndexError):
        cache.read([12])
    assert cache.rgb(0).shape == (4, 64, 64, 3)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_cache_is_read_in_threads_and_in_other_processes(cache: Cache, method: str) -> None:
    true_clips = cache.read(range(12))
    assert np.array_equal(cache.read(list(range(12)), threads=5), true_clips)
    context = multiprocessing.get_context(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking where threads have been
        with ProcessPoolExecutor(2, mp_context=context) as processes:
            clips = list(processes.map(cache.read, [[k] for k in range(12)]))
    assert np.array_equal(np.concatenate(clips), true_clips)


def test_open_files_are_bounded(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    from signprep.cache_builder import reader

    monkeypatch.setattr(reader, "MAX_OPEN_SHARDS", 1)
    again = open_cache(cache.path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for position in [0, 11, 5, 0, 11] * 3:
        assert np.array_equal(again.read([position]), cache.read([position]))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 3


def test_the_same_data_gives_the_same_fingerprint_with_any_number_of_workers(
    cache: Cache, data_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "two.zarr"
    build(plan_of(data_root), out, RunOptions(workers=2))
    assert open_cache(out).fingerprint == cache.fingerprint


def test_a_stopped_build_goes_on_where_it_was(
    cache: Cache, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from signprep.cache_builder.building import build as module

    out = tmp_path / "c.zarr"
    plan = plan_of(data_root)
    whole = module.build_shard
    built: list[int] = []

    def stops_at_the_second(task: ShardTask) -> ShardResult:
        if len(built) == 1:
            raise KeyboardInterrupt
        built.append(task.plan.number)
        return whole(task)

    monkeypatch.setattr(module, "build_shard", stops_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        build(plan, out, RunOptions(workers=1))
    with pytest.raises(CacheIncompleteError, match="build-cache"):
        open_cache(out)
    monkeypatch.setattr(module, "build_shard", whole)
    report = build(plan, out, RunOptions(workers=1))
    assert report.num_reused == 4
    assert open_cache(out).fingerprint == cache.fingerprint
    assert build(plan, out, RunOptions(workers=1)).num_reused == 12


def test_a_second_builder_is_refused_and_a_dead_one_is_not_waited_for(data_root: Path, tmp_path: Path) -> None:
    plan, out = plan_of(data_root), tmp_path / "c.zarr"
    script = (
        "import sys; from pathlib import Path\n"
        "from signprep.cache_builder.folder.transaction import builder_lock\n"
        f"with builder_lock(Path({str(out)!r})): print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    with other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(CacheError, match="another build-cache is writing it"):
            build(plan, out, RunOptions(workers=1))
        other.kill()
    build(plan, out, RunOptions(workers=1))
    assert len(open_cache(out)) == 12


def test_ctrl_c_is_one_line_and_the_build_goes_on_later(data_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.zarr"
    command = [sys.executable, "-c", "from signprep.pipeline.cli import main; main()", "build-cache"]
    command += ["--data-root", str(data_root), "--out", str(out), "--workers", "2", "--size", "64", "--frames", "4"]
    with Hold(tmp_path / "hold") as hold:
        # A group of its own, so that workers get the signal too, as in a terminal.
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, start_new_session=True, env=hold.environment
        )
        until(hold.held, alive=lambda: process.poll() is None)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in errors and "c.zarr: stopped; the same command goes on from here" in errors
    again = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert again.returncode == 0, again.stderr
    assert len(open_cache(out).positions()) == 12


def test_failures_hold_their_position_and_their_reason(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "data")
    broken = root / "video" / "NIA_SL_WORD0001_REAL01_F.mp4"
    broken.write_bytes(broken.read_bytes()[:500])
    write_label(root / "label" / "NIA_SL_WORD0001_REAL01_L_morpheme.json", [(7.0, 8.0, "왼쪽")])
    built = build_test_cache(root, tmp_path / "c.zarr")
    failed = {row["video"]: row for row in built.index.to_pylist() if row["status"] == "failed"}
    assert set(failed) == {"video/NIA_SL_WORD0001_REAL01_F.mp4", "video/NIA_SL_WORD0001_REAL01_L.mp4"}
    assert "outside the video" in failed["video/NIA_SL_WORD0001_REAL01_L.mp4"]["error"]
    assert not any(str(tmp_path) in row["error"] for row in failed.values())
    assert len(built.positions()) == 10
    position = failed["video/NIA_SL_WORD0001_REAL01_F.mp4"]["position"]
    with pytest.raises(CacheError, match="NIA_SL_WORD0001_REAL01_F#0"):
        built.read([position])


def test_strict_stops_at_the_first_failure(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "data")
    (root / "video" / "NIA_SL_WORD0001_REAL01_F.mp4").write_bytes(b"")
    plan = plan_of(root)
    with pytest.raises(DecodeError, match="REAL01_F"):
        build(plan, tmp_path / "c.zarr", RunOptions(workers=1, strict=True))


def test_damage_in_a_finished_cache_is_an_error_never_zeros(cache: Cache, tmp_path: Path) -> None:
    copy = tmp_path / "copy.zarr"
    shutil.copytree(cache.path, copy)
    shard = copy / "clips" / "c" / "0" / "0" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(CacheError, match=r"copy\.zarr: clip 0 \(NIA_SL"):
        open_cache(copy).read([0])
    shard.unlink()
    with pytest.raises(CacheError, match="missing"):
        open_cache(copy).read([1])


def test_a_newer_format_and_other_folders_are_refused(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(CacheVersionError, match="no cache at this path"):
        open_cache(tmp_path / "gone.zarr")
    with pytest.raises(CacheVersionError, match="is no signprep cache"):
        open_cache(tmp_path)
    copy = tmp_path / "copy.zarr"
    shutil.copytree(cache.path, copy)
    document = json.loads((copy / "zarr.json").read_text())
    document["attributes"]["signprep"]["format_version"] = 99
    (copy / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(CacheVersionError, match="format 99"):
        open_cache(copy)


def run_build(data_root: Path, out: Path, *more: str):
    arguments = ["build-cache", "--data_root", str(data_root), "--out", str(out), "--frames", "2", "--size", "32"]
    return CliRunner().invoke(cli, [*arguments, "--workers", "1", *more], catch_exceptions=True)


def test_the_command_tells_what_was_built_and_what_was_not(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "데이터")
    write_video(root / "video" / "unlabelled.mp4", 10)
    (root / "label" / "NIA_SL_WORD0001_REAL01_F_morpheme.json").write_text("{")
    (root / "video" / "NIA_SL_WORD0001_REAL01_L.mp4").write_bytes(b"")
    result = run_build(root, tmp_path / "c.zarr")
    assert result.exit_code == 0, result.output
    assert "10 clips (" in result.stdout and "of 2 glosses" in result.stdout
    assert "1 clip failed:" in result.stdout and "REAL01_L.mp4: the file is empty" in result.stdout
    assert "tried 11 clips in" in result.stdout
    assert "2 problems in the data root:" in result.stdout and "unlabelled.mp4" in result.stdout
    again = run_build(root, tmp_path / "c.zarr")
    assert "11 clips stayed as they were" in again.stdout
    other = run_build(root, tmp_path / "c.zarr", "--margin-seconds", "0.1")
    assert isinstance(other.exception, CacheError) and "--overwrite" in str(other.exception)
    assert run_build(root, tmp_path / "c.zarr", "--margin-seconds", "0.1", "--overwrite").exit_code == 0


def test_a_dry_run_estimates_and_writes_nothing(cache: Cache, data_root: Path, tmp_path: Path) -> None:
    plan = plan_of(data_root)
    estimate = estimate_build(plan, tmp_path / "deep" / "c.zarr")
    true_bytes = sum(cache.index["stored_bytes"].to_pylist())
    assert estimate.num_clips == 12 and estimate.num_sampled == 8 and estimate.num_sampled_failed == 0
    assert 0.7 < estimate.stored_bytes / true_bytes < 1.4
    assert estimate.cpu_seconds > 0 and estimate.free_bytes > 0
    result = run_build(data_root, tmp_path / "c.zarr", "--dry-run")
    assert result.exit_code == 0 and "12 clips (" in result.stdout and " s of CPU" in result.stdout
    assert not list(tmp_path.iterdir())


def test_a_dry_run_names_why_clips_failed(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "데이터")
    for video in sorted((root / "video").iterdir())[1:]:
        video.write_bytes(b"")
    result = run_build(root, tmp_path / "c.zarr", "--dry-run")
    assert "7 of which failed:\n" in result.stdout and result.stdout.count("the file is empty") == 5


def test_a_disk_that_is_too_small_is_found_before_the_work(
    data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    result = run_build(data_root, tmp_path / "c.zarr")
    assert isinstance(result.exception, CacheError) and "need at least" in str(result.exception)
    assert not (tmp_path / "c.zarr").exists()


def test_a_disk_that_fills_up_is_found_before_it_is_full_and_the_build_goes_on_later(
    cache: Cache, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out = plan_of(data_root), tmp_path / "a.zarr"
    small = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("signprep.cache_builder.folder.transaction.shutil.disk_usage", lambda _: small)
    with pytest.raises(CacheError, match="the same command goes on"):
        build(plan, out, RunOptions(workers=1))
    assert len(list((out / ".build").glob("*.parquet"))) == 2  # the first shard's part, and what is known of videos
    monkeypatch.undo()
    build(plan, out, RunOptions(workers=1))
    assert open_cache(out).fingerprint == cache.fingerprint


def test_nothing_built_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    root = write_data_root(tmp_path / "data")
    for video in (root / "video").iterdir():
        video.write_bytes(b"")
    result = run_build(root, tmp_path / "c.zarr")
    assert isinstance(result.exception, CacheError)
    assert "none of the 12 clips" in str(result.exception)
    assert not (tmp_path / "c.zarr").exists()


def test_an_output_that_is_something_else_is_left_alone(data_root: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for arguments in ([], ["--overwrite"]):
        result = run_build(data_root, tmp_path / "mine", *arguments)
        assert isinstance(result.exception, CacheError) and "no signprep cache" in str(result.exception)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    file = tmp_path / "file"
    file.write_text("")
    assert "is a file" in str(run_build(data_root, file).exception)
    assert "cannot be written" in str(run_build(data_root, file / "below").exception)


def test_mistakes_are_one_line_and_exit_code_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["build-cache", "--data-root", str(tmp_path / "none"), "--out", str(tmp_path / "c.zarr")])
    assert exit_.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("signprep: error:") and "none: there is no such data root" in line
