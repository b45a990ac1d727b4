"""Real Dask clusters on loopback: a scheduler and workers, each a process that a test may kill."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import HANG_SECONDS, until

SCHEDULER, WORKER = "distributed.cli.dask_scheduler", "distributed.cli.dask_worker"


@dataclass
class DaskCluster:
    """A scheduler, and workers that nobody starts again."""

    address: str
    scheduler: "subprocess.Popen[bytes]"
    workers: list["subprocess.Popen[bytes]"]

    def num_tasks(self) -> list[int]:
        """Return how many tasks each worker that is alive has done."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return list(client.run(lambda dask_worker: dask_worker.state.executed_count).values())


@contextmanager
def dask_cluster(
    num_workers: int = 2, *, python: str = sys.executable, environment: Mapping[str, str] | None = None
) -> Iterator[DaskCluster]:
    """Start a cluster; yields it when all workers are there.

    Args:
        num_workers: of one thread each.
        python: of the workers.
        environment: of all processes; None for the caller's.
    """
    distributed = pytest.importorskip("distributed")
    processes: list[subprocess.Popen[bytes]] = []

    def start(python: str, *command: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [python, "-m", *command, "--no-dashboard"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        processes.append(process)
        return process

    try:
        with tempfile.TemporaryDirectory() as folder:
            told = Path(folder, "scheduler.json")  # written when it listens, at a port that it has chosen
            where = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(told))
            scheduler = start(sys.executable, SCHEDULER, *where)
            until(lambda: told.exists() and told.read_text().endswith("}"), alive=lambda: scheduler.poll() is None)
            address = json.loads(told.read_text())["address"]
        one = ("--nworkers", "1", "--nthreads", "1", "--no-nanny")
        workers = [start(python, WORKER, address, *one) for _ in range(num_workers)]
        if workers:
            with distributed.Client(address, set_as_default=False) as client:
                client.wait_for_workers(num_workers, timeout=HANG_SECONDS)
        yield DaskCluster(address=address, scheduler=scheduler, workers=workers)
    finally:
        for process in processes:
            process.kill()
            process.wait(timeout=HANG_SECONDS)
