"""Decoded frames, as they come out of the decoder, to the frame that is shown at each asked time.

In: the packets that the decoder gets, and the frames that it gives back in presentation order. Out: a `ShownFrame` for
each asked time, or a DecodeError at the first time that lies at or after damage. The trade-off: a decoder conceals
damage and marks a frame only when it comes out, after the B-frames that were predicted from it. So a frame is held back
until everything decoded before it has come out clean: at most 16 frames are held, and nothing more is decoded.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.errors import DecodeError


class ShownFrame(NamedTuple):
    """The frame that is shown at the asked time of that index."""

    time_index: int
    timestamp_seconds: float
    """Start of the frame, from the first presented frame."""
    frame: av.VideoFrame
    """The frame as decoded, before rotation, crop and scaling; the same object for neighbouring times that show it."""


class _Held(NamedTuple):
    start_ns: int
    decode_index: int
    frame: av.VideoFrame


class PresentationOrder:
    """Answers ascending times from frames in presentation order; all times are nanoseconds from the first frame."""

    def __init__(self, name: str, times_ns: NDArray[np.int64], *, every_packet_shows: bool) -> None:
        """`every_packet_shows`: a packet that gives no frame is damage, rather than lawful for its codec."""
        self._name = name
        self._times_ns = times_ns
        self._every_packet_shows = every_packet_shows
        self._next = 0
        self._num_sent = 0
        self._outstanding: dict[int, int] = {}  # starts of frames that have not come out yet -> decode index
        self._held: deque[_Held] = deque()
        self._shown: tuple[int, av.VideoFrame] | None = None
        self._last_out_ns: int | None = None
        self._end_ns = 0
        self._limit_ns: int | None = None
        self._reason: str | None = None
        self.damage_found = False
        """True once a packet was damaged, so that decoding further is of no use."""

    @property
    def done(self) -> bool:
        """True if every time has its frame."""
        return self._next == len(self._times_ns)

    def sent(self, start_ns: int) -> None:
        """Note that the decoder gets the packet of a frame that starts then."""
        # Frames before the first presented one are decoded for others to refer to, or lead a cut stream.
        if start_ns >= 0:
            self._outstanding[start_ns] = self._num_sent
        self._num_sent += 1

    def damaged(self, reason: str, upcoming_ns: Iterable[int], *, decode_index: int | None = None) -> None:
        """Note that the packet sent last, or the one with that index, is damaged: frames from it on are not shown.

        Args:
            reason: in a few words.
            upcoming_ns: starts of the packets that are known and have not been sent.
            decode_index: of the first damaged packet.
        """
        self.damage_found = True
        index = self._num_sent - 1 if decode_index is None else decode_index
        starts = [start for start, number in self._outstanding.items() if number >= index]
        starts += [held.start_ns for held in self._held if held.decode_index >= index]
        self.cut(reason, min([*starts, *upcoming_ns], default=0))
        self._held = deque(held for held in self._held if held.decode_index < index)
        self._outstanding = {start: number for start, number in self._outstanding.items() if number < index}

    def cut(self, reason: str, limit_ns: int) -> None:
        """Note that nothing is known about frames that start at that time or later."""
        if self._limit_ns is None or limit_ns < self._limit_ns:
            self._reason, self._limit_ns = reason, limit_ns
        self._held = deque(held for held in self._held if held.start_ns < self._limit_ns)

    def came_out(self, start_ns: int, frame: av.VideoFrame, upcoming_ns: Iterable[int]) -> Iterator[ShownFrame]:
        """Take the next frame; yield the answers that are certain with it."""
        if self._last_out_ns is not None and start_ns <= self._last_out_ns:
            return
        if self._limit_ns is not None and start_ns >= self._limit_ns:
            return
        leading = self._last_out_ns is None
        index = self._outstanding.get(start_ns, self._num_sent - 1)
        lost = [number for start, number in self._outstanding.items() if start < start_ns]
        self._held.append(_Held(start_ns, index, frame))
        if frame.is_corrupt:
            self.damaged(f"the frame at {start_ns / 1e9:.3f} s is damaged", upcoming_ns, decode_index=index)
        if lost and self._every_packet_shows and not leading:
            self.damaged("a frame did not come out of the decoder", upcoming_ns, decode_index=min(lost))
        self._outstanding = {start: number for start, number in self._outstanding.items() if start > start_ns}
        self._last_out_ns = start_ns
        yield from self._show_certain()

    def end(self, upcoming_ns: Iterable[int]) -> Iterator[ShownFrame]:
        """Yield the last answers, when no more frames come; raise DecodeError if a time is left without one.

        Args:
            upcoming_ns: starts of known packets that were not needed, and so not sent.
        """
        upcoming = list(upcoming_ns)
        if self._outstanding and self._every_packet_shows:
            first = min(self._outstanding.values())
            self.damaged("a frame did not come out of the decoder", upcoming, decode_index=first)
        self._outstanding = {}
        yield from self._show_certain()
        until_ns = self._limit_ns if self._limit_ns is not None else min(upcoming, default=self._end_ns)
        yield from self._settle(until_ns)
        if self.done:
            return
        seconds = self._times_ns[self._next] / 1e9
        if self._reason is not None:
            raise DecodeError(
                f"{self._name}: damaged or cut off at {until_ns / 1e9:.3f} s, so there is no frame for "
                f"{seconds:.3f} s ({self._reason})"
            )
        raise DecodeError(
            f"{self._name}: its frames end at {until_ns / 1e9:.3f} s, before the asked {seconds:.3f} s; "
            "the file is truncated or damaged"
        )

    def _show_certain(self) -> Iterator[ShownFrame]:
        """Release the held frames in front of which every packet sent before them has come out."""
        while self._held:
            held = self._held[0]
            if any(number < held.decode_index for number in self._outstanding.values()):
                return
            self._held.popleft()
            yield from self._settle(held.start_ns)
            before_ns = self._shown[0] if self._shown else held.start_ns
            # Some containers tell no duration: the last frame is then shown as long as the one before it.
            duration = held.frame.duration
            base = held.frame.time_base
            length_ns = round(duration * base * 10**9) if duration and base else held.start_ns - before_ns
            self._shown, self._end_ns = (held.start_ns, held.frame), held.start_ns + max(1, length_ns)

    def _settle(self, before_ns: int) -> Iterator[ShownFrame]:
        """Answer the times before that with the frame shown now, unless they lie behind damage."""
        if self._limit_ns is not None:
            before_ns = min(before_ns, self._limit_ns)
        while not self.done and self._times_ns[self._next] < before_ns:
            if self._shown is None:
                raise DecodeError(f"{self._name}: no frame is shown at {self._times_ns[self._next] / 1e9:.3f} s")
            start_ns, frame = self._shown
            index, self._next = self._next, self._next + 1
            yield ShownFrame(index, start_ns / 1e9, frame)
