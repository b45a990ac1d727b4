"""A device that copies late: the order of a GPU's streams and events, on a CPU, so that what races there fails here.

What is begun on a stream is done when somebody waits for it, and no sooner.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from signprep.training.runtime.copies import Copies


class Stream:
    """Work in its order."""

    def __init__(self, device: torch.device) -> None:
        self.work: list[Callable[[], object]] = []

    def wait_event(self, event: "Event") -> None:
        self.work.append(event.synchronize)


class Event:
    """A place in a stream's work."""

    def __init__(self, *, enable_timing: bool = False) -> None:
        self.stream: Stream | None = None
        self.seconds: float | None = None

    def record(self, stream: Stream) -> None:
        self.stream = stream
        stream.work.append(self._passed)

    def _passed(self) -> None:
        self.seconds = time.perf_counter()

    def query(self) -> bool:
        return self.seconds is not None

    def synchronize(self) -> None:
        assert self.stream is not None
        while not self.query():
            self.stream.work.pop(0)()

    def elapsed_time(self, other: "Event") -> float:
        assert self.seconds is not None and other.seconds is not None
        return 1000 * (other.seconds - self.seconds)


class Streams:
    """What torch.cuda has of streams and events."""

    Stream, Event = Stream, Event

    def __init__(self) -> None:
        self.present = Stream(torch.device("cpu"))

    def current_stream(self, device: torch.device) -> Stream:
        return self.present

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.present = self.present, stream
        yield
        self.present = before


class LateCopies(Copies):
    """Copies as a GPU does: until they are waited for, their target holds nothing."""

    def __init__(self) -> None:
        self.streams = Streams()
        super().__init__(torch.device("cpu"), self.streams)

    def _moved(self, tensor: Tensor) -> Tensor:
        target = torch.full_like(tensor, 77)
        self.streams.present.work.append(lambda: target.copy_(tensor))
        return target

    def compute(self) -> None:
        """Do all that was queued, as a GPU has done it when its results are asked for."""
        end = Event()
        end.record(self.streams.present)
        end.synchronize()
