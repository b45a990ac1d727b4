"""What a decoding process may do instead of its work; each is called as `decoders.work` is."""

import os
import signal
import time
from multiprocessing import reduction
from typing import Any

import numpy as np

from signprep.inference.serve.decoders import _bound_memory
from tests.waiting import HANG_SECONDS


def dies(parent: Any, memory_bytes: int) -> None:
    """Crash as a decoder with a fault does, once it has a video."""
    parent.send_bytes(b"ready")
    parent.recv()
    os.close(reduction.recv_handle(parent))
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(parent: Any, memory_bytes: int) -> None:
    """Work on a video and never end."""
    parent.send_bytes(b"ready")
    parent.recv()
    os.close(reduction.recv_handle(parent))
    time.sleep(HANG_SECONDS)


def never_ends(parent: Any, memory_bytes: int) -> None:
    """Tell of one window after the other."""
    parent.send_bytes(b"ready")
    parent.recv()
    os.close(reduction.recv_handle(parent))
    while True:
        parent.send_bytes(b'{"kind": "window", "number": 0, "asked": [0, 1], "ends": 1, "missing": "damaged"}')


def takes_memory(parent: Any, memory_bytes: int) -> None:
    """Say whether more memory can be had than is allowed."""
    _bound_memory(50_000_000)
    try:
        np.ones(100_000_000, np.uint8)
    except MemoryError:
        parent.send_bytes(b"no memory")
    else:
        parent.send_bytes(b"has it")
