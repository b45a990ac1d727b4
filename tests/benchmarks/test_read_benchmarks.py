"""The benchmark of reading runs, at toy size; in a process of its own, since peers leave files open."""

import subprocess
import sys
from pathlib import Path

from tests.waiting import HANG_SECONDS


def test_reading_is_compared_with_its_parts_and_its_peers() -> None:
    command = [sys.executable, "-m", "benchmarks", "--toy", "read"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=HANG_SECONDS)
    assert done.returncode == 0, done.stderr
    for way in ("blosc alone", "DataLoader over zarr-python", "np.memmap", "cold"):
        assert way in done.stdout
