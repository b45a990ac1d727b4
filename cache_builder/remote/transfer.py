"""Many objects on their way at once: threads, one byte count, and an end as soon as one fails or Ctrl-C is pressed."""

import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from signprep.cache_builder.format.layout import CacheObject
from signprep.cache_builder.remote.published import StoppedError
from signprep.cache_builder.remote.storage import Progress
from signprep.pipeline.runtime.progress import byte_progress_bar


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """The objects and bytes that travelled, or would."""

    num_objects: int
    num_bytes: int
    num_sent: int
    sent_bytes: int
    num_pruned: int = 0
    """Objects of older versions that were deleted."""

    @classmethod
    def of(cls, objects: dict[str, CacheObject], sent: list[str], *, num_pruned: int = 0) -> "TransferResult":
        """Return the report of a cache's objects of which some travelled, by their paths."""
        return cls(
            num_objects=len(objects),
            num_bytes=sum(entry.num_bytes for entry in objects.values()),
            num_sent=len(sent),
            sent_bytes=sum(objects[path].num_bytes for path in sent),
            num_pruned=num_pruned,
        )


PARALLEL = 8
"""Transfers at once: enough to fill a link of some milliseconds, few enough for a shared server."""

Job = TypeVar("Job")
Result = TypeVar("Result")


def transfer_all(
    jobs: Iterable[Job],
    work: Callable[[Job, Progress], Result],
    *,
    description: str,
    num_bytes: int,
) -> list[Result]:
    """Return what `work` returns for each job, in their order, with a progress bar over all bytes.

    Args:
        jobs: one a transfer.
        work: is called in a thread with a job and a function that takes the bytes as they pass.
        description: of the progress bar.
        num_bytes: of all jobs together.

    Raises the first error; transfers that are under way then end at their next bytes.
    """
    lock, stop, done = threading.Lock(), threading.Event(), 0

    with byte_progress_bar(description, num_bytes) as show:

        def progress(more: int) -> None:
            nonlocal done
            if stop.is_set() and more > 0:
                raise StoppedError
            with lock:
                done += more
                show(done)

        pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="signprep-transfer")
        futures = [pool.submit(work, job, progress) for job in jobs]
        try:
            pending = set(futures)
            while pending:
                finished, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                for future in finished:
                    future.result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
        return [future.result() for future in futures]


MAX_GAP_BYTES = 2**18
"""Between two clips, a gap of so many bytes is fetched rather than left out by a second request."""


def coalesce_ranges(bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield the ranges of bytes to fetch for clips of one file, each with the clips' ranges inside it, in order.

    Few requests, few bytes in vain: clips that lie close together are fetched by one request.

    >>> list(coalesce_ranges([(0, 10), (20, 30), (600_000, 600_010)]))
    [(0, 30, [(0, 10), (20, 30)]), (600000, 600010, [(600000, 600010)])]
    """
    inside: list[tuple[int, int]] = []
    for start, end in bounds:
        if inside and start - inside[-1][1] > MAX_GAP_BYTES:
            yield inside[0][0], inside[-1][1], inside
            inside = []
        inside.append((start, end))
    if inside:
        yield inside[0][0], inside[-1][1], inside


_TORN = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")


def torn_uploads(present: Iterable[str], wanted: Collection[str]) -> list[str]:
    """Return the parts that killed uploads have left, where objects appear by renaming, of objects that are there."""
    return [name for name in present if (part := _TORN.fullmatch(name)) and part[1] in wanted]
