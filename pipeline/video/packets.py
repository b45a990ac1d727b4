"""The packets of one video stream, read a little ahead of the decoder.

In: an open container. Out: packets in decode order, and from those that are known ahead: when time 0 is, whether a
packet's frame is wanted at all, whether decoding can stop, and whether the file was cut off. The trade-off: up to 16
packets are read that may not be needed, since that many frames may be decoded before they are shown.
"""

from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Final

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.bitstreams import has_whole_frames_only, is_mpeg4_b_frame, is_whole, num_mpeg4_frames
from signprep.pipeline.video.display_numbers import (
    BFrameRuns,
    DisplayNumbers,
    FieldPairs,
    OrderedTimes,
    are_times_of_decoding,
    has_gap_after,
)
from signprep.pipeline.video.frame_times import (
    LOOKAHEAD_PACKETS,
    TIMES_OF_DECODING,
    CleanStart,
    PacketNumber,
    declared_seconds,
    declared_ticks,
    nanoseconds_of,
    number_of,
)

CUT_OFF_SECONDS: Final = 0.5
"""A container that declares so much more than it holds has been cut off; smaller differences are rounding."""

DECODE_TIMES_ONLY: Final = frozenset({"avi"})
"""Containers that number their frames in decode order and know no times of presentation."""

WITHOUT_LIST: Final = frozenset({"mpegts", "mpeg"})
"""Containers that tell nowhere which frames they hold."""

CLOCK_STEP_NS: Final = 10**9
"""A clock that steps back by more has started again; less is disorder that decoders and muxers make."""

MAX_MARKED_PACKETS: Final = 2
"""Packets behind one that FFmpeg calls corrupt because two recordings meet there."""

READ_ERRORS = (av.error.FFmpegError, OSError, ValueError)
"""Errors that reading or decoding a damaged file may raise."""


