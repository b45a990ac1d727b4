"""What all requests share: the model's batches, the decoding processes, the places in the queue, and the counts."""

import asyncio
import math
import queue
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO

from signprep.inference.options import TimelineOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.answers import Event, answer_video
from signprep.inference.serve.batches import Batches
from signprep.inference.serve.clips import Room, answer_clips
from signprep.inference.serve.decoders import Decoder, LeftError, TooSlowError
from signprep.inference.serve.metrics import Metrics
from signprep.inference.serve.options import Query, ServeOptions
from signprep.pipeline.errors import SignprepError


class FullError(SignprepError):
    """As many requests wait as may."""

    def __init__(self, waiting: int, retry_after_seconds: int) -> None:
        super().__init__(f"{waiting} requests are waiting, as many as may; try again after {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds


class Service:
    """The working parts of a server."""

    def __init__(
        self, recognizer: Recognizer, options: ServeOptions, timeline: TimelineOptions = TimelineOptions()
    ) -> None:
        self.recognizer, self.options, self.timeline, self.metrics = recognizer, options, timeline, Metrics()
        self._allowed = options.queue + options.num_workers
        self._active = 0
        self.metrics.gauge("requests_active", lambda: self._active)
        self.metrics.gauge("requests_allowed", lambda: self._allowed)
        self._decoders: queue.SimpleQueue[Decoder] = queue.SimpleQueue()
        self._closed = threading.Event()

    def start(self) -> None:
        """Start the processes and threads."""
        self._all = [Decoder() for _ in range(self.options.num_workers)]
        for decoder in self._all:
            self._decoders.put(decoder)
        self.batches = Batches(self.recognizer, self.options.batch_size, self.metrics)
        self._threads = ThreadPoolExecutor(self.options.num_workers, thread_name_prefix="signprep-answer")

    def close(self) -> None:
        """End them; who still waits gets no answer."""
        self._closed.set()
        self._threads.shutdown(cancel_futures=True)
        for decoder in self._all:
            decoder.close()
        self.batches.close()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take a place among the requests that are there, as long as the block runs. Raises FullError."""
        if self._active >= self._allowed:
            seconds = self.metrics.mean_seconds * self._active / self.options.num_workers
            raise FullError(self.options.queue, min(60, max(1, math.ceil(seconds))))
        self._active += 1
        start = time.monotonic()
        try:
            yield
        finally:
            self._active -= 1
            self.metrics.answered(time.monotonic() - start)

    async def clips(self, file: BinaryIO, query: Query, room: Room) -> Any:
        """Return the answer for clips as a cache stores them; see `answer_clips`. Raises TooSlowError, too."""
        try:
            async with asyncio.timeout(self.options.timeout_seconds):
                return await answer_clips(self.recognizer, self.batches, file, query, self.options, room)
        except TimeoutError:
            raise TooSlowError(
                f"{query.name}: no answer after {self.options.timeout_seconds:g} s; send fewer clips"
            ) from None

    async def video(self, file: BinaryIO, query: Query, room: Room) -> AsyncGenerator[Event]:
        """Yield the events of a video as `answer_video` does, and close the file.

        The work ends soon after nobody waits for it any more.
        """
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        left = threading.Event()

        def tell(event: Event | BaseException) -> None:
            if not left.is_set():
                loop.call_soon_threadsafe(events.put_nowait, event)

        def work() -> None:
            decoder = self._decoders.get()
            try:
                if left.is_set():
                    return
                for event in answer_video(
                    self.recognizer,
                    self.batches,
                    decoder,
                    file,
                    query,
                    self.options,
                    room,
                    is_left=lambda: left.is_set() or self._closed.is_set(),
                    restarted=lambda: self.metrics.add("decoders_ended_total"),
                ):
                    tell(event)
            except LeftError:
                tell(SignprepError("the server ends"))
            except BaseException as error:
                tell(error)
            finally:
                self._decoders.put(decoder)
                file.close()

        self._threads.submit(work)
        try:
            while True:
                event = await events.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
                if event.kind == "result":
                    return
        finally:
            left.set()
