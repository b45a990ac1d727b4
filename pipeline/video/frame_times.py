"""Times: the span of a clip, the times of its frames, and the frame of a video that is shown at a time.

Frames are found by timestamps, never by index times average rate: a variable-rate file read by index was 13 frames
off. Times are compared in whole nanoseconds, so that 45/30 s and 1.5 s are the same moment whatever their rounding.

`PresentationOrder` takes which packets the decoder was given, and the frames that it gives back, each with the number
of its packet, in the order in which they are shown. It gives for each asked time a `ShownFrame`, or a `MissingFrame`
where damage hides what is shown. The trade-off: a decoder conceals damage and marks a frame only when it comes out,
after the B-frames that were predicted from it. So a frame is held back until everything decoded before it has come out
clean: at most 32 frames are held, and nothing more is decoded.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec
from signprep.pipeline.errors import DecodeError

LOOKAHEAD_PACKETS: Final = 16
"""Packets read before one is decoded: the most frames that H.264 and HEVC may hold back for reordering."""


TIMES_OF_DECODING: Final = "its times of presentation are those of decoding"
"""Why it is not known when frames are shown that are decoded in another order."""

MAX_FRAME_RATE: Final = 1000
"""A larger one is the time base, which FFmpeg gives where it knows no rate."""

USUAL_FRAME_RATE: Final = 25
"""Taken where a video is a single frame without a length."""


class PacketNumber:
    """The number of a packet in decode order, which FFmpeg hands on to its frame, and what is known of that.

    An object of its own for each packet: PyAV finds what it hands on by its address, so equal integers would be one.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_second_field = self.has_second_field = False
        """The two fields of a frame may be two packets: the frame has the number of the first."""
        self.is_latest = True
        """False for a packet whose time is earlier than that of one before it, as that of a B-frame must be."""
        self.is_before_start = False
        """True for a packet whose frame is not shown, and may fail: it lies before the first that can be decoded."""

    @property
    def has_own_frame(self) -> bool:
        """True if this packet gives a frame that may be shown."""
        return not (self.is_before_start or self.is_second_field)


def number_of(packet: av.Packet) -> PacketNumber:
    """Return the number of a packet that has one."""
    assert isinstance(packet.opaque, PacketNumber)
    return packet.opaque


class CleanStart(NamedTuple):
    """Where a video begins whose first packets cannot all be decoded."""

    packet_number: int
    """Of the first packet that is decoded, in decode order, from 0."""
    pts: int | None
    """Of the first frame that is shown; None where frames have no timestamps."""
    lost: frozenset[int] = frozenset()
    """Numbers of packets behind the first that give no frame, among the next few."""


def span_of_segment(start_seconds: float, end_seconds: float, spec: ClipSpec) -> tuple[float, float]:
    """Return the span [start, end) in seconds that a clip of this segment covers, before clipping to the video.

    >>> span_of_segment(1.0, 2.0, ClipSpec(margin_seconds=0.25))
    (0.75, 2.25)
    >>> span_of_segment(1.0, 2.0, ClipSpec(span=2.0))
    (0.5, 2.5)
    """
    if spec.span == SEGMENT_SPAN:
        return start_seconds - spec.margin_seconds, end_seconds + spec.margin_seconds
    middle, half = (start_seconds + end_seconds) / 2, float(spec.span) / 2
    return middle - half, middle + half


def sample_times(start_seconds: float, end_seconds: float, num_frames: int) -> NDArray[np.float64]:
    """Return the middles of `num_frames` equal parts of [start, end), in seconds, float64 [T].

    >>> sample_times(1.0, 2.0, 4).tolist()
    [1.125, 1.375, 1.625, 1.875]
    """
    middles = np.arange(num_frames, dtype=np.float64) + 0.5
    return start_seconds + middles * ((end_seconds - start_seconds) / num_frames)


