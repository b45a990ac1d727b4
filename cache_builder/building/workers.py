"""Run the tasks of a build to the last one, whichever workers die meanwhile.

Workers are processes of this machine, joblib's, or those of a cluster. If a worker dies, unfinished shards are tried
again: on a cluster its own, here those of all workers, since joblib ends the others too. After three rounds without
any progress the build fails.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import joblib

from signprep.cache_builder.building.cluster import Cluster, WorkerDiedError, WorkerRequirements, connected
from signprep.cache_builder.building.encode_shard import ShardResult, ShardTask
from signprep.cache_builder.building.plan import BuildPlan
from signprep.cache_builder.options import Location
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheError, SignprepError
from signprep.pipeline.runtime.machine import start_workers

MAX_VAIN_ROUNDS = 3
"""Rounds in a row without progress, after which a build fails."""

BuildProgress = Callable[[int], None]
"""Told, now and then, the number of clips that are done, failed ones included."""

Work = Callable[[Any], ShardResult | SignprepError]
"""A function of one task. It returns its errors: one that left it would have joblib kill the other workers."""

Watch = tuple[Callable[[ShardResult], None], tuple[Path, ...]]
"""A function that is called with each result as it comes, and paths that workers on other machines must find."""

_Results = Callable[[Work, Iterable[ShardTask]], Iterator[ShardResult | SignprepError]]


@dataclass(kw_only=True)
class PoolUse:
    """A clip pool that a build takes clips from and gives clips to, and what has come of it."""

    location: Location
    num_taken: int = 0
    errors: list[str] = field(default_factory=list)
    """Reasons why clips that were cut did not get there."""


@dataclass(frozen=True, kw_only=True)
class TwinTarget:
    """The clip pool that landmarks go to while pixels are cut, and their spec."""

    location: Location
    clip_spec: ClipSpec


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The workers of a build, and who is told of it; nothing here decides a byte of the cache."""

    workers: int = -1
    """Processes of this machine; -1 for all cores."""
    command: str = "build-cache"
    """The command that goes on with the build where it is stopped."""
    cluster: Cluster | None = None
    strict: bool = False
    progress: BuildProgress | None = None
    pool: PoolUse | None = None
    twin: TwinTarget | None = None
    """Where landmarks of the same clips go, found in the frames that are decoded for their pixels."""


def worker_requirements(plan: BuildPlan, *paths: Path) -> WorkerRequirements:
    """Return what a worker on another machine needs for a plan; it must find some further paths too."""
    roots = plan.roots.absolute()
    return WorkerRequirements(
        paths=(*roots.sample_paths(plan.videos()), *paths), versions=plan.info.provenance["versions"]
    )


def run_tasks(
    tasks: Sequence[ShardTask],
    left: Callable[[], Sequence[ShardTask]],
    work: Work,
    done: Callable[[ShardResult], None],
    run: RunOptions,
    requirements: WorkerRequirements | None,
) -> None:
    """Run tasks until none is left.

    Args:
        tasks: those whose shards are not there.
        left: returns what they are now; is called while no worker is at any.
        work: is called in a worker.
        done: is called here with each result.
        run: who the workers are.
        requirements: what a worker of `run.cluster` must have; None without one.

    Raises the first error of a task or of `done`, when those in flight have ended: they are there for the next run.
    """
    if not tasks:
        return
    with _workers(run, requirements) as results:
        num_vain = 0
        while tasks:
            death = _run_round(results, work, tasks, done)
            remaining = left()
            if remaining and death is None:
                raise CacheError(
                    f"{len(remaining)} shards were finished, but are not at --out as this machine sees it; is it the "
                    "same folder on every machine?"
                )
            num_vain = num_vain + 1 if len(remaining) == len(tasks) else 0
            if num_vain == MAX_VAIN_ROUNDS:
                raise _stays_dead(remaining) from death
            tasks = remaining


def _run_round(
    results: _Results, work: Work, tasks: Sequence[ShardTask], done: Callable[[ShardResult], None]
) -> WorkerDiedError | None:
    """Begin each of these tasks once; return why some have no result, None if all have."""
    errors: list[SignprepError] = []
    death = None
    try:
        # After an error no task is begun, and those in flight come to their ends.
        for result in results(work, (task for task in tasks if not errors)):
            if isinstance(result, SignprepError):
                errors.append(result)
                continue
            try:
                done(result)
            except CacheError as error:
                errors.append(error)
    except WorkerDiedError as error:
        death = error
    if errors:
        raise errors[0]
    return death


def _stays_dead(tasks: Sequence[ShardTask]) -> CacheError:
    return CacheError(
        f"workers were killed {MAX_VAIN_ROUNDS} times in a row before any of them had finished a shard, most likely "
        f"because memory ran out: take fewer --workers, or machines with more of it; {len(tasks)} shards are left, the "
        f"first with {tasks[0].plan.segments[0].video}; the same command goes on"
    )


@contextmanager
def _workers(run: RunOptions, requirements: WorkerRequirements | None) -> Iterator[_Results]:
    """Give the function that spreads tasks over workers."""
    if run.cluster is None or requirements is None:
        yield partial(_results_here, run.workers)
    else:
        with connected(run.cluster) as client:
            yield partial(client.results, requirements)


def _results_here(workers: int, work: Work, tasks: Iterable[ShardTask]) -> Iterator[ShardResult | SignprepError]:
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", pre_dispatch="2*n_jobs")
    try:
        start_workers(workers)
        yield from parallel(joblib.delayed(work)(task) for task in tasks)
    except BrokenExecutor as error:
        raise WorkerDiedError(str(error)) from error
