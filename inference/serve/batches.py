"""Clips of all requests, through the model together: a thread calls it with whatever waits.

In: windows' clips, one by one from any thread, or several from the event loop. Out: futures of their class
probabilities. A request that is alone is answered at once; under load, batches fill by themselves, as those who were
just answered get a moment to ask again. What several connections have sent when the event loop looks reaches the model
at once, and the answers of a batch reach the loop at once: waking a thread costs as much as answering a small model's
clip.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.metrics import Metrics

PATIENCE = 0.1
"""Part of a batch's time for which the next one waits for those who were just answered."""
MOST_THREADS = 4
"""That call a small model; more would wait for Python's lock, and for the connections."""
Row = NDArray[np.float32]
"""Class probabilities, float32 [classes]."""
_Waiting = tuple[Sequence[Any], "Future[Row] | asyncio.Future[Row]"]


class Batches:
    """The threads that call the model: one with all cores, or for a small model one for each of them."""

    def __init__(self, recognizer: Recognizer, batch_size: int, metrics: Metrics) -> None:
        self._recognizer, self._batch_size, self._metrics = recognizer, batch_size, metrics
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        """Holds the lock of what waits, and wakes threads."""
        self._has_ended = False
        self._coming: list[_Waiting] = []
        """From the event loop, which gives them to the threads when it has looked at all connections."""
        number = 1
        if is_small(recognizer):
            number = min(MOST_THREADS, torch.get_num_threads())
            recognizer.use_trace()  # else its threads would wait for Python's lock most of the time
        self._num_idle = number
        self._threads = [
            threading.Thread(target=self._run, args=[number], name=f"signprep-model-{place}", daemon=True)
            for place in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, clips: Sequence[Any]) -> "Future[Row]":
        """Return what will be the probabilities of a window, whose clips are one for each of the recognizer's specs.

        The future raises SignprepError if there is no memory for its batch, or the model's answers are no numbers.
        """
        future: Future[Row] = Future()
        self._wait([(clips, future)])
        return future

    def submit_here(self, clips: Sequence[Any]) -> "asyncio.Future[Row]":
        """Do the same for the running event loop."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Row] = loop.create_future()
        if not self._coming:
            loop.call_soon(self._give)
        self._coming.append((clips, future))
        return future

    def _give(self) -> None:
        coming, self._coming = self._coming, []
        self._wait(coming)

    def _wait(self, coming: list[_Waiting]) -> None:
        with self._changed:
            self._waiting += coming
            self._changed.notify(len(coming))

    def close(self) -> None:
        """End the threads, after what waits."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, num_threads: int) -> None:
        if num_threads > 1:
            torch.set_num_threads(1)  # of this thread's operations
        num_answered, seconds = 0, 0.0
        while batch := self._next_batch(num_answered, PATIENCE * seconds):
            started = time.perf_counter()
            wanted = [(clips, future) for clips, future in batch if _is_wanted(future)]
            answers = self._answers([clips for clips, _ in wanted])
            _tell([(future, answer) for (_, future), answer in zip(wanted, answers, strict=True)])
            num_answered, seconds = len(wanted), time.perf_counter() - started
            with self._changed:
                self._num_idle += 1

    def _next_batch(self, num_answered: int, patience: float) -> list[_Waiting]:
        """Wait for clips, and take those of a batch; if other threads are idle, leave them their part.

        Who was just answered may ask again, so that the next batch is as full: they get so many seconds. Nothing is
        returned when the end has come, and everything is answered.
        """
        with self._changed:
            hoped = min(self._batch_size, num_answered + len(self._waiting))
            self._changed.wait_for(lambda: len(self._waiting) >= hoped or self._has_ended, patience)
            while not self._waiting and not self._has_ended:
                self._changed.wait()
            fair = math.ceil(len(self._waiting) / self._num_idle)
            self._num_idle -= 1
            return [self._waiting.popleft() for _ in range(min(self._batch_size, fair))]

    def _answers(self, windows: Sequence[Sequence[Any]]) -> Sequence[Row | BaseException]:
        if not windows:
            return []
        start = time.perf_counter()
        try:
            rows = self._recognizer.window_probabilities(windows)
        except BaseException as error:
            if len(windows) == 1:
                return [error]
            # one of them may be to blame: the others get their answers
            return [answer for one in windows for answer in self._answers([one])]
        self._metrics.add("batches_total")
        self._metrics.add("windows_total", len(windows))
        self._metrics.add("model_seconds_total", time.perf_counter() - start)
        return [row.copy() for row in rows]


def is_small(recognizer: Recognizer) -> bool:
    """Return whether a model's operations are too small to be shared by cores: those of landmarks are.

    Two cores answer a batch of them in four fifths of the time that one takes, and two batches in about that time.
    """
    return recognizer.device.type == "cpu" and all(spec.landmarks is not None for spec in recognizer.clip_specs)


def _is_wanted(future: "Future[Row] | asyncio.Future[Row]") -> bool:
    return future.set_running_or_notify_cancel() if isinstance(future, Future) else not future.cancelled()


def _tell(answers: "Sequence[tuple[Future[Row] | asyncio.Future[Row], Row | BaseException]]") -> None:
    here = [(future, answer) for future, answer in answers if isinstance(future, asyncio.Future)]
    if here:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            here[0][0].get_loop().call_soon_threadsafe(_set_all, here)
    _set_all([(future, answer) for future, answer in answers if isinstance(future, Future)])


def _set_all(answers: "Sequence[tuple[Future[Row] | asyncio.Future[Row], Row | BaseException]]") -> None:
    for future, answer in answers:
        if future.done():  # given up meanwhile
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)
