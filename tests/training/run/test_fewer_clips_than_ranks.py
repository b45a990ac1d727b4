"""Two processes that train together, of which one has no clip to validate on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from signprep.cache_builder.reader import Cache
from tests.waiting import HANG_SECONDS

PROGRAM = """
import sys

import signprep.training.run as run
from signprep.cache_builder import open_cache
from signprep.training.config import Devices
from tests.training.small_runs import QUICK, TINY, quiet

splits = run.split_positions


def one_to_validate(cache, log):
    train, val = splits(cache, log)
    return train, val[:1]


run.split_positions = one_to_validate
run.train(open_cache(sys.argv[1]), TINY, QUICK, sys.argv[2], devices=Devices(processes=2), log=quiet)
"""


@pytest.mark.slow
def test_one_validation_clip_is_enough_for_two_processes(cache: Cache, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, str(program), str(cache.path), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert result["status"] == "finished" and result["devices"] == "CPU, 2 processes"
    assert result["result"]["best_val_accuracy"] in (0.0, 1.0)  # of one clip, seen once
