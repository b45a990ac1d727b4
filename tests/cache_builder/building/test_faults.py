"""What a build and a cache do when they are killed, have no room, are raced, or rot."""

import itertools
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.workers import RunOptions
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.format.layout import shard_path
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import ClipSpec
from tests.conftest import build_test_cache, plan_of, write_label
from tests.generated_videos import write_video
from tests.interrupted import Interrupter, Started
from tests.mutations.command import run_command
from tests.waiting import HANG_SECONDS, Hold, until

LONG_SPEC = ClipSpec(num_frames=16, size=128)
TINY_SPEC = ClipSpec(num_frames=2, size=16)


WORKERS = 2


ROOT = Path(__file__).parents[3]


MAIN = "from signprep.pipeline.cli import main; main()"


@pytest.fixture(scope="module")
def long_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 clips of 24 videos, which make 24 shards: there is always one to be interrupted."""
    root = tmp_path_factory.mktemp("long") / "data"
    for number in range(24):
        name = f"NIA_SL_WORD{number % 4 + 1:04d}_REAL{number // 4 + 1:02d}_F"
        write_video(root / "video" / f"{name}.mp4", 30, first_number=30 * number)
        spans = [(0.2 * k, 0.2 * k + 0.2, ("왼쪽", "오른쪽")[k % 2]) for k in range(4)]
        write_label(root / "label" / f"{name}_morpheme.json", spans, duration=1.0)
    return root


@pytest.fixture(scope="module")
def long_cache(long_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return build_test_cache(long_root, tmp_path_factory.mktemp("undisturbed") / "c.zarr", LONG_SPEC)


def command_of(data_root: Path, out: Path, spec: ClipSpec, workers: int = WORKERS) -> list[str]:
    """The command of a build in a process of its own."""
    options = ["--frames", str(spec.num_frames), "--size", str(spec.size), "--workers", str(workers)]
    command = [sys.executable, "-c", MAIN, "build-cache", "--data-root", str(data_root), "--out", str(out)]
    return command + options


def here(command: list[str]) -> tuple[int, str, str]:
    """Run a command of `command_of` in this process, whose workers are there already; return its end and its words."""
    return run_command(*command[3:])


def ends_within(process: Started, seconds: float) -> bool:
    """Wait for a build, so long at most; return True if it has ended."""
    end = time.monotonic() + seconds
    while not (has_ended := process.has_ended()) and time.monotonic() < end:
        time.sleep(0.01)
    return has_ended


def error_line(code: int, _output: str, errors: str) -> str:
    """Return the one line that a command failed with; beside it stands only how the data were read, and progress."""
    assert code == 1, errors
    lines = [line for line in re.split(r"[\r\n]+", errors) if line and not line.startswith(("Building:", "read as "))]
    assert len(lines) == 1 and lines[0].startswith("signprep: error: "), errors
    return lines[0]


def shard_stats(out: Path, cache: Cache) -> dict[int, tuple[int, int]]:
    """Return inode and time of change of each shard that is there."""
    stats = {}
    for number in range(cache.info.num_shards):
        path = out / shard_path(cache.info, number)
        if path.exists():
            stats[number] = path.stat().st_ino, path.stat().st_mtime_ns
    return stats


def complete_shards(out: Path) -> set[int]:
    return {int(path.stem) for path in out.glob(".build/[0-9]*.parquet")}


def touched_counters(out: Path) -> dict[int, int]:
    return {int(path.stem): path.stat().st_mtime_ns for path in out.glob(".build/*.progress")}


@pytest.mark.parametrize(
    ("num_kills", "seed"), [(8, 0), pytest.param(17, 1, marks=pytest.mark.slow)], ids=["8 kills", "17 kills"]
)
def test_a_build_killed_at_any_moment_goes_on_and_loses_the_shards_in_flight_only(
    with_models: Interrupter, long_root: Path, long_cache: Cache, tmp_path: Path, num_kills: int, seed: int
) -> None:
    rng = random.Random(seed)
    longest_seconds = 60.0  # that a whole build takes at most: what it takes here is found on the way
    num_killed = 0
    for number in itertools.count():
        if num_killed == num_kills:
            break
        out = tmp_path / f"{number}.zarr"
        command = command_of(long_root, out, LONG_SPEC)
        for _ in range(rng.randrange(1, 4)):
            counters, is_whole = touched_counters(out), not out.exists()
            with with_models.start(tmp_path / "signprep", command[3:], tmp_path) as process:
                until(lambda: (out / ".build").is_dir() or process.has_ended())  # noqa: B023
                started = time.monotonic()
                if ends_within(process, rng.random() * longest_seconds):
                    longest_seconds = time.monotonic() - started if is_whole else longest_seconds
                elif num_killed < num_kills:
                    process.kill_group()
                if process.wait() != -signal.SIGKILL:
                    assert process.wait() == 0, process.stderr.read()
                    break
            num_killed += 1
            complete, stats = complete_shards(out), shard_stats(out, long_cache)
            in_flight = {n for n, mtime in touched_counters(out).items() if counters.get(n) != mtime} - complete
            assert len(in_flight) <= WORKERS
            if not (out / "manifest.json").exists():
                assert complete <= stats.keys()
        before = shard_stats(out, long_cache)
        complete = before.keys() if (out / "manifest.json").exists() else complete_shards(out)
        code, _, errors = here(command)
        assert code == 0, errors
        after = shard_stats(out, long_cache)
        assert {n: before[n] for n in complete} == {n: after[n] for n in complete}
        assert open_cache(out).fingerprint == long_cache.fingerprint
        assert verify_cache(out, deep=True) == []
        shutil.rmtree(out)


def test_a_build_goes_on_while_workers_of_a_killed_one_still_run(
    long_root: Path, long_cache: Cache, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    command = command_of(long_root, out, LONG_SPEC)
    with Hold(tmp_path / "first", after=1) as first, Hold(tmp_path / "second", after=2) as second:
        for hold in (first, second):
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=hold.environment
            )
            until(hold.held, alive=lambda process=process: process.poll() is None)
            process.kill()
            process.wait(timeout=HANG_SECONDS)
    code, _, errors = here(command)
    assert code == 0, errors
    assert open_cache(out).fingerprint == long_cache.fingerprint
    assert verify_cache(out, deep=True) == []


_DIES_AT_EVERY_WRITE = """
import itertools, os, pathlib, signal, sys
from signprep.cache_builder.building.build import build
from signprep.cache_builder.building.workers import RunOptions
from tests.conftest import plan_of
data_root, folder, moment = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
plan = plan_of(data_root)
build(plan, folder / "undisturbed.zarr", RunOptions(workers=1))  # which imports what all of them need
owner, name = (os, "fsync") if moment == "before the rename" else (pathlib.Path, "replace")
for number in itertools.count():
    child = os.fork()
    if child == 0:
        write, calls = getattr(owner, name), itertools.count()
        def dying(*arguments):
            write(*arguments)
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        setattr(owner, name, dying)
        build(plan, folder / f"{number}.zarr", RunOptions(workers=1))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(number)
