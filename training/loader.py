"""Batches of stored clips from a cache: read ahead in threads, into buffers that are used again and again.

Out: `Batch`es with clips as stored, uint8 [B, T, ...], their labels, positions and random numbers for augmentation.
Threads, not processes: decompression releases the interpreter's lock, and nothing has to be copied between processes.
Frames that a model is not shown are left out by the threads, and a GPU gets the next batch while it computes one.
Training goes on reading while validation runs: the first batches of the next epoch are there when it begins.
"""

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signprep.cache_builder import as_cache
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.remote.streaming import Prefetcher, StreamedCache
from signprep.pipeline.errors import CheckpointError
from signprep.training.data.epoch_order import (
    BatchPlan,
    balanced_order,
    mixing_seed,
    shuffled_order,
    streaming_order,
    uniform_draws,
)
from signprep.training.runtime.copies import Copies, Copy

PREFETCHED_BATCHES = 4
"""Batches in memory or being read, ahead of the one in use."""

FrameChooser = Callable[[Tensor, int], Tensor | None]
"""Which of T stored frames are wanted, int64 [B, t], or None for all: a function of the clips' draws [B, d] and T."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips as stored, with their labels. The memory of `clips` is used again once nobody holds `clips`."""

    clips: Tensor
    """uint8 [B, T, 3S/2, S] or [B, T, S, S, 3], or float16 [B, T, 75, 3]; of T frames the t that were chosen."""
    labels: Tensor
    """int64 [B]."""
    positions: Tensor
    """int64 [B], on the CPU."""
    draws: Tensor
    """float32 [B, num_draws], uniform in [0, 1), on the CPU: they decide the augmentation of each clip."""
    mixing_seed: int
    """Seed of mixup and CutMix, which are drawn once for the whole batch."""
    weight: float = 1.0
    """Factor on the mean loss, 1 unless ranks have batches of different sizes."""
    frames_chosen: bool = False
    """True if the clips hold the frames that the model is shown, and no others."""
    buffer: "_Buffer | None" = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Self:
        """Return the batch with clips and labels on a device; copies from pinned memory do not wait."""
        if device.type == "cpu":
            return self
        clips, labels = (values.to(device, non_blocking=True) for values in (self.clips, self.labels))
        moved = replace(self, clips=clips, labels=labels, buffer=None)
        if self.buffer is not None and self.clips.is_pinned():
            self.buffer.copied = torch.cuda.Event()
            self.buffer.copied.record()
        return moved


@dataclass(kw_only=True)
class _Buffer:
    """Memory of one batch."""

    clips: Tensor
    copied: Any = None
    """CUDA event after which the memory may be written again."""


