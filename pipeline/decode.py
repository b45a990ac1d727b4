"""Video files to the frames shown at given times, decoded in one pass with PyAV.

In: a path and ascending times in seconds from the first presented frame. Out: for each time the decoded frame that
is shown then. Only packets up to the last wanted frame are decoded, and for H.264 FFmpeg is told before each packet
whether its frame is wanted, so that unwanted frames that no other frame refers to are never decoded (bit-identical,
about a quarter of the CPU saved on B-pyramids). The trade-off: one thread a video, since a build has a video for
every core; and no seeking, since AIHub's videos have a single keyframe.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import av
import numpy as np

from signprep.pipeline.errors import DecodeError
from signprep.pipeline.sampling import nanoseconds

MAX_FRAME_PIXELS = 8192 * 8192
"""Frames larger than this are refused before memory is taken for them."""

LOOKAHEAD_PACKETS = 16
"""Packets read before one is decoded: the most frames that H.264 may hold back for reordering."""

NONREF_SKIP_IS_EXACT = frozenset({"h264"})
"""Codecs whose decoder gives identical frames when unwanted non-reference frames are skipped. In a comparison of 144
files every H.264 one was identical, but 8 of the HEVC, AV1 and MPEG-4 ones had altered or missing frames."""

HIDES_FRAMES = frozenset({"vp8", "vp9", "av1"})
"""Codecs in which a packet may lawfully give no frame."""


class ShownFrame(NamedTuple):
    """The answer for one asked time."""

    time_index: int
    """Which of the asked times this answers."""
    timestamp_seconds: float
    """When the frame starts to be shown, from the first presented frame."""
    frame: av.VideoFrame
    """As decoded: before rotation, crop and scaling. The same object for neighbouring times that show it."""


class VideoReader(Protocol):
    """One open video. Readers are not shared between threads or processes."""

    path: Path

    @property
    def duration_seconds(self) -> float:
        """End of the last presented frame, from the first presented frame."""

    def ends_after(self, seconds: float) -> bool:
        """Whether the video certainly lasts longer than that; cheap, False when in doubt."""

    def frames_at(self, times: Sequence[float] | np.ndarray) -> Iterator[ShownFrame]:
        """Yield the frame shown at each of the ascending times; raise DecodeError at the first without one."""

    def close(self) -> None:
        """Close the file."""


@dataclass(kw_only=True)
class DecodeCounts:
    """What a reader has done so far, for tests and benchmarks."""

    packets_read: int = 0
    packets_unwanted: int = 0
    """Offered to the decoder as skippable; it skips those that no other frame refers to."""
    frames_decoded: int = 0


@dataclass
class _Resolver:
    """Turns frames in presentation order into answers: a time is settled by the first frame after it."""

    path: Path
    times_ns: np.ndarray
    origin_ns: int
    known_ns: set[int] = field(default_factory=set)
    """Starts of frames that the container holds and that have not been decoded yet."""
    next_index: int = 0
    shown: tuple[int, av.VideoFrame] | None = None

    @property
    def done(self) -> bool:
        return self.next_index == len(self.times_ns)

    def settle(self, before_ns: int) -> Iterator[ShownFrame]:
        """Answer the times before `before_ns` with the frame shown now."""
        while not self.done and self.times_ns[self.next_index] < before_ns:
            time_ns = int(self.times_ns[self.next_index])
            if self.shown is None:
                raise DecodeError(f"{self.path}: no frame is shown at {time_ns / 1e9:.3f} s")
            start_ns, frame = self.shown
            lost = [known for known in self.known_ns if start_ns < known <= time_ns]
            if lost:
                raise DecodeError(
                    f"{self.path}: the frame at {min(lost) / 1e9:.3f} s could not be decoded; the file is damaged there"
                )
            yield ShownFrame(self.next_index, start_ns / 1e9, frame)
            self.next_index += 1

    def advance(self, start_ns: int, frame: av.VideoFrame) -> Iterator[ShownFrame]:
        """Settle the times before this frame, then show it."""
        yield from self.settle(start_ns)
        self.known_ns.discard(start_ns)
        self.shown = (start_ns, frame)


class PyAVReader:
    """VideoReader over PyAV. Raises DecodeError if the file does not open or holds no video."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts = DecodeCounts()
        self._first_pts: int | None = None
        self._duration_seconds: float | None = None
        self._open()

    def _open(self) -> None:
        try:
            # Names and tags in the wild are cp949 as often as UTF-8, and never needed here.
            self._container = av.open(str(self.path), metadata_errors="ignore")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(f"{self.path}: does not open as a video ({_reason(error)})") from error
        streams = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic
        ]
        if not streams:
            self._container.close()
            raise DecodeError(f"{self.path}: has no video stream")
        self._stream = streams[0]
        codec = self._stream.codec_context
        if codec is None:
            self._container.close()
            raise DecodeError(f"{self.path}: there is no decoder for its video stream")
        codec.thread_count = 1
        if codec.width * codec.height > MAX_FRAME_PIXELS:
            self._container.close()
            raise DecodeError(
                f"{self.path}: frames of {codec.width}x{codec.height} are over the limit of {MAX_FRAME_PIXELS} pixels"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _nanoseconds(self, pts: int) -> int:
        """Return a timestamp of the stream in nanoseconds, rounded once."""
        base = self._stream.time_base
        assert base is not None
        return (2 * pts * base.numerator * 10**9 + base.denominator) // (2 * base.denominator)

    def ends_after(self, seconds: float) -> bool:
        """Whether the container declares half a second more than that."""
        return self._declared_seconds() > seconds + 0.5

    def _declared_seconds(self) -> float:
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return self._container.duration / av.time_base if self._container.duration else 0.0

    @property
    def duration_seconds(self) -> float:
        """End of the last presented frame, in seconds from the first one, read from all packets.

        Raises DecodeError if the container declares over half a second more than it holds: it has been cut off.
        """
        if self._duration_seconds is None:
            with PyAVReader(self.path) as other:
                self._duration_seconds = other._packet_duration_seconds()
        if self._declared_seconds() > self._duration_seconds + 0.5:
            raise DecodeError(
                f"{self.path}: declares {self._declared_seconds():.3f} s but its frames end at "
                f"{self._duration_seconds:.3f} s; the file is truncated or damaged"
            )
        return self._duration_seconds

    def _packet_duration_seconds(self) -> float:
        starts: list[int] = []
        last_pts = last_duration = 0
        try:
            for packet in self._container.demux(self._stream):
                if packet.size and packet.pts is not None and not packet.is_discard:
                    starts.append(packet.pts)
                    if packet.pts >= last_pts:
                        last_pts, last_duration = packet.pts, packet.duration or 0
        except (av.error.FFmpegError, OSError) as error:
            raise DecodeError(f"{self.path}: cannot be read to its end ({_reason(error)})") from error
        if not starts:
            raise DecodeError(f"{self.path}: its video stream is empty")
        starts.sort()
        if not last_duration and len(starts) > 1:
            last_duration = starts[-1] - starts[-2]
        return (self._nanoseconds(starts[-1] + last_duration) - self._nanoseconds(starts[0])) / 1e9

    def frames_at(self, times: Sequence[float] | np.ndarray) -> Iterator[ShownFrame]:
        """Yield the frame shown at each of the ascending times (seconds from the first presented frame).

        Decodes once, from the start of the file to the last wanted frame. Raises DecodeError at the first time
        whose frame is missing, damaged, or lies behind damage; answers before it have been given by then.
        """
        times_ns = nanoseconds(times)
        if not len(times_ns):
            return
        assert (np.diff(times_ns) >= 0).all(), "times must ascend"
        answered = 0
        while True:
            try:
                for answer in self._frames_in_one_pass(times_ns):
                    answered = answer.time_index + 1
                    yield answer
                return
            except _OriginMovedError as moved:
                # Leading packets gave no frame: time 0 is the first frame that did come out.
                assert not answered
                self._first_pts = moved.first_pts
                self.close()
                self._open()

    def _frames_in_one_pass(self, times_ns: np.ndarray) -> Iterator[ShownFrame]:
        codec = self._stream.codec_context
        may_skip = codec.name in NONREF_SKIP_IS_EXACT
        must_show = codec.name not in HIDES_FRAMES and codec.codec.canonical_name not in HIDES_FRAMES
        packets = self._container.demux(self._stream)
        queue: deque[av.Packet] = deque()
        at_end = self._fill(queue, packets)
        if self._first_pts is None:
            self._first_pts = min((p.pts for p in queue if p.pts is not None and not p.is_discard), default=0)
        origin_ns = self._nanoseconds(self._first_pts)
        resolver = _Resolver(self.path, times_ns, origin_ns)
        last_wanted_ns = int(times_ns[-1])
        damage: str | None = None
        frame_end_ns = 0
        first = True

        def received(frames: list[av.VideoFrame]) -> Iterator[ShownFrame]:
            nonlocal first, frame_end_ns
            for frame in frames:
                self.counts.frames_decoded += 1
                if frame.pts is None:
                    raise DecodeError(f"{self.path}: a frame has no timestamp")
                if first and frame.pts != self._first_pts:
                    raise _OriginMovedError(frame.pts)
                first = False
                start_ns = self._nanoseconds(frame.pts) - origin_ns
                if frame.is_corrupt:
                    raise DecodeError(f"{self.path}: the frame at {start_ns / 1e9:.3f} s is damaged")
                if resolver.shown is not None and start_ns <= resolver.shown[0]:
                    continue
                yield from resolver.advance(start_ns, frame)
                frame_end_ns = start_ns + max(1, self._nanoseconds(frame.duration or 0))

        while queue and not resolver.done:
            if _past(queue, self._nanoseconds, origin_ns + last_wanted_ns):
                break
            packet = queue.popleft()
            if may_skip:
                wanted = first or self._wanted(packet, queue, times_ns, origin_ns)
                codec.skip_frame = "DEFAULT" if wanted else "NONREF"
                self.counts.packets_unwanted += not wanted
            else:
                wanted = True
            if wanted and must_show and packet.pts is not None and not packet.is_discard:
                resolver.known_ns.add(self._nanoseconds(packet.pts) - origin_ns)
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, OSError) as error:
                damage = _reason(error)
                break
            yield from received(frames)
            if not at_end and len(queue) < LOOKAHEAD_PACKETS:
                at_end = self._fill(queue, packets)
        for packet in queue:
            if must_show and packet.pts is not None and not packet.is_discard:
                resolver.known_ns.add(self._nanoseconds(packet.pts) - origin_ns)
        if not resolver.done:
            try:
                frames = codec.decode(None)
            except (av.error.FFmpegError, OSError) as error:
                damage, frames = _reason(error), []
            yield from received(frames)
        if resolver.done:
            return
        # No frame is left: the last one is shown to its own end, or until the next that the container holds.
        until_ns = min((known for known in resolver.known_ns if known > (resolver.shown or (-1,))[0]), default=None)
        yield from resolver.settle(frame_end_ns if until_ns is None else until_ns)
        if not resolver.done:
            time = times_ns[resolver.next_index] / 1e9
            if damage or until_ns is not None:
                where = f"{until_ns / 1e9:.3f} s" if until_ns is not None else "its start"
                reason = damage or "no frame comes out"
                raise DecodeError(f"{self.path}: damaged at {where}, before the frame at {time:.3f} s ({reason})")
            raise DecodeError(
                f"{self.path}: its frames end at {frame_end_ns / 1e9:.3f} s, before the asked {time:.3f} s; "
                "the file is truncated or damaged"
            )

    def _fill(self, queue: deque[av.Packet], packets: Iterator[av.Packet]) -> bool:
        """Read packets until the queue is full; return whether the file has ended, readable or not."""
        while len(queue) < LOOKAHEAD_PACKETS:
            try:
                packet = next(packets)
            except StopIteration:
                return True
            except (av.error.FFmpegError, OSError):
                return True  # frames before the damage are still good; times behind it meet the end of the file
            if packet.size:
                self.counts.packets_read += 1
                queue.append(packet)
        return False

    def _wanted(self, packet: av.Packet, queue: deque[av.Packet], times_ns: np.ndarray, origin_ns: int) -> bool:
        """Whether a time may fall on this packet's frame: True unless a known later frame starts before any does."""
        if packet.pts is None:
            return True
        later = [p.pts for p in queue if p.pts is not None and not p.is_discard and p.pts > packet.pts]
        if not later:
            return True
        start = np.searchsorted(times_ns, self._nanoseconds(packet.pts) - origin_ns)
        return bool(start < np.searchsorted(times_ns, self._nanoseconds(min(later)) - origin_ns))


class _OriginMovedError(Exception):
    """The first decoded frame is not the one that the packets announced."""

    def __init__(self, first_pts: int) -> None:
        self.first_pts = first_pts


def _past(queue: deque[av.Packet], to_ns: object, last_ns: int) -> bool:
    """Whether no packet in the queue or behind it can hold a frame that starts at or before `last_ns`."""
    assert callable(to_ns)
    if any(packet.pts is None or to_ns(packet.pts) <= last_ns for packet in queue):
        return False
    # A frame is never presented before it is decoded, so later packets start later than the last dts read.
    return queue[-1].dts is not None and to_ns(queue[-1].dts) >= last_ns


def _reason(error: Exception) -> str:
    """Return FFmpeg's or the system's own words, without its numbers and the path that we name ourselves."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def open_video(path: Path) -> PyAVReader:
    """Open a video. Raises DecodeError that names the file and the reason."""
    if not path.is_file():
        raise DecodeError(f"{path}: there is no such video file")
    return PyAVReader(path)
