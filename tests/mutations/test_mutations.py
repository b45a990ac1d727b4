"""The command that damages files runs, and finds nothing that may not be."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations.workers import Worker
from tests.waiting import HANG_SECONDS

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.mutations", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=HANG_SECONDS)


def test_some_damaged_files_of_each_kind_are_read_or_refused() -> None:
    done = run("--videos", "20", "--caches", "20", "--labels", "10", "--checkpoints", "4")
    assert done.returncode == 0, done.stdout
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "20 damaged videos", "20 damaged caches", "10 damaged labels", "4 damaged checkpoints"
    ]  # fmt: skip


@pytest.mark.slow
def test_many_damaged_files_of_each_kind_are_read_or_refused() -> None:
    done = run("--first", "10000", "--videos", "300", "--caches", "150", "--labels", "80", "--checkpoints", "40")
    assert done.returncode == 0, done.stdout


def test_a_crash_is_a_failure_of_one_case(tmp_path: Path) -> None:
    worker = Worker("crashing", tmp_path)
    assert worker.run(1) == (False, "crashed with exit code 7")
    assert worker.run(0) == (True, "fine")
    worker.close()
