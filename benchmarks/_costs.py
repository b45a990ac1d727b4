"""What a cache of many clips costs: arithmetic of constants that `costs` measures, nothing else.

In: constants of one machine, and a case (clips, workers, links). Out: seconds of planning, building, publishing and
streaming, and what each waits for. A build's parts run side by side, so that it takes as long as the slowest of them:
the workers' CPU, the process that gives out tasks, reading videos, writing shards. What is done before the first and
after the last shard is added.
"""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Line:
    """A cost that grows with a number: `fixed`, and `each` more for every one of them."""

    fixed: float
    each: float

    @classmethod
    def through(cls, few: tuple[float, float], many: tuple[float, float]) -> Self:
        """Return the line through two points (number, cost), with no part below zero.

        >>> Line.through((10, 3.0), (30, 7.0))
        Line(fixed=1.0, each=0.2)
        """
        each = max(0.0, (many[1] - few[1]) / (many[0] - few[0]))
        return cls(fixed=max(0.0, few[1] - each * few[0]), each=each)

    def at(self, number: float) -> float:
        """Return the cost of a number of them."""
        return self.fixed + self.each * number


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """The client's CPU seconds of objects that travel."""

    an_object: float
    a_byte: float

    def at(self, num_objects: float, num_bytes: float) -> float:
        """Return the seconds of so many objects with so many bytes together."""
        return self.an_object * num_objects + self.a_byte * num_bytes


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Seconds of CPU of one core, and bytes, as they were measured."""

    labels: Line
    """Reading labels, finding and looking at their videos, by label."""
    plan: Line
    """Splits, plan and its digest, by clip."""
    plan_bytes: Line
    """Most memory of the same, by clip."""
    decode_seconds: float
    """Decoding, cropping and scaling a clip."""
    hash_seconds: float
    """Hashing a video, by byte."""
    store_seconds: float
    """Encoding a clip, and its share of assembling and writing its shard."""
    shard_seconds: float
    """Everything else that a worker does for a shard."""
    task: Line
    """Giving out a shard's task and taking its result, in the process that runs the build: by clip of the shard."""
    scheduler: Line
    """The same in the cluster's scheduler. That process is asked before each task, so that both costs add up."""
    worker_task: Line
    """The same in the worker that runs it, beside the shard itself."""
    upkeep: float
    """What a worker's own loop takes of a core, whatever the worker does: heartbeats, and looks at what it runs."""
    merge: Line
    """Putting the index together and writing it, by clip; parts of whole shards."""
    merge_bytes: Line
    """Most memory of the same, by clip."""
    worker_bytes: float
    """Most memory of a worker."""
    push: Transfer
    fetch: Transfer
    codecs: dict[str, tuple[float, float]]
    """By codec: bytes of a clip, and seconds to read one back."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is built, and where; the default is AIHub's data behind a link of 10 Gbit/s."""

    num_clips: int
    workers: int
    """Processes of one core each."""
    codec: str = "lz4hc"
    clips_per_shard: int = 128
    video_bytes: float = 2.5e12 / 536_000
    """Bytes that are read for a clip."""
    link: float = 1.25e9
    """Bytes a second that come from storage, for all workers together; as many go there at the same time."""
    request_seconds: float = 0.03
    """Wait for a small object; those of the index's parts come `PARALLEL` at a time. 0 for a local disk."""

    @property
    def num_shards(self) -> int:
        return -(-self.num_clips // self.clips_per_shard)


PARALLEL = 8
"""As `cache_builder.remote.transfer.PARALLEL`."""
STREAM_LEAD = 1.23
"""Shards are needed at most at this multiple of the rate at which clips are read; see `streaming_order`."""


def plan_seconds(found: Constants, case: Case) -> float:
    """Return seconds before the first shard, in one process."""
    return found.labels.at(case.num_clips) + found.plan.at(case.num_clips)


def worker_seconds(found: Constants, case: Case, *, upload: bool = False) -> float:
    """Return the seconds of one full shard on a core of its own; with `upload` it is sent to an object store."""
    clips = case.clips_per_shard
    each = found.decode_seconds + found.store_seconds + found.hash_seconds * case.video_bytes
    sent = (
        found.push.at(2, clips * found.codecs[case.codec][0]) if upload else 0.0
    )  # the shard, and its part of the index
    return (found.shard_seconds + found.worker_task.at(clips) + clips * each + sent) / (1 - found.upkeep)


def task_seconds(found: Constants, case: Case) -> float:
    """Return seconds from one task to the next where workers wait for nothing else."""
    return found.task.at(case.clips_per_shard) + found.scheduler.at(case.clips_per_shard)


def limits(found: Constants, case: Case) -> dict[str, float]:
    """Return the seconds that each part of the shards' work needs by itself; the longest is what the build takes.

    Workers take whole shards, so that the last round may leave some of them idle.
    """
    rounds = -(-case.num_shards // case.workers)
    return {
        "CPU": rounds * worker_seconds(found, case, upload=True),
        "reading videos": case.num_clips * case.video_bytes / case.link,
        "writing shards": case.num_clips * found.codecs[case.codec][0] / case.link,
        "giving out tasks": case.num_shards * task_seconds(found, case),
    }


def publish_seconds(found: Constants, case: Case) -> float:
    """Return seconds after the last shard, in one process: parts are fetched, merged and deleted, the index written."""
    small_objects = 2 * case.num_shards * case.request_seconds / PARALLEL
    return found.merge.at(case.num_clips) + small_objects


def push_seconds(found: Constants, case: Case) -> float:
    """Return the wall seconds of pushing a cache that was built in a folder: one process, or the link."""
    num_bytes = case.num_clips * found.codecs[case.codec][0]
    return max(found.push.at(case.num_shards, num_bytes), num_bytes / case.link)


def build_seconds(found: Constants, case: Case) -> float:
    """Return the wall seconds from labels to a published cache."""
    return plan_seconds(found, case) + max(limits(found, case).values()) + publish_seconds(found, case)


def largest_useful(found: Constants, case: Case) -> dict[str, float]:
    """Return for each part but CPU the number of workers from which on it is what a build waits for."""
    cpu = case.num_shards * worker_seconds(found, case, upload=True)
    return {name: cpu / seconds for name, seconds in limits(found, case).items() if name != "CPU"}


def stream_rates(found: Constants, case: Case, *, threads: int) -> tuple[float, float]:
    """Return clips/s of each of `case.workers` machines that train from one link: what CPU and the link allow.

    A machine's threads fetch, verify and decompress. Each machine fetches every shard of its training set: with several
    machines in one training, a rank's share of a batch is spread over all shards.
    """
    stored, read_seconds = found.codecs[case.codec]
    cpu = threads / (read_seconds + found.fetch.at(1 / case.clips_per_shard, stored))
    return cpu, case.link / case.workers / (stored * STREAM_LEAD)


def epoch_seconds(found: Constants, case: Case) -> float:
    """Return the least seconds of the first epoch of `case.workers` machines whose shards come over one link."""
    return case.workers * case.num_clips * found.codecs[case.codec][0] / case.link
