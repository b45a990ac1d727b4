"""The benchmarks of sharing run at toy size, each in a process of its own: servers and drivers have threads."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import HANG_SECONDS


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("share", ("bulk put", "s3 (moto)", "objects, 0.1 MB travelled")),
        ("stream", ("waiting for data", "bound of half")),
    ],
)
def test_it_runs(name: str, parts: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "benchmarks", "--toy", name]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    assert all(part in done.stdout for part in parts), done.stdout
