"""Copies to a GPU beside its arithmetic: a stream of its own for them, and events that say when each is done.

A copy that is begun while the step before is computed costs no time of its own, if it comes from page-locked memory.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Copy:
    """Tensors on their way to a device."""

    tensors: tuple[Tensor, ...]
    """On the device; what they hold counts once the copy was finished, as of `Copies.finish`."""
    done: Any
    """Event after which the memory that was copied from may be written again."""


class Copies:
    """Copies to one device."""

    def __init__(self, device: torch.device, streams: ModuleType | Any = torch.cuda) -> None:
        """Make the stream.

        Args:
            device: that is copied to.
            streams: has Stream, Event, stream and current_stream as torch.cuda has them.
        """
        self.device = device
        self._streams = streams
        self._stream = streams.Stream(device)
        self._stalls: deque[tuple[Any, Any]] = deque()
        self._stalled_seconds = 0.0

    def begin(self, tensors: Sequence[Tensor]) -> Copy:
        """Begin to copy tensors of the CPU; neither the CPU nor what the device computes waits for it."""
        with self._streams.stream(self._stream):
            moved = tuple(self._moved(tensor) for tensor in tensors)
        done = self._streams.Event()
        done.record(self._stream)
        return Copy(moved, done)

    def finish(self, copy: Copy) -> tuple[Tensor, ...]:
        """Return the tensors of a copy for use on the current stream, which waits for it; the CPU does not."""
        current = self._streams.current_stream(self.device)
        before, after = (self._streams.Event(enable_timing=True) for _ in range(2))
        before.record(current)
        current.wait_event(copy.done)
        after.record(current)
        self._stalls.append((before, after))
        for tensor in copy.tensors:
            if tensor.is_cuda:  # its memory is the copying stream's, which must not give it away before its use here
                tensor.record_stream(current)
        return copy.tensors

    @property
    def stalled_seconds(self) -> float:
        """Time that the device has waited for copies, as far as it has come; nothing is waited for to know it."""
        while self._stalls and self._stalls[0][1].query():
            before, after = self._stalls.popleft()
            self._stalled_seconds += before.elapsed_time(after) / 1000
        return self._stalled_seconds

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, non_blocking=True)
