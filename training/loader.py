"""Batches of stored clips from a cache: read ahead in threads, in an order that a seed decides.

Out: dictionaries with `clips` (uint8 [B, T, ...] as stored), `labels` (int64 [B]) and `positions` (int64 [B]).
Threads, not processes: decompression releases the interpreter's lock, and nothing has to be copied between processes.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signprep.cache_builder.reader import Cache

PREFETCHED_BATCHES = 4
"""Batches in memory or being read, ahead of the one in use."""

Batch = dict[str, Tensor]


@dataclass(kw_only=True)
class ClipLoader:
    """Iterable over the batches of an epoch; each iteration is the next epoch."""

    cache: Cache
    positions: NDArray[np.int64]
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    num_workers: int = 1
    """Threads that read."""
    pin_memory: bool = False
    epoch: int = 0
    """The epoch that the next iteration gives; it decides the order together with the seed."""

    def __len__(self) -> int:
        return -(-len(self.positions) // self.batch_size)

    def epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """Return all positions in the order of an epoch, each exactly once."""
        if not self.shuffle:
            return self.positions
        return np.random.default_rng((self.seed, epoch)).permutation(self.positions)

    def __iter__(self) -> Iterator[Batch]:
        order = self.epoch_order(self.epoch)
        self.epoch += 1
        batches = [order[first : first + self.batch_size] for first in range(0, len(order), self.batch_size)]
        labels = self.cache.labels()
        with ThreadPoolExecutor(max(1, self.num_workers), thread_name_prefix="signprep-read") as threads:
            ahead: deque[Future[Batch]] = deque()
            try:
                for batch in batches:
                    ahead.append(threads.submit(self._read, batch, labels))
                    if len(ahead) > PREFETCHED_BATCHES:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _read(self, positions: NDArray[np.int64], labels: NDArray[np.int32]) -> Batch:
        clips = torch.empty(
            (len(positions), *self.cache.clip_spec.clip_shape), dtype=torch.uint8, pin_memory=self.pin_memory
        )
        self.cache.read(positions, out=clips.numpy())
        return {
            "clips": clips,
            "labels": torch.from_numpy(labels[positions].astype(np.int64)),
            "positions": torch.from_numpy(positions),
        }
