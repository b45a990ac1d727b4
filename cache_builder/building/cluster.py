"""A Dask or Ray cluster as the workers of a build: connect, submit, and say clearly what does not work.

In: a `Cluster`, tasks, and a function of one. Out: results as they come, with as many tasks in flight as the cluster
has room for at that moment. The clusters' own clients are used, not joblib's backends for them: with joblib 1.6 a task
that can run nowhere is waited for without end, a cluster of one core is passed over for the process that asks, workers
that come later stay idle, and Ray's gives no result before the last one.
"""

import json
import logging
import pickle
import queue
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from signprep.pipeline.errors import CacheError, SignprepError
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.machine import package_version

CONNECT_SECONDS = 5.0
"""Limit for an answer at the scheduler's address."""
FIRST_WORKER_SECONDS = 60.0
"""Limit for the scheduler's first worker."""
NO_WORKER_SECONDS = 600.0
"""Limit for new workers later on: a batch system may have to start them."""
POLL_SECONDS = 5.0
"""Pause between two looks at the workers while no task ends."""
TASKS_A_CORE = 2
"""Tasks in flight: one that runs, and one that is there when it ends."""
RAY_RETRIES = 3
"""Retries of a task whose workers die, as many as Dask's default."""

_MODULES = {"dask": ("distributed",), "ray": ("ray",)}
_PROBED = ("tcp", "tls", "ws", "wss", "ray")

Task = TypeVar("Task")
Result = TypeVar("Result")