def nanoseconds(seconds: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Round times in seconds to whole nanoseconds, int64."""
    return np.rint(np.asarray(seconds, dtype=np.float64) * 1e9).astype(np.int64)


def shown_frames(timestamps: Sequence[float] | NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each time the index of the frame shown then: the last with a timestamp <= that time.

    Args:
        timestamps: presentation times of all frames in seconds, ascending.
        times: moments in seconds.

    Returns:
        int64, the shape of `times`; -1 before the first frame.

    >>> shown_frames([0.0, 1 / 30, 2 / 30], np.array([0.0, 0.05, 9.0])).tolist()
    [0, 1, 2]
    """
    return np.searchsorted(nanoseconds(timestamps), nanoseconds(times), side="right") - 1


def declared_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Return how long a container says that the stream lasts, 0 if it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Of several streams the container tells the longest only, which may be the sound.
    if not container.duration or len(container.streams) > 1:
        return 0.0
    # Matroska counts from 0, whenever the first frame is shown.
    return max(0.0, (container.duration - max(0, container.start_time or 0)) / av.time_base)


def declared_ticks(stream: VideoStream) -> int:
    """Return how long a frame is shown at the rate that a stream declares, in units of its time base."""
    rate, base = stream.average_rate or stream.guessed_rate or 0, stream.time_base
    return round(1 / ((rate if 0 < rate <= MAX_FRAME_RATE else USUAL_FRAME_RATE) * base)) if base else 0


def nanoseconds_of(pts: int, base: Fraction | None) -> int:
    """Return a timestamp in units of a stream's time base in nanoseconds, rounded once.

    The base is handed in, since PyAV makes a new Fraction of it each time it is asked.
    """
    assert base is not None
    return (2 * pts * base.numerator * 10**9 + base.denominator) // (2 * base.denominator)


_MAX_HELD_FRAMES = 2 * LOOKAHEAD_PACKETS
_OF_ONE_FRAME = 0.75
"""Two packets less than this part of a frame's length apart are the two fields of one frame."""


class ShownFrame(NamedTuple):
    """The answer for one asked time."""

    time_index: int
    """Which of the asked times this answers."""
    timestamp_seconds: float
    """When the frame starts to be shown, from the first presented frame."""
    frame: av.VideoFrame
    """As decoded: before rotation, crop and scaling. The same object for neighbouring times that show it."""


class MissingFrame(NamedTuple):
    """One asked time whose frame is damaged, or not there."""

    time_index: int
    error: DecodeError


def shown_or_raised(answers: Iterator[ShownFrame | MissingFrame]) -> Iterator[ShownFrame]:
    """Yield the frames; raise the DecodeError of the first time without one."""
    for answer in answers:
        if isinstance(answer, MissingFrame):
            raise answer.error
        yield answer


class _Held(NamedTuple):
    start_ns: int
    decode_index: int
    frame: av.VideoFrame


class _Unknown(NamedTuple):
    """[start_ns, end_ns) in which it is not known what is shown; end_ns is None for the rest of the video."""

    start_ns: int
    end_ns: int | None
    reason: str


class PresentationOrder:
    """Answers ascending times from frames in presentation order; all times are nanoseconds from the first frame."""

    def __init__(
        self,
        name: str,
        times_ns: NDArray[np.int64],
        *,
        every_packet_shows: bool,
        ticks_to_ns: float,
    ) -> None:
        """Begin with nothing decoded.

        Args:
            name: what errors call the video.
            times_ns: ascending.
            every_packet_shows: a packet that gives no frame is damage, rather than lawful for its codec.
            ticks_to_ns: length in nanoseconds of one unit of the frames' durations, 0 if they mean nothing.
        """
        self._name = name
        self._times_ns = times_ns
        self._every_packet_shows = every_packet_shows
        self._ticks_to_ns = ticks_to_ns
        self._next = 0
        self._outstanding: dict[int, int | None] = {}  # decode index -> start, where it is known
        self._held: deque[_Held] = deque()
        self._shown: tuple[int, av.VideoFrame] | None = None
        self._last_out_ns: int | None = None
        self._end_ns = self._step_ns = 0
        self._unknown: _Unknown | None = None
        self._past: _Unknown | None = None
        self._last_sent = -1
        self._given_up: set[int] = set()
        self.is_out_of_order = False
        """True if frames come out in another order than that of their times."""
        self.damage_found = False
        """Return True if a packet was damaged, so that decoding on, before the next key frame, is of no use."""

    @property
    def done(self) -> bool:
        """Return True if every time has its answer."""
        return self._next == len(self._times_ns)

    def sent(self, decode_index: int, start_ns: int | None, *, shows: bool) -> None:
        """Note that the decoder gets a packet.

        Args:
            decode_index: number of the packet.
            start_ns: when its frame starts, if that is known.
            shows: False where its frame is to be discarded, or was skipped.
        """
        # Frames before the first presented one are decoded for others to refer to, or lead a cut stream.
        if shows and (start_ns is None or start_ns >= 0):
            self._outstanding[decode_index] = start_ns
        self._last_sent = decode_index

    def damaged(self, reason: str, upcoming_ns: Iterable[int], *, decode_index: int | None = None) -> None:
        """Note that the packet sent last, or the one with that index, is damaged: it and all behind it give nothing.

        Args:
            reason: in a few words.
            upcoming_ns: starts of the packets that are known and have not been sent.
            decode_index: of the first damaged packet.
        """
        self.damage_found = True
        index = self._last_sent if decode_index is None else decode_index
        starts = [start for number, start in self._outstanding.items() if number >= index and start is not None]
        starts += [held.start_ns for held in self._held if held.decode_index >= index]
        self.cut(reason, min([*starts, *upcoming_ns], default=0))
        self._held = deque(held for held in self._held if held.decode_index < index)
        self._outstanding = {number: start for number, start in self._outstanding.items() if number < index}

    def cut(self, reason: str, start_ns: int) -> None:
        """Note that nothing is known about frames that start at that time or later."""
        if self._unknown is None or start_ns < self._unknown.start_ns:
            self._unknown = _Unknown(start_ns, None, reason)
        self._held = deque(held for held in self._held if held.start_ns < self._unknown.start_ns)

    def resumed(self, start_ns: int) -> Iterator[MissingFrame]:
        """Note that decoding goes on with a key frame: from its start on it is known again what is shown."""
        assert self._unknown is not None
        self._past = _Unknown(self._unknown.start_ns, start_ns, self._unknown.reason)
        while not self.done and self._times_ns[self._next] < start_ns:
            yield self._missing(self._past)
        self._unknown, self.damage_found = None, False
        self._outstanding, self._held = {}, deque()
        self._shown, self._last_out_ns = None, start_ns - 1

    def came_out(
        self, start_ns: int, frame: av.VideoFrame, decode_index: int, upcoming_ns: Callable[[], Iterable[int]]
    ) -> Iterator[ShownFrame | MissingFrame]:
        """Take the next frame; yield the answers that are certain with it.

        `upcoming_ns` is called where the frame is damaged.
        """
        self._outstanding.pop(decode_index, None)
        if decode_index in self._given_up and self._unknown is not None:
            # It was not lost: it is shown behind one whose time is later.
            self.is_out_of_order = True
            self._unknown = self._unknown._replace(reason=TIMES_OF_DECODING)
        if frame.interlaced_frame:
            self._take_other_field(decode_index, start_ns, frame)
        if self._last_out_ns is not None and start_ns < self._last_out_ns:
            return
        if self._unknown is not None and start_ns >= self._unknown.start_ns:
            return
        leading = self._last_out_ns is None
        self._held.append(_Held(start_ns, decode_index, frame))
        if frame.is_corrupt:
            self.damaged(f"the frame at {start_ns / 1e9:.3f} s is damaged", upcoming_ns(), decode_index=decode_index)
        lost = [number for number, start in self._outstanding.items() if start is not None and start < start_ns]
        if len(self._held) > _MAX_HELD_FRAMES:
            lost += self._outstanding
        if lost and self._every_packet_shows and not leading:
            self._given_up.update(lost)
            self.damaged("a frame did not come out of the decoder", upcoming_ns(), decode_index=min(lost))
        for number in lost:
            self._outstanding.pop(number, None)
        self._last_out_ns = start_ns
        yield from self._show_certain()

    def _take_other_field(self, decode_index: int, start_ns: int, frame: av.VideoFrame) -> None:
        """Where a frame's two fields are two packets, the other one gives no frame of its own."""
        length_ns = frame.duration * self._ticks_to_ns or self._step_ns
        for number in (decode_index - 1, decode_index + 1):
            start = self._outstanding.get(number, -1)
            if start is None or (start >= 0 and abs(start - start_ns) < _OF_ONE_FRAME * length_ns):
                del self._outstanding[number]

    def end(self, upcoming_ns: Iterable[int], frame_ns: int) -> Iterator[ShownFrame | MissingFrame]:
        """Yield what is certain when the decoder has given all its frames.

        Args:
            upcoming_ns: starts of known packets that were not needed, and so not sent.
            frame_ns: how long the last frame is shown if it does not tell.
        """
        upcoming = list(upcoming_ns)
        if self._outstanding and self._every_packet_shows:
            first = min(self._outstanding)
            self.damaged("a frame did not come out of the decoder", upcoming, decode_index=first)
        self._outstanding = {}
        yield from self._show_certain()
        if self._shown is not None and self._end_ns <= self._shown[0]:
            self._end_ns = self._shown[0] + max(1, frame_ns)
        until_ns = self._unknown.start_ns if self._unknown is not None else min(upcoming, default=self._end_ns)
        yield from self._settle(until_ns)

    def rest(self, note: str | None) -> Iterator[MissingFrame]:
        """Yield the times that are left without a frame at the end of the video.

        Args:
            note: why packets that are there were not read, if there are any.
        """
        while not self.done:
            if self._unknown is not None:
                yield self._missing(self._unknown)
                continue
            seconds = self._times_ns[self._next] / 1e9
            why = note or "the file is truncated or damaged"
            yield self._take(
                DecodeError(
                    f"{self._name}: its frames end at {self._end_ns / 1e9:.3f} s, before the asked {seconds:.3f} s; "
                    f"{why}"
                )
            )

    def _missing(self, unknown: _Unknown) -> MissingFrame:
        seconds, start = self._times_ns[self._next] / 1e9, unknown.start_ns / 1e9
        until = "" if unknown.end_ns is None else f" until the key frame at {unknown.end_ns / 1e9:.3f} s"
        return self._take(
            DecodeError(
                f"{self._name}: damaged or cut off at {start:.3f} s{until}, so there is no frame for "
                f"{seconds:.3f} s ({unknown.reason})"
            )
        )

    def _take(self, error: DecodeError) -> MissingFrame:
        index, self._next = self._next, self._next + 1
        return MissingFrame(index, error)

    def _show_certain(self) -> Iterator[ShownFrame | MissingFrame]:
        """Release the held frames in front of which every packet sent before them has come out."""
        while self._held:
            held = self._held[0]
            if any(number < held.decode_index for number in self._outstanding):
                return
            self._held.popleft()
            yield from self._settle(held.start_ns)
            self._step_ns = held.start_ns - self._shown[0] if self._shown else 0
            self._shown = (held.start_ns, held.frame)
            self._end_ns = held.start_ns + round(held.frame.duration * self._ticks_to_ns)

    def _settle(self, before_ns: int) -> Iterator[ShownFrame | MissingFrame]:
        """Answer the times before that with the frame shown now, unless they lie behind damage."""
        if self._unknown is not None:
            before_ns = min(before_ns, self._unknown.start_ns)
        while not self.done and self._times_ns[self._next] < before_ns:
            if self._shown is None:
                error = DecodeError(f"{self._name}: no frame is shown at {self._times_ns[self._next] / 1e9:.3f} s")
                yield self._take(error)
                continue
            start_ns, frame = self._shown
            index, self._next = self._next, self._next + 1
            yield ShownFrame(index, start_ns / 1e9, frame)