@dataclass(kw_only=True)
class ClipLoader:
    """Iterable over the batches of an epoch; where one epoch ends, the next iteration begins the next one.

    `state_dict` says which batch comes next; a loader that takes it with `load_state_dict` goes on from there.
    """

    cache: Cache
    """Open; the path or URL of one is opened."""
    positions: NDArray[np.int64]
    """Ascending, without repetition."""
    batch_size: int
    """Clips a batch on this rank."""
    shuffle: bool = False
    balance: bool = False
    """Every class comes equally often in an epoch; needs `shuffle`."""
    seed: int = 0
    num_draws: int = 0
    """Random numbers a clip."""
    frame_chooser: FrameChooser | None = None
    """Keeps, of each clip, the frames that it names; None keeps all."""
    num_workers: int = 1
    """Threads that read."""
    pin_memory: bool = False
    copies: Copies | None = None
    """Copies batches to their device, each while the one before is in use; None leaves them on the CPU."""
    rank: int = 0
    num_ranks: int = 1
    epoch: int = 0
    step: int = 0
    """The batch that comes next is number `step` of `epoch`."""
    wait_seconds: float = 0.0
    """Time that the consumer has waited for batches, altogether."""
    streaming: bool | None = None
    """Mix shards so that they can come over a network; None: if the cache's do."""

    def __post_init__(self) -> None:
        self.cache = as_cache(self.cache)
        positions = np.asarray(self.positions)
        if positions.ndim != 1 or (positions.size and positions.dtype.kind not in "iu"):
            raise TypeError(f"positions are {self.positions!r:.60}; expected whole numbers, as of Cache.positions")
        self.positions = positions.astype(np.int64)
        if self.streaming is None:
            self.streaming = self.cache.is_streamed
        self._plan = BatchPlan(num_clips=len(self.positions), batch_size=self.batch_size, num_ranks=self.num_ranks)
        self._labels = self.cache.labels()
        self._order: tuple[int, NDArray[np.int64]] | None = None
        self._free: SimpleQueue[_Buffer] = SimpleQueue()
        self._ahead: deque[Future[Batch]] = deque()
        self._coming: tuple[Batch, Copy] | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._prefetcher: Prefetcher | None = None
        self._next_read, self._announced = (self.epoch, self.step), -1
        self._restart()

    def __len__(self) -> int:
        return len(self._plan)

    def epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """Return the positions in the order of an epoch, of all ranks together."""
        if not self.shuffle:
            return self.positions
        if self._order is None or self._order[0] != epoch:
            if self.balance:
                order = balanced_order(self.positions, self._labels[self.positions], seed=self.seed, epoch=epoch)
            else:
                mixed = streaming_order if self.streaming else shuffled_order
                order = mixed(self.positions, self.cache.info.clips_per_shard, seed=self.seed, epoch=epoch)
            self._order = epoch, order
        return self._order[1]

    def state_dict(self) -> dict[str, int]:
        """Return the place of the next batch, the kind of the order, and the ranks that share an epoch."""
        # "gradual" is the streaming order's name in checkpoints.
        place = {"epoch": self.epoch, "step": self.step}
        return place | {"gradual": int(bool(self.streaming)), "num_ranks": self.num_ranks}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from another batch, in the order that it belongs to, wherever the cache lies now.

        Raises:
            CheckpointError: an epoch that has begun was divided among another number of ranks.
        """
        num_ranks = state.get("num_ranks", self.num_ranks)
        if state["step"] and num_ranks != self.num_ranks:
            raise CheckpointError(
                f"the checkpoint was written within an epoch that {num_ranks} devices shared; this run has "
                f"{self.num_ranks}, whose batches are others: give --devices {num_ranks}"
            )
        self.epoch, self.step = state["epoch"], state["step"]
        self.streaming, self._order = bool(state.get("gradual", self.streaming)), None
        self._restart()

    def __iter__(self) -> Iterator[Batch]:
        """Return an iterator to the end of the present epoch."""
        return (self.next_batch() for _ in range(len(self) - self.step))

    def next_batch(self) -> Batch:
        """Return the next batch; after the last one of an epoch comes the first one of the next."""
        while len(self._ahead) <= PREFETCHED_BATCHES:
            # In order, an epoch is read when it is asked for; shuffled, the next one is begun meanwhile.
            if not self.shuffle and self._ahead and self._next_read[0] != self.epoch:
                break
            self._submit()
        started = time.perf_counter()
        batch = self._copied() if self.copies is not None else self._ahead.popleft().result()
        self.wait_seconds += time.perf_counter() - started
        self.step += 1
        if self.step == len(self):
            self.epoch, self.step = self.epoch + 1, 0
        return batch

    def _copied(self) -> Batch:
        """Return the next batch on its device, and begin to copy the one after it, if that has been read."""
        assert self.copies is not None
        batch, copy = self._coming or self._begun(self._ahead.popleft().result())
        self._coming = None
        clips, labels = self.copies.finish(copy)
        if self._ahead and self._ahead[0].done() and self._ahead[0].exception() is None:
            self._coming = self._begun(self._ahead.popleft().result())
        return replace(batch, clips=clips, labels=labels, buffer=None)

    def _begun(self, batch: Batch) -> tuple[Batch, Copy]:
        assert self.copies is not None and batch.buffer is not None
        copy = self.copies.begin((batch.clips, batch.labels))
        batch.buffer.copied = copy.done
        # Of what is on its way no view is held: the memory is written again as soon as the copy is done.
        return replace(batch, clips=copy.tensors[0], labels=copy.tensors[1], buffer=None), copy

    @property
    def stalled_seconds(self) -> float:
        """Time that the device has waited for copies, altogether."""
        return 0.0 if self.copies is None else self.copies.stalled_seconds

    def _submit(self) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._threads_by_batch, thread_name_prefix="signprep-load")
        epoch, step = self._next_read
        order = self.epoch_order(epoch)
        if self._prefetcher is not None and self._announced < epoch:
            self._announced = epoch
            self._prefetcher.announce(order[self._plan.bounds(step, rank=0)[0] :])
        self._ahead.append(self._threads.submit(self._read, epoch, step, order))
        self._next_read = (epoch, step + 1) if step + 1 < len(self) else (epoch + 1, 0)

    @property
    def _threads_by_batch(self) -> int:
        """Threads of which each reads a batch; more than there are batches share the clips of each."""
        return max(1, min(self.num_workers, PREFETCHED_BATCHES + 1))

    def _read(self, epoch: int, step: int, order: NDArray[np.int64]) -> Batch:
        first, last = self._plan.bounds(step, rank=self.rank)
        positions = order[first:last]
        draws = torch.from_numpy(uniform_draws(first, len(positions), self.num_draws, seed=self.seed, epoch=epoch))
        clip_shape = self.cache.clip_spec.clip_shape
        chosen = None if self.frame_chooser is None else self.frame_chooser(draws, clip_shape[0])
        num_frames = clip_shape[0] if chosen is None else chosen.shape[1]
        buffer = self._take_buffer(len(positions), (num_frames, *clip_shape[1:]))
        # A view of its own: when it is collected, nobody holds the batch and the buffer is free again.
        clips = buffer.clips[: len(positions)]
        if self._prefetcher is not None:
            self._prefetcher.used(positions)
        self.cache.read(
            positions,
            out=clips.numpy(),
            threads=1 + max(0, self.num_workers - self._threads_by_batch),
            frames=None if chosen is None else chosen.numpy(),
        )
        weakref.finalize(clips, self._free.put, buffer)
        return Batch(
            clips=clips,
            labels=torch.from_numpy(self._labels[positions].astype(np.int64)),
            positions=torch.from_numpy(positions.copy()),
            draws=draws,
            mixing_seed=mixing_seed(first, seed=self.seed, epoch=epoch),
            weight=self._plan.weight(step, rank=self.rank),
            frames_chosen=self.frame_chooser is not None,
            buffer=buffer,
        )

    def _take_buffer(self, num_clips: int, clip_shape: tuple[int, ...]) -> _Buffer:
        try:
            buffer = self._free.get_nowait()
            if len(buffer.clips) >= num_clips:
                if buffer.copied is not None:
                    buffer.copied.synchronize()  # the copy to the GPU may still be reading the memory
                return buffer
        except Empty:
            pass
        shape = (max(num_clips, self.batch_size), *clip_shape)
        return _Buffer(
            clips=torch.empty(shape, dtype=getattr(torch, self.cache.clip_spec.dtype), pin_memory=self.pin_memory)
        )

    def _restart(self) -> None:
        """Forget all that was read ahead; nothing is read or fetched before the next batch is asked for."""
        for future in self._ahead:
            future.cancel()
        self._ahead.clear()
        self._coming = None
        self._next_read = self.epoch, self.step
        if self._prefetcher is not None:
            self._prefetcher.close()
        self._prefetcher = self.cache.prefetcher() if isinstance(self.cache, StreamedCache) else None
        self._announced = -1

    def close(self) -> None:
        """End the threads; a later iteration starts new ones, from the batch that comes next."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None
        self._restart()
