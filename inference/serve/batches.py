"""Clips of all requests, through the model together: one thread calls it with whatever waits.

In: a window's clips, from any thread. Out: a future of its class probabilities. Nothing waits for a batch to be full,
so that a request that is alone is answered at once; under load, batches fill by themselves.
"""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.metrics import Metrics

Row = NDArray[np.float32]
"""Class probabilities, float32 [classes]."""


class Batches:
    """The one thread that calls the model."""

    def __init__(self, recognizer: Recognizer, batch_size: int, metrics: Metrics) -> None:
        self._recognizer, self._batch_size, self._metrics = recognizer, batch_size, metrics
        self._waiting: queue.SimpleQueue[tuple[Sequence[Any], Future[Row]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="signprep-model", daemon=True)
        self._thread.start()

    def submit(self, clips: Sequence[Any]) -> "Future[Row]":
        """Return what will be the probabilities of a window, whose clips are one for each of the recognizer's specs.

        The future raises SignprepError if there is no memory for its batch, or the model's answers are no numbers.
        """
        future: Future[Row] = Future()
        self._waiting.put((clips, future))
        return future

    def close(self) -> None:
        """End the thread, after what waits."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, ends = [first], False
            while len(batch) < self._batch_size and not self._waiting.empty():
                if (more := self._waiting.get()) is None:
                    ends = True
                    break
                batch.append(more)
            self._answer([(clips, future) for clips, future in batch if future.set_running_or_notify_cancel()])
            if ends:
                return

    def _answer(self, batch: "Sequence[tuple[Sequence[Any], Future[Row]]]") -> None:
        if not batch:
            return
        start = time.perf_counter()
        try:
            rows = self._recognizer.window_probabilities([clips for clips, _ in batch])
        except BaseException as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # one of them may be to blame: the others get their answers
                for one in batch:
                    self._answer([one])
            return
        for (_, future), row in zip(batch, rows, strict=True):
            future.set_result(row.copy())
        self._metrics.add("batches_total")
        self._metrics.add("windows_total", len(batch))
        self._metrics.add("model_seconds_total", time.perf_counter() - start)