"""


@pytest.mark.parametrize("moment", ["before the rename", "after the rename"])
def test_a_build_killed_at_each_of_its_writes_goes_on_to_the_same_cache(
    cache: Cache, data_root: Path, tmp_path: Path, moment: str
) -> None:
    command = [sys.executable, "-c", _DIES_AT_EVERY_WRITE, str(data_root), str(tmp_path), moment]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    num_writes = int(done.stdout)
    assert num_writes >= 2 * 3 + 4
    plan = plan_of(data_root)
    for number in range(num_writes):
        out = tmp_path / f"{number}.zarr"
        build(plan, out, RunOptions(workers=1))
        assert open_cache(out).fingerprint == cache.fingerprint
        assert verify_cache(out) == [], f"killed at write {number}"


@contextmanager
def file_size_limit(num_bytes: int) -> Iterator[None]:
    """Have this process write no file beyond so many bytes while the block runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_build_that_may_write_no_further_says_where_and_goes_on_later(
    cache: Cache, data_root: Path, tmp_path: Path
) -> None:
    """With each limit the build ends elsewhere: at its metadata, its clip counter, a shard, a part, the index."""
    out, named = tmp_path / "c.zarr", []
    for limit_bytes in (0, 800, 2500, 0, 2800, 6000, 2**20):
        with file_size_limit(limit_bytes):
            code, output, errors = here(command_of(data_root, out, cache.clip_spec, workers=1))
        if code == 0:
            break
        line = error_line(code, output, errors)
        assert "File too large" in line
        named.append(line.removeprefix(f"signprep: error: {out}/").split(": cannot be written")[0])
    assert len(set(named)) >= 3 and "clips/c/0/0/0/0" in named, named
    assert open_cache(out).fingerprint == cache.fingerprint
    assert verify_cache(out) == []


def test_a_build_of_two_workers_does_not_need_the_folder_that_it_was_started_in(
    cache: Cache, data_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    command = command_of(data_root, tmp_path / "c.zarr", cache.clip_spec)
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    assert open_cache(tmp_path / "c.zarr").fingerprint == cache.fingerprint
    line = error_line(*here(command_of(data_root, Path("d.zarr"), cache.clip_spec)))
    assert line == "signprep: error: the working folder has been removed; change to one that is there"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of half a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder]).returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def tiny_cache(long_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return build_test_cache(long_root, tmp_path_factory.mktemp("tiny") / "c.zarr", TINY_SPEC)


@pytest.mark.parametrize(("kilobytes", "workers"), [(0, 1), (12, 1), (40, 1), (40, 2), (90, 1), (150, 1)])
def test_a_full_disk_is_one_line_and_the_build_goes_on_with_more_room(
    long_root: Path,
    tiny_cache: Cache,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    kilobytes: int,
    workers: int,
) -> None:
    out, ballast = small_disk / "c.zarr", small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(bytes(free - 1024 * (kilobytes + 8)))
    command = command_of(long_root, out, TINY_SPEC, workers)
    with monkeypatch.context() as patch:
        # As when somebody else fills the disk after the build has looked at it.
        for module, name in (("run", "check_space"), ("build", "check_space_left")):
            patch.setattr(f"signprep.cache_builder.building.{module}.{name}", lambda *_, **__: None)
        line = error_line(*here(command))
    assert str(out) in line and "No space left on device" in line
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    code, _, errors = here(command)
    assert code == 0, errors
    assert open_cache(out).fingerprint == tiny_cache.fingerprint
    assert verify_cache(out) == []


def test_a_second_build_is_refused_at_once_and_the_first_one_ends_well(
    long_root: Path, long_cache: Cache, tmp_path: Path
) -> None:
    out = tmp_path / "c.zarr"
    command = command_of(long_root, out, LONG_SPEC)
    with Hold(tmp_path / "hold") as hold:
        first = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=hold.environment
        )
        until(hold.held, alive=lambda: first.poll() is None)
        for more in ([], ["--overwrite"]):
            assert f"{out}: another build-cache is writing it" in error_line(*here([*command, *more]))
    _, errors = first.communicate(timeout=HANG_SECONDS)
    assert first.returncode == 0, errors
    assert open_cache(out).fingerprint == long_cache.fingerprint
    assert verify_cache(out, deep=True) == []
