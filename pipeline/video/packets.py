"""The packets of one video stream, read a little ahead of the decoder.

In: an open container. Out: packets in decode order, and from those that are known ahead: when time 0 is, whether a
packet's frame is wanted at all, whether decoding can stop, and whether the file was cut off. The trade-off: up to 16
packets are read that may not be needed, since that many frames may be decoded before they are shown.
"""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

LOOKAHEAD_PACKETS: Final = 16
"""Packets read before one is decoded: the most frames that H.264 and HEVC may hold back for reordering."""

CUT_OFF_SECONDS: Final = 0.5
"""A container that declares so much more than it holds has been cut off; smaller differences are rounding."""

READ_ERRORS = (av.error.FFmpegError, OSError, ValueError)
"""Errors that reading or decoding a damaged file may raise."""


class PacketQueue:
    """The non-empty packets of a stream, in decode order."""

    def __init__(self, container: InputContainer, stream: VideoStream, source: Path | BinaryIO) -> None:
        self._packets = container.demux(stream)
        self._stream = stream
        self._queue: deque[av.Packet] = deque()
        self._ended = False
        self._end_ns = 0
        self._last_dts: int | None = None
        self._container = container
        self._source = source
        self._num_seen = 0
        self._latest_pts: deque[int] = deque(maxlen=2 * LOOKAHEAD_PACKETS)
        self._shown_pts: deque[int] = deque(maxlen=2 * LOOKAHEAD_PACKETS)
        self.packets_read = 0
        self.cut: str | None = None
        """The reason why the file ends too early, once that is known."""
        self.first_pts = 0
        self._fill()
        self.first_pts = min(self._known_pts(), default=0)
        """Timestamp of the first presented frame, as far as the packets tell."""

    def __bool__(self) -> bool:
        return bool(self._queue)

    def popleft(self) -> av.Packet:
        """Take the next packet."""
        packet = self._queue.popleft()
        self._fill()
        return packet

    def to_ns(self, pts: int) -> int:
        """Return a timestamp in nanoseconds from the first presented frame; each is rounded once."""
        return nanoseconds_of(pts, self._stream) - nanoseconds_of(self.first_pts, self._stream)

    def starts_ns(self) -> list[int]:
        """Return when the frames of the packets that are queued start."""
        return [self.to_ns(pts) for pts in self._known_pts()]

    def cut_ns(self) -> int:
        """Return the time before which every frame is known, for a file that was cut off."""
        # A frame is never presented before it is decoded: what is missing starts after the last dts read.
        return self.to_ns(self._last_dts) + 1 if self._last_dts is not None else 0

    def is_past(self, last_ns: int) -> bool:
        """Return True if no packet in the queue or behind it can hold a frame that starts at or before that time."""
        if any(packet.pts is None or self.to_ns(packet.pts) <= last_ns for packet in self._queue):
            return False
        dts = self._queue[-1].dts
        return dts is not None and self.to_ns(dts) >= last_ns

    def is_wanted(self, packet: av.Packet, times_ns: NDArray[np.int64]) -> bool:
        """Return True if a time may fall on this packet's frame: no known later frame starts before any time does."""
        if packet.pts is None:
            return True
        # A frame that is shown next may have been decoded before: others refer to it.
        later = min((pts for pts in self._shown_pts if pts > packet.pts), default=None)
        if later is None:
            return True
        start, end = np.searchsorted(times_ns, (self.to_ns(packet.pts), self.to_ns(later)))
        return bool(start < end)

    def _known_pts(self) -> Iterator[int]:
        return (packet.pts for packet in self._queue if packet.pts is not None and not packet.is_discard)

    def _fill(self) -> None:
        while not self._ended and len(self._queue) < LOOKAHEAD_PACKETS:
            try:
                packet = next(self._packets)
            except StopIteration:
                self._ended = True
                self.cut = self.cut or self._missing()
                return
            except READ_ERRORS as error:
                self._ended, self.cut = True, reason_of(error)
                return
            self._num_seen += packet.pts is not None or packet.dts is not None
            if not packet.size:
                continue  # the place of a dropped frame, or PyAV's sign of the end
            if packet.is_corrupt:
                # Its rest is missing; frames before it are good.
                self._ended, self.cut = True, "a packet is incomplete"
                return
            self.packets_read += 1
            self._queue.append(packet)
            if packet.dts is not None:
                self._last_dts = packet.dts
            if packet.pts is not None:
                self._latest_pts.append(packet.pts)
                if not packet.is_discard:
                    self._shown_pts.append(packet.pts)
                self._end_ns = max(self._end_ns, nanoseconds_of(packet.pts + (packet.duration or 0), self._stream))

    def _missing(self) -> str | None:
        """Return in words how much the container promises and does not hold, or None."""
        index_size = len(self._stream.index_entries)
        if self._num_seen < index_size:
            return f"{index_size} frames are listed but {self._num_seen} are there"
        declared = declared_seconds(self._container, self._stream)
        held = (self._end_ns - nanoseconds_of(self.first_pts, self._stream)) / 1e9
        if declared > held + CUT_OFF_SECONDS:
            return f"{declared:.3f} s are declared but its frames last {held:.3f} s"
        whole = matroska_is_whole(self._source)
        if whole is False:
            return "its last bytes are missing"
        if whole is None and not index_size and self._last_dts is not None and self._has_hole(self._last_dts):
            return "frames are missing before its end"
        return None

    def _has_hole(self, last_dts: int) -> bool:
        """Return True if the frames that are shown after the last dts have a gap, where frames after a cut belong."""
        starts = np.sort(np.array(self._latest_pts, np.int64))
        if len(starts) < 3:
            return False
        gaps = np.diff(starts)
        return bool((gaps[starts[1:] > last_dts] > 1.5 * np.median(gaps)).any())


