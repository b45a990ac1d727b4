"""Real Dask clusters on loopback: a scheduler and workers, each a process that a test may kill."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.cache_builder.servers import free_port, wait_for

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
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
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
        scheduler = start(sys.executable, SCHEDULER, "--host", "127.0.0.1", "--port", str(port))
        wait_for(port, scheduler)
        one = ("--nworkers", "1", "--nthreads", "1", "--no-nanny")
        workers = [start(python, WORKER, address, *one) for _ in range(num_workers)]
        if workers:
            with distributed.Client(address, set_as_default=False) as client:
                client.wait_for_workers(num_workers, timeout=30)
        yield DaskCluster(address=address, scheduler=scheduler, workers=workers)
    finally:
        for process in processes:
            process.kill()
            process.wait(timeout=30)
