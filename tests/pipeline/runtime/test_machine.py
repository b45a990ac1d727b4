import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from signprep.pipeline.runtime.machine import run_in
from tests.waiting import HANG_SECONDS

PROGRAM = """
import signal
from joblib import Parallel, delayed
from signprep.pipeline.runtime.machine import start_workers
if __name__ == "__main__":
    start_workers(2)
    masks = Parallel(n_jobs=2)(delayed(signal.pthread_sigmask)(signal.SIG_BLOCK, ()) for _ in range(8))
    assert all(signal.SIGINT in mask for mask in masks), masks
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no masks of signals")
def test_ctrl_c_reaches_no_worker_and_its_starter_still() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=os.environ, timeout=HANG_SECONDS
    )
    assert done.returncode == 0, done.stderr


def test_a_worker_whose_folder_was_removed_works_for_the_next_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    assert run_in(tmp_path, Path.cwd) == tmp_path
