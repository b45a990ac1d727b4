"""Processes of their own for cases, so that a crash or a hang is a failure of one case."""

import importlib
import multiprocessing
import os
import random
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

from tests.waiting import HANG_SECONDS

MAX_BYTES = 6 * 2**30
"""Memory of a process; a damaged size may not ask for more."""


def run_case(kind: str, number: int, folder: Path) -> str:
    """Run one case in this process; return what became of the file. Raises what went wrong."""
    module = importlib.import_module(f"tests.mutations.{kind}")
    with tempfile.TemporaryDirectory(prefix="signprep-mutation-") as work:
        outcome: str = module.check(folder / kind, random.Random(f"{kind} {number}"), Path(work))
    return outcome


def _serve(connection: Connection, kind: str, folder: Path) -> None:
    """Run the cases that come, one after the other, in a process of its own."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # FFmpeg says a lot about damaged files
    while (number := connection.recv()) is not None:
        try:
            connection.send((True, run_case(kind, number, folder)))
        except BaseException:
            connection.send((False, traceback.format_exc(limit=-6)))


class Worker:
    """A process that runs cases, and is started again after it has crashed or hung."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self._folder = kind, folder
        self._start()

    def _start(self) -> None:
        self.connection, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_serve, args=(there, self.kind, self._folder), daemon=False)
        self._process.start()
        there.close()

    def run(self, number: int) -> tuple[bool, str]:
        """Run a case; return True and what became of the file, or False and the reason why that may not be."""
        self.connection.send(number)
        begun = time.monotonic()
        try:
            if self.connection.poll(HANG_SECONDS):
                answer: tuple[bool, str] = self.connection.recv()
                return answer
            reason = f"hangs for {time.monotonic() - begun:.0f} s"
        except (EOFError, ConnectionResetError):
            self._process.join()
            reason = f"crashed with exit code {self._process.exitcode}"
        self._process.kill()
        self._process.join()
        self._start()
        return False, reason

    def close(self) -> None:
        """End the process."""
        self.connection.send(None)
        self._process.join()
