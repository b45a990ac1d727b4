"""Pushes and pulls that are killed at any moment: the next one goes on, and no reader ever sees a broken cache."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.edit.verify import verify_cache
from signprep.cache_builder.remote.published import open_published
from signprep.cache_builder.remote.push import push
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheError
from tests.cache_builder.made_caches import make_cache
from tests.mutations.command import run_command
from tests.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[3]
MAIN = "from signprep.pipeline.cli import main; main()"
LARGE = ClipSpec(num_frames=8, size=128)
CUTS = [pytest.param(seed, marks=[pytest.mark.slow] if seed >= 2 else []) for seed in range(15)]
"""Of each direction; 30 together."""
NUM_OPENED = 50
"""Files that are opened at least, each a place to be killed at."""


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two states of a cache that differ in every shard."""
    folder = tmp_path_factory.mktemp("versions")
    old = make_cache(folder / "old.zarr", range(0, 160), clips_per_shard=4, spec=LARGE)
    new = make_cache(folder / "new.zarr", range(1000, 1160), clips_per_shard=4, spec=LARGE)
    return old.path, new.path


def killed_at(number: int, folder: Path, command: list[str], tmp_path: Path) -> None:
    """Run a command that is killed when it opens a file below a folder for the so-manieth time, if it does so often."""
    (tmp_path / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(folder=str(folder), number=number))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    program = [sys.executable, "-c", MAIN, *command]
    ended = subprocess.run(program, capture_output=True, env=environment, timeout=HANG_SECONDS)
    assert ended.returncode in (0, -signal.SIGKILL), (ended.stdout, ended.stderr)


_SITECUSTOMIZE = """
import itertools, os, signal, sys

numbers = itertools.count()


def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith({folder!r}) and next(numbers) == {number}:
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(watch)
"""


def in_the_end(command: list[str]) -> None:
    """Run a command, in this process, to a good end."""
    code, _, errors = run_command(*command)
    assert code == 0, errors


class Watcher:
    """Reads a cache again and again from another thread; notes each state that it saw, and what was wrong."""

    def __init__(self, look: Callable[[], str]) -> None:
        self.seen: set[str] = set()
        self.errors: list[str] = []
        self._look, self._stop = look, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.seen.add(self._look())
            except Exception as error:
                self.errors.append(repr(error))
            self._stop.wait(0.02)

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize("seed", CUTS)
def test_a_push_that_is_cut_goes_on(seed: int, versions: tuple[Path, Path], s3_url: str, tmp_path: Path) -> None:
    old, new = (open_cache(path) for path in versions)
    push(old.path, s3_url)
    draw, draw_object = random.Random(seed), random.Random(seed)

    def look() -> str:
        source = open_published(s3_url)
        path = draw_object.choice(sorted(source.manifest.objects))
        source.fetch(path, tmp_path / "fetched")  # compares the hash
        return source.manifest.fingerprint

    command = ["push", str(new.path), s3_url, "--overwrite", "--yes"]
    with Watcher(look) as watcher:
        killed_at(draw.randrange(NUM_OPENED), new.path, command, tmp_path)
        in_the_end(command)
    look()
    assert watcher.errors == [] and watcher.seen <= {old.fingerprint, new.fingerprint}
    assert open_published(s3_url).manifest.fingerprint == new.fingerprint
    in_the_end(["verify", s3_url])


@pytest.mark.parametrize("seed", CUTS)
def test_a_pull_that_is_cut_goes_on(seed: int, versions: tuple[Path, Path], s3_url: str, tmp_path: Path) -> None:
    old, new = (open_cache(path) for path in versions)
    out = tmp_path / "mine.zarr"
    shutil.copytree(old.path, out)
    push(new.path, s3_url)
    draw, draw_clip = random.Random(1000 + seed), random.Random(1000 + seed)

    def manifest() -> bytes | None:
        try:
            return (out / "manifest.json").read_bytes()
        except FileNotFoundError:
            return None

    def look() -> str:
        before = manifest()
        try:
            cache = open_cache(out)
            cache.read([draw_clip.randrange(len(cache))])
            return cache.fingerprint
        except (CacheError, FileNotFoundError):
            # A change takes the manifest away first and puts a new one there last.
            if before is None or manifest() != before:
                return "being changed"
            raise

    command = ["pull", s3_url, str(out), "--overwrite"]
    with Watcher(look) as watcher:
        killed_at(draw.randrange(NUM_OPENED), out, command, tmp_path)
        in_the_end(command)
    assert watcher.errors == [] and watcher.seen <= {old.fingerprint, new.fingerprint, "being changed"}
    assert open_cache(out).fingerprint == new.fingerprint and verify_cache(out, deep=True) == []
    assert not (out / ".build").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_one_line_and_the_pull_goes_on_after_it(
    small_disk: Path, versions: tuple[Path, Path], s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(versions[0], s3_url)
    command = ["pull", s3_url, str(small_disk / "mine.zarr")]
    code, _, errors = run_command(*command)
    assert code == 1 and "B are free" in errors and len(errors.splitlines()) == 1, errors
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    (small_disk / "other").write_bytes(b"\0" * (62 * 2**20))
    with monkeypatch.context() as unforeseen:
        unforeseen.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**12))
        code, _, errors = run_command(*command)
    assert code == 1 and "disk is full" in errors.lower(), errors
    (small_disk / "other").unlink()
    in_the_end(command)
    assert verify_cache(small_disk / "mine.zarr") == []