class WorkerDiedError(Exception):
    """Workers were killed at a task; other tasks have come to their ends."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Machines that build in place of this one."""

    backend: str
    """dask or ray."""
    scheduler: str
    """tcp://HOST:PORT or a scheduler file for Dask; ray://HOST:PORT or auto for Ray."""

    def check(self) -> None:
        """Raise SignprepError unless its driver is installed and somebody listens at its address."""
        require_extra(self.backend, *_MODULES[self.backend])
        if self.backend == "ray" and self.scheduler in ("auto", "local"):
            return
        address = self.address()
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        if parts.scheme not in _PROBED:
            return
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or not port:
            raise CacheError(f"--scheduler {self.scheduler}: is no address; HOST:PORT is expected at its end")
        try:
            socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise CacheError(
                f"--scheduler {self.scheduler}: nobody answers there ({error.strerror or error}); is it running, and "
                "may this machine reach it?"
            ) from error

    def address(self) -> str:
        """Return the scheduler's address, which may stand in a file that the scheduler has written."""
        if self.backend != "dask" or not self.scheduler.endswith(".json"):
            return self.scheduler
        try:
            return str(json.loads(Path(self.scheduler).read_text(encoding="utf-8"))["address"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CacheError(f"--scheduler {self.scheduler}: is no scheduler file ({error})") from error


@dataclass(frozen=True, kw_only=True)
class WorkerRequirements:
    """The paths and versions that a worker on another machine must have to write the same shards as this one."""

    paths: tuple[Path, ...]
    versions: Mapping[str, str]
    """Versions of the packages that decide bytes."""

    def check(self) -> None:
        """Raise CacheError if this machine lacks one of them."""
        for path in self.paths:
            if not path.exists():
                raise CacheError(
                    f"{path}: is not there for a worker; every machine of the cluster must see the data, and an --out "
                    "that is a folder, under the same paths"
                )
        for name, expected in self.versions.items():
            found = package_version(name)
            if found != expected:
                raise CacheError(
                    f"a worker has {name} {found}, this build {expected}: its clips might have other bytes; install "
                    "the same versions on every machine of the cluster"
                )


@dataclass(frozen=True, kw_only=True)
class Client:
    """A connection to a cluster."""

    name: str
    submit: Callable[[Callable[[bytes], Any], bytes], Any]
    """Starts a function of some bytes; returns its future."""
    count_cores: Callable[[], int]
    """Returns the number of cores now; raises OSError if nobody answers."""
    died: tuple[type[Exception], ...]
    """Errors of a future whose workers were killed."""
    lost: tuple[type[Exception], ...]
    """Errors that say that the scheduler is gone."""

    def cores(self) -> int:
        """Return the number of cores that there are now. Raises CacheError if nobody answers."""
        lost: tuple[type[Exception], ...] = (OSError, *self.lost)
        try:
            return self.count_cores()
        except lost as error:
            raise self._lost() from error

    def _lost(self) -> CacheError:
        return CacheError(f"{self.name}: the connection was lost; the same command goes on")

    def results(
        self, requirements: WorkerRequirements, work: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[Result | SignprepError]:
        """Yield what `work` returns for each task, as they end; a SignprepError is a result too.

        Raises:
            WorkerDiedError: at the end, if tasks have none because their workers were killed again and again.
            CacheError: the scheduler is gone, or workers cannot run signprep at all.
        """
        waiting, ended = iter(tasks), queue.SimpleQueue[Any]()
        num_running, death = 0, None
        call = partial(_elsewhere, requirements, work)
        while True:
            room = max(1, TASKS_A_CORE * self.cores())
            while num_running < room and (task := next(waiting, None)) is not None:
                self._submit(partial(call, task)).add_done_callback(ended.put)
                num_running += 1
            if not num_running:
                break
            future = self._waited(lambda seconds: ended.get(timeout=seconds))
            num_running -= 1
            try:
                result = self._result(future)
            except WorkerDiedError as error:
                death = error
            else:
                yield result
        if death is not None:
            raise death

    def _submit(self, call: Callable[[], Any]) -> Any:
        try:
            return self.submit(_by_value(), pickle.dumps(call))
        except self.lost as error:
            raise self._lost() from error

    def _waited(self, attempt: Callable[[float], Result]) -> Result:
        """Return what an attempt gives within seconds; raises CacheError if there have been no workers for long."""
        alone_since: float | None = None
        while True:
            try:
                return attempt(POLL_SECONDS)
            except (queue.Empty, TimeoutError):
                now = time.monotonic()
                alone_since = None if self.cores() else alone_since or now
                if alone_since is not None and now - alone_since > NO_WORKER_SECONDS:
                    raise CacheError(
                        f"{self.name}: has had no workers for {NO_WORKER_SECONDS / 60:.0f} minutes; with new ones the "
                        "same command goes on"
                    ) from None

    def _result(self, future: Any) -> Any:
        try:
            # That its task has ended does not mean that the worker which has the result still lives.
            return self._waited(lambda seconds: future.result(timeout=seconds))
        except self.died as error:
            raise WorkerDiedError(str(error)) from error
        except self.lost as error:
            raise self._lost() from error
        except ImportError as error:
            raise CacheError(
                f"{self.name}: a worker cannot run signprep ({error}); install the same version on every machine"
            ) from error


def _elsewhere(requirements: WorkerRequirements, work: Callable[[Task], Result], task: Task) -> Result | SignprepError:
    """Run a task on another machine; what goes wrong there tells where that was."""
    result: Result | SignprepError
    try:
        requirements.check()
        result = work(task)
    except SignprepError as error:
        result = error
    except TimeoutError as error:  # would be taken for one of the cluster's
        result = CacheError(f"took too long ({error})")
    return type(result)(f"{result} [on {socket.gethostname()}]") if isinstance(result, SignprepError) else result


@cache
def _by_value() -> Callable[[bytes], Any]:
    """Return a function that travels by value: a worker without signprep says so, where it would die unpickling it."""

    def run(payload: bytes) -> Any:
        import pickle

        return pickle.loads(payload)()

    return run


@contextmanager
def connected(cluster: Cluster) -> Iterator[Client]:
    """Connect to a cluster while the block runs.

    Raises SignprepError if its driver is not installed, nobody answers, or it has no workers.
    """
    cluster.check()
    with {"dask": _dask, "ray": _ray}[cluster.backend](cluster) as client:
        yield client


@contextmanager
def _dask(cluster: Cluster) -> Iterator[Client]:
    from distributed import Client as DaskClient
    from distributed.client import ClosedClientError
    from distributed.comm import CommClosedError
    from distributed.scheduler import KilledWorker

    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it tells at length of what becomes one line here
    try:
        try:
            dask = DaskClient(cluster.address(), timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise CacheError(f"--scheduler {cluster.scheduler}: is no Dask scheduler that answers ({error})") from error
        with dask:
            try:
                dask.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
            except TimeoutError as error:
                raise CacheError(
                    f"--scheduler {cluster.scheduler}: has no workers after {FIRST_WORKER_SECONDS:.0f} s; start some: "
                    f"dask worker {cluster.scheduler} --nworkers=-1 --nthreads 1"
                ) from error
            yield Client(
                name=f"--scheduler {cluster.scheduler}",
                submit=partial(dask.submit, pure=False),
                count_cores=lambda: sum(dask.nthreads().values()),
                died=(KilledWorker,),
                lost=(CancelledError, ClosedClientError, CommClosedError),
            )
    finally:
        log.setLevel(level)


@contextmanager
def _ray(cluster: Cluster) -> Iterator[Client]:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RaySystemError, WorkerCrashedError

    try:
        ray.init(address=cluster.scheduler, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # of many kinds: connection, versions, a missing part of ray
        reason = " ".join(str(error).split())
        raise CacheError(f"--scheduler {cluster.scheduler}: is no Ray cluster that answers ({reason})") from error
    try:
        remote = ray.remote(max_retries=RAY_RETRIES)(_by_value())
        yield Client(
            name=f"--scheduler {cluster.scheduler}",
            submit=lambda _, payload: remote.remote(payload).future(),
            count_cores=lambda: int(ray.cluster_resources().get("CPU", 0)),
            died=(NodeDiedError, OutOfMemoryError, WorkerCrashedError),
            lost=(CancelledError, ConnectionError, RaySystemError),
        )
    finally:
        ray.shutdown()
