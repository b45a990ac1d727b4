"""Clips of all requests, through the model together: one thread calls it with whatever waits.

In: windows' clips, one by one from any thread, or several from the event loop. Out: futures of their class
probabilities. Nothing waits for a batch to be full, so that a request that is alone is answered at once; under load,
batches fill by themselves. What several connections have sent when the event loop looks reaches the model at once, and
the answers of a batch reach the loop at once: waking a thread costs as much as answering a small model's clip.
"""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.metrics import Metrics

Row = NDArray[np.float32]
"""Class probabilities, float32 [classes]."""
_Waiting = tuple[Sequence[Any], "Future[Row] | asyncio.Future[Row]"]


class Batches:
    """The one thread that calls the model."""

    def __init__(self, recognizer: Recognizer, batch_size: int, metrics: Metrics) -> None:
        self._recognizer, self._batch_size, self._metrics = recognizer, batch_size, metrics
        self._given: queue.SimpleQueue[Sequence[_Waiting] | None] = queue.SimpleQueue()
        self._coming: list[_Waiting] = []
        """From the event loop, which gives them to the thread when it has looked at all connections."""
        self._thread = threading.Thread(target=self._run, name="signprep-model", daemon=True)
        self._thread.start()

    def submit(self, clips: Sequence[Any]) -> "Future[Row]":
        """Return what will be the probabilities of a window, whose clips are one for each of the recognizer's specs.

        The future raises SignprepError if there is no memory for its batch, or the model's answers are no numbers.
        """
        future: Future[Row] = Future()
        self._given.put([(clips, future)])
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
        self._given.put(coming)

    def close(self) -> None:
        """End the thread, after what waits."""
        self._given.put(None)
        self._thread.join()

    def _run(self) -> None:
        waiting: deque[_Waiting] = deque()
        while True:
            while not waiting or not self._given.empty():
                given = self._given.get()
                if given is None:
                    while waiting:
                        self._answer_next(waiting)
                    return
                waiting += given
            self._answer_next(waiting)

    def _answer_next(self, waiting: deque[_Waiting]) -> None:
        batch = [waiting.popleft() for _ in range(min(self._batch_size, len(waiting)))]
        wanted = [(clips, future) for clips, future in batch if _is_wanted(future)]
        answers = self._answers([clips for clips, _ in wanted])
        _tell([(future, answer) for (_, future), answer in zip(wanted, answers, strict=True)])

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
