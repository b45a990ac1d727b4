import os
import signal
import subprocess
import sys

import pytest

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