def matroska_is_whole(source: Path | BinaryIO) -> bool | None:
    """Return True if a Matroska file is as long as its head says; None if it does not say, or is no Matroska file.

    Source: RFC 8794 (EBML), 4 and 5, and RFC 9559 (Matroska), 5.1.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return matroska_is_whole(file)
    source.seek(0)
    head = source.read(256)
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    position = 4
    for element_id in (b"\x18\x53\x80\x67", b""):
        if position >= len(head) or not head[position]:
            return None
        width = 9 - head[position].bit_length()
        unknown = (1 << 7 * width) - 1
        size = int.from_bytes(head[position : position + width], "big") & unknown
        position += width + size
        if size == unknown or not element_id:
            break
        if head[position : position + 4] != element_id:
            return None
        position += 4
    return None if size == unknown else source.seek(0, os.SEEK_END) >= position


def declared_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Return how long a container says that the stream lasts, 0 if it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Of several streams the container tells the longest only, which may be the sound.
    if not container.duration or len(container.streams) > 1:
        return 0.0
    # Matroska counts from 0, whenever the first frame is shown.
    return max(0.0, (container.duration - max(0, container.start_time or 0)) / av.time_base)


def nanoseconds_of(pts: int, stream: VideoStream) -> int:
    """Return a timestamp of the stream in nanoseconds, rounded once."""
    base = stream.time_base
    assert base is not None
    return (2 * pts * base.numerator * 10**9 + base.denominator) // (2 * base.denominator)


def reason_of(error: BaseException) -> str:
    """Return FFmpeg's or the system's own words, without error numbers and the path, which our messages name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def is_disposable(packet: av.Packet, extradata: bytes | None) -> bool:
    """Return True if no other frame refers to this H.264 packet's, False when in doubt: all slices have nal_ref_idc 0.

    Source: ITU-T H.264, 7.4.1 (NAL units) and ISO/IEC 14496-15 (their length prefixes).
    """
    data = memoryview(packet)
    if not extradata or extradata[0] != 1 or len(extradata) < 5:
        return False  # Annex B, as in transport streams: start codes would have to be searched
    length_size = (extradata[4] & 3) + 1
    position, num_slices = 0, 0
    while position + length_size < len(data):
        length = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        if not 0 < length <= len(data) - position:
            return False
        header = data[position]
        if header & 0x1F in (1, 5):
            if header >> 5 & 3:
                return False
            num_slices += 1
        position += length
    return num_slices > 0 and position == len(data)