class PacketQueue:
    """The packets of a stream that hold something, in decode order, each with its number in `opaque`.

    Frames come out of the decoder with the number of their packet, in the order in which they are shown. When they are
    shown is told by the container; or, where it knows decode times only, by their order: the n-th frame that comes out
    takes the n-th place. What wrote the file may also have copied the times of decoding to those of presentation.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, source: Path | BinaryIO, name: str) -> None:
        self._packets: Iterator[av.Packet] = container.demux(stream)
        self._stream, self._base = stream, stream.time_base
        self._queue: deque[av.Packet] = deque()
        self.ended = False
        """True if the last packet of the file was read."""
        self._earliest_ns: int | None = None
        self._end_ns = 0
        self._last_dts: int | None = None
        self._container, self._source, self._name = container, source, name
        self._num_seen = self._num_spare_frames = self._num_frames_out = 0
        self._latest_pts: deque[int] = deque(maxlen=2 * LOOKAHEAD_PACKETS)
        self._shown_pts: deque[int] = deque(maxlen=2 * LOOKAHEAD_PACKETS)
        self._places = OrderedTimes()
        self._numbers_pts = False
        self._largest_pts: int | None = None
        self._contradicted_pts: int | None = None
        self._taken: av.Packet | None = None
        self._last_placed: av.Packet | None = None
        # Containers with a list of frames, or a length in their head, tell by it what is missing.
        counts = container.format.name in WITHOUT_LIST
        codec = stream.codec_context
        self._is_mpeg4 = codec.name == "mpeg4"
        self._display = DisplayNumbers(codec.name, codec.extradata) if counts else None
        self._b_frames = BFrameRuns()
        may_have_fields = codec.name == "h264" and not has_whole_frames_only(codec.extradata)
        self._fields = FieldPairs(codec.extradata) if may_have_fields else None
        self._last_number: PacketNumber | None = None
        self._start: CleanStart | None = None
        self._leading_before: int | None = None
        self.packets_read = 0
        self.num_left_out = 0
        """Frames before the first one that can be decoded."""
        self.cut: str | None = None
        """The reason why the file ends too early, once that is known."""
        self.ends_early: str | None = None
        """The reason why packets that are there are not read: a clock that starts again, for one."""
        self.hides_unknown_frames = False
        """True if an edit list hides packets of a stream whose times do not tell when they are shown."""
        self.first_pts = 0
        self.tells_presentation = container.format.name not in DECODE_TIMES_ONLY
        """True if timestamps say when frames are shown, and not only in which order they are decoded."""
        self._fill()
        self._numbers_pts = self.tells_presentation and are_times_of_decoding(self._queue, codec)
        if self._numbers_pts or any(map(self._is_packed, self._queue)):
            self.tells_presentation = False
            self._append_again()
        self.first_pts = min(self._known_pts(), default=0)
        """Timestamp of the first presented frame, as far as the packets tell."""

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def is_start_in_doubt(self) -> bool:
        """Return True if the first packet is no key frame, or frames are shown before that one: see `begin_at`."""
        if not self._queue or self._start is not None:
            return False
        first = self._queue[0]
        is_late = first.pts is not None and min(self._known_pts(), default=0) < first.pts
        return not first.is_keyframe or (self.tells_presentation and is_late)

    def begin_at(self, start: CleanStart) -> None:
        """Show nothing that cannot be decoded at the start; the first frame that can is shown at time 0."""
        self._start = start
        self._append_again()
        self._fill()
        first_pts = start.pts if self.tells_presentation else None
        self.first_pts = min(self._known_pts(), default=0) if first_pts is None else first_pts

    def _append_again(self) -> None:
        packets, self._num_spare_frames = list(self._queue), 0
        for known in (self._queue, self._latest_pts, self._shown_pts, self._places):
            known.clear()
        for packet in packets:
            self._append(packet)

    def popleft(self) -> av.Packet:
        """Take the next packet. Raises DecodeError if an edit list hides frames, and it is not known which."""
        if self.hides_unknown_frames:
            raise DecodeError(
                f"{self._name}: its edit list hides frames, but {TIMES_OF_DECODING}, so which ones is not known; "
                "copy it without the list, for instance by ffmpeg -ignore_editlist 1 -i FILE -c copy NEW.mp4"
            )
        self._taken = packet = self._queue.popleft()
        self._fill()
        return packet

    def skip_to_key_frame(self) -> int | None:
        """Drop packets before the next key frame; return when that one starts, in nanoseconds, None if not known."""
        while self._queue:
            packet = self._queue[0]
            if packet.is_keyframe and packet.pts is not None and not packet.is_discard:
                return (
                    None if are_times_of_decoding(self._queue, self._stream.codec_context) else self.to_ns(packet.pts)
                )
            self.popleft()
        return None

    def to_ns(self, pts: int) -> int:
        """Return a timestamp in nanoseconds from the first presented frame; each is rounded once."""
        return nanoseconds_of(pts, self._base) - nanoseconds_of(self.first_pts, self._base)

    def start_of_packet(self, packet: av.Packet) -> int | None:
        """Return when a packet's frame starts, in nanoseconds, None if that is not known before it is decoded."""
        return self.to_ns(packet.pts) if self.tells_presentation and packet.pts is not None else None

    def pts_of_frame(self, frame: av.VideoFrame) -> int | None:
        """Return the timestamp of the frame that came out next, None if it has none."""
        if self.tells_presentation:
            return frame.pts if frame.pts is not None else frame.dts
        self._num_frames_out += 1
        return self._place(self._num_frames_out - 1)

    def starts_ns(self) -> list[int]:
        """Return when the frames of the packets that are queued start, or at least the first that may come."""
        if self.tells_presentation:
            return [self.to_ns(pts) for pts in self._known_pts()]
        return [self.to_ns(self._place(self._num_frames_out))] if self._queue else []

    def places(self) -> list[int]:
        """Return the timestamps of all frames so far, where only their order is known."""
        return [self._place(number) for number in range(len(self._places))]

    def frame_ticks(self) -> int:
        """Return how long the last frame is shown if its packet tells nothing, in units of the stream's time base.

        As long as the frames before it usually are: a single long step says nothing about the frame behind it.
        """
        if self.tells_presentation and len(set(self._latest_pts)) > 1:
            return int(np.median(np.diff(np.unique(np.array(self._latest_pts, np.int64)))))
        if self._numbers_pts and self._last_placed is not None and self._last_placed.duration:
            return self._last_placed.duration * (2 if number_of(self._last_placed).has_second_field else 1)
        if not self.tells_presentation and len(self._places) > 1:
            return self._places.shortest_step()
        if not self.tells_presentation and self._stream.duration:
            return int(self._stream.duration)
        return declared_ticks(self._stream)

    def cut_ns(self) -> int:
        """Return the time before which every frame is known, for a file that was cut off."""
        if not self.tells_presentation:
            held_back = LOOKAHEAD_PACKETS if self._stream.codec_context.has_b_frames else 0
            return self.to_ns(self._place(max(0, len(self._places) - held_back)))
        if self._contradicted_pts is not None:
            return self.to_ns(self._contradicted_pts)
        # A frame is never presented before it is decoded: what is missing starts after the last dts read.
        return self.to_ns(self._last_dts) + 1 if self._last_dts is not None else 0

    def is_past(self, last_ns: int) -> bool:
        """Return True if no packet in the queue or behind it can hold a frame that starts at or before that time."""
        if not self.tells_presentation or number_of(self._queue[0]).is_second_field:
            return False
        if any(packet.pts is None or self.to_ns(packet.pts) <= last_ns for packet in self._queue):
            return False
        dts = self._queue[-1].dts
        if dts is None or self.to_ns(dts) < last_ns:
            return False
        known = [*self._queue] if self._taken is None else [self._taken, *self._queue]
        return not are_times_of_decoding(known, self._stream.codec_context)

    def is_wanted(self, packet: av.Packet, times_ns: NDArray[np.int64]) -> bool:
        """Return True if a time may fall on this packet's frame: no known later frame starts before any time does."""
        if packet.pts is None or not self.tells_presentation:
            return True
        # A frame that is shown next may have been decoded before: others refer to it.
        later = min((pts for pts in self._shown_pts if pts > packet.pts), default=None)
        if later is None:
            return True
        start, end = np.searchsorted(times_ns, (self.to_ns(packet.pts), self.to_ns(later)))
        return bool(start < end)

    def _known_pts(self) -> Iterator[int]:
        if not self.tells_presentation:
            return iter([self._place(0)] if len(self._places) else [])
        shown = (packet for packet in self._queue if not packet.is_discard and number_of(packet).has_own_frame)
        return (packet.pts for packet in shown if packet.pts is not None)

    def _place(self, number: int) -> int:
        return self._places.at(number, is_reordered=bool(self._stream.codec_context.has_b_frames))

    def _fill(self) -> None:
        while not self.ended and len(self._queue) < LOOKAHEAD_PACKETS:
            try:
                packet = next(self._packets)
            except StopIteration:
                self.ended = True
                self.cut = self.cut or self._missing()
                return
            except READ_ERRORS as error:
                self.ended, self.cut = True, reason_of(error)
                return
            self._num_seen += packet.size > 0 and (packet.pts is not None or packet.dts is not None)
            if not packet.size:
                continue  # the place of a dropped frame, or PyAV's sign of the end
            if self._starts_again(packet):
                self.ended = True
                return
            if packet.is_corrupt and self.ends_early is None and not self._is_before_a_restart():
                # Its rest is missing; frames before it are good.
                self.ended, self.cut = True, "a packet is incomplete"
                return
            packet.opaque = number = PacketNumber(self.packets_read)
            self.packets_read += 1
            if self._fields is not None and self._fields.is_second(packet) and self._last_number is not None:
                number.is_second_field = self._last_number.has_second_field = True
            self._last_number = number
            if self._is_mpeg4 and self._contradicts_times(packet):
                self.ended, self.cut, self._contradicted_pts = True, TIMES_OF_DECODING, self._queue[-1].pts
                return
            if packet.dts is not None:
                self._last_dts = packet.dts
            if self._display is not None:
                self._display.add(packet)
                if self._is_mpeg4:
                    self._b_frames.add(packet)
            if packet.pts is not None:
                number.is_latest = self._largest_pts is None or packet.pts >= self._largest_pts
                if number.is_latest:
                    self._largest_pts = packet.pts
                start_ns = nanoseconds_of(packet.pts, self._base)
                self._earliest_ns = start_ns if self._earliest_ns is None else min(self._earliest_ns, start_ns)
                self._end_ns = max(self._end_ns, nanoseconds_of(packet.pts + (packet.duration or 0), self._base))
            self._append(packet)

    def _append(self, packet: av.Packet) -> None:
        number = number_of(packet)
        if self._start is not None and self._is_before(packet, self._start):
            self.num_left_out += not (packet.is_discard or number.is_second_field)
            number.is_before_start = True
            if not self.tells_presentation:
                return  # its frame would take the place of another one
        self._queue.append(packet)
        if number.is_second_field:
            return
        if not self.tells_presentation:
            self._take_place(packet)
        if packet.pts is not None and number.has_own_frame:
            self._latest_pts.append(packet.pts)
            if not packet.is_discard:
                self._shown_pts.append(packet.pts)

    def _take_place(self, packet: av.Packet) -> None:
        self.hides_unknown_frames |= packet.is_discard
        place = packet.pts if self._numbers_pts else packet.dts
        if place is not None and self._has_place(packet):
            self._places.add(place)
            self._last_placed = packet

    def _is_before(self, packet: av.Packet, start: CleanStart) -> bool:
        """Return True if a packet comes before the first one, or its frame refers back to such a one."""
        number = number_of(packet).number
        if not self.tells_presentation:
            return number < start.packet_number or number in start.lost
        if number == start.packet_number and packet.pts is not None:
            self._leading_before = packet.pts if start.pts is None else min(packet.pts, start.pts)
        is_leading = self._leading_before is not None and packet.pts is not None and packet.pts < self._leading_before
        return number < start.packet_number or (is_leading and not packet.is_discard)

    def _contradicts_times(self, packet: av.Packet) -> bool:
        """Return True if MPEG-4 gives a B-frame the latest time; of other codecs the frames that come out tell it."""
        if self._taken is None or not self.tells_presentation or packet.pts is None or self._largest_pts is None:
            return False
        return packet.pts > self._largest_pts and bool(self._queue) and is_mpeg4_b_frame(packet)

    def _is_packed(self, packet: av.Packet) -> bool:
        return self._is_mpeg4 and num_mpeg4_frames(packet) > 1

    def _has_place(self, packet: av.Packet) -> bool:
        """Return True if a frame takes this packet's place: not where MPEG-4 repeats the frame before."""
        if not self._is_mpeg4:
            return True
        self._num_spare_frames += num_mpeg4_frames(packet) - 1
        if self._num_spare_frames < 0:
            self._num_spare_frames = 0
            return False
        return True

    def _is_before_a_restart(self) -> bool:
        """Return True if the clock starts again close behind: packets here are whole, but their numbers step."""
        ahead: list[av.Packet] = []
        try:
            for packet in self._packets:
                if packet.size and (self._starts_again(packet) or len(ahead) == MAX_MARKED_PACKETS):
                    break
                ahead.append(packet)
        except READ_ERRORS:
            return False
        self._packets = chain(ahead, self._packets)
        return self.ends_early is not None

    def _starts_again(self, packet: av.Packet) -> bool:
        """Return True if the clock steps back: two recordings were joined, and times mean another thing now."""
        if packet.dts is None or self._last_dts is None or packet.dts >= self._last_dts:
            return False
        back = nanoseconds_of(self._last_dts, self._base) - nanoseconds_of(packet.dts, self._base)
        if back <= CLOCK_STEP_NS:
            return False
        self.ends_early = f"its clock starts again at {self.to_ns(self._last_dts) / 1e9:.3f} s"
        return True

    def _missing(self) -> str | None:
        """Return what the container promises and does not hold."""
        index_size = sum(entry.size > 0 for entry in self._stream.index_entries)
        if self._num_seen < index_size:
            return f"{index_size} frames are listed but {self._num_seen} are there"
        whole = is_whole(self._source)
        if whole is False:
            return "its last bytes are missing"
        if whole or index_size:
            return None  # What a container declares is a claim; that nothing is missing is known.
        declared = declared_seconds(self._container, self._stream)
        held = (self._end_ns - (self._earliest_ns or 0)) / 1e9
        if declared > held + CUT_OFF_SECONDS:
            return f"{declared:.3f} s are declared but its frames last {held:.3f} s"
        if self._last_dts is not None and self._has_hole(self._last_dts):
            return "frames are missing before its end"
        return None

    def _has_hole(self, last_dts: int) -> bool:
        """Return True if among the frames that are shown after the last dts one is missing, which came after a cut.

        Where the frames do not tell, a gap is taken for one, unless it is longer than the frames that may be missing.
        """
        if self._display is not None and (is_missing := self._display.lacks_one_after(last_dts)) is not None:
            return is_missing
        most = self._b_frames.most_missing() if self._is_mpeg4 else LOOKAHEAD_PACKETS
        return has_gap_after(last_dts, self._latest_pts, most)


def reason_of(error: BaseException) -> str:
    """Return FFmpeg's or the system's own words, without its numbers and the path that we name ourselves."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
