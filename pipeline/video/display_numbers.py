"""The numbers that coded pictures themselves give to their places in the order of display.

In: the packets of a stream of MPEG-2, H.264 or HEVC, in decode order. Out: whether a picture is missing among the last
ones, whether times of presentation are those of decoding, and which packets of H.264 are second fields; and, where only
the order of frames is known, the time of the n-th one. Times cannot tell that: where the rate varies, a frame that is
held looks as one behind which frames are missing. The trade-off: headers only, and no answer for streams that number
their pictures in another way.
"""

import re
from bisect import insort
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from signprep.pipeline.video.bitstreams import Bits, H264Parameters, is_mpeg4_b_frame, only_numbers

_START_CODE = re.compile(rb"\x00\x00\x01")
_HEADER_BYTES = 1024
"""No parameter set is longer, nor what is read of a slice."""
_LARGEST_STEP = 2
"""From one picture to the next: H.264 counts the fields of frames."""
_KEPT_PICTURES = 64


class _Place(NamedTuple):
    number: int
    num_bits: int
    """The number is told modulo 2**num_bits."""
    restarts: bool = False
    """Numbers begin anew: what comes before in decode order is shown before, too."""
    is_b: bool = False
    """True for a picture that may be predicted from one that is shown after it."""


_FIRST_PLACES = 8
"""So many are known before the first frame is shown, even where each has two packets."""
MAX_LATE_PLACES: Final = 2
"""More empty places behind the first frame are a frame that is held."""


class OrderedTimes:
    """Timestamps that tell how many frames there are, and not which is shown when: the n-th shown takes the n-th."""

    def __init__(self) -> None:
        self._pts: list[int] = []

    def __len__(self) -> int:
        return len(self._pts)

    def add(self, pts: int) -> None:
        """Take the timestamp of the next packet."""
        insort(self._pts, pts)

    def clear(self) -> None:
        """Forget all."""
        self._pts.clear()

    def at(self, number: int, *, is_reordered: bool) -> int:
        """Return the timestamp of the n-th frame, from 0; behind the last one they go on by one."""
        known = len(self._pts)
        if not known:
            return 0
        place = self._pts[number] if number < known else self._pts[-1] + number - known + 1
        # An encoder that reorders frames leaves as many places empty behind its first frame as it is late. Where all
        # frames leave some, none is late: a frame may have a place for each of its fields.
        first = self._pts[:_FIRST_PLACES]
        late = first[1] - first[0] - 1 if known > 1 and is_reordered and _shortest_step(first) == 1 else 0
        return place - late if number and 0 < late <= MAX_LATE_PLACES else place

    def shortest_step(self) -> int:
        """Return the least difference between two, in units of the time base."""
        return _shortest_step(self._pts)


def _shortest_step(pts: Sequence[int]) -> int:
    return min((after - before for before, after in pairwise(pts) if after > before), default=1)


class _Headers(Protocol):
    """Reads units, each from behind its start code, and keeps what they say about those that follow."""

    first_number: int | None
    """Number of the first picture that is shown after a restart, None if it may be any."""

    def __call__(self, unit: bytes) -> _Place | None:
        """Return the place that this unit gives its picture, None if it tells none."""


class DisplayNumbers:
    """Follows the numbers of a stream's pictures."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        makers: dict[str, Callable[[], _Headers]] = {
            "mpeg1video": _MPEG2Headers, "mpeg2video": _MPEG2Headers, "h264": _H264Headers, "hevc": _HEVCHeaders,
        }  # fmt: skip
        self._headers = makers[codec]() if codec in makers else None
        self._length_size, units = _parameter_units(codec, extradata or b"")
        self._times: dict[int, int] = {}
        self._last_number: int | None = None
        self._largest: int | None = None
        self._step = _LARGEST_STEP
        self._place_in(units)

    def add(self, packet: av.Packet) -> None:
        """Take the next packet in decode order."""
        if self._headers is None or packet.pts is None:
            return
        place = self._place_in(_units_of(packet, self._length_size))
        if place is None:
            self._last_number = None
            return
        if place.restarts:
            self._step = self._usual_step()
            self._times.clear()
        self._times.setdefault(self._follow(place), packet.pts)
        if place.restarts and self._headers.first_number is not None:
            self._times.setdefault(self._headers.first_number - 1, packet.pts)
        if len(self._times) > 2 * _KEPT_PICTURES:
            self._times = dict(sorted(self._times.items())[-_KEPT_PICTURES:])

    def steps_back(self, packet: av.Packet, *, is_reordered: bool) -> bool:
        """Take the next packet in decode order; return True if its picture is shown before one that came before.

        Of a stream that does not say that it is reordered only B-frames are believed.
        """
        place = self._place_in(_units_of(packet, self._length_size))
        if place is None:
            return False
        if place.restarts:
            self._largest = None
        number = self._follow(place)
        is_before = self._largest is not None and number < self._largest
        self._largest = number if self._largest is None else max(self._largest, number)
        return is_before and (is_reordered or place.is_b)

    def _follow(self, place: _Place) -> int:
        """Return a picture's number, counted on from the one before it."""
        last = place.number if self._last_number is None or place.restarts else self._last_number
        half = 1 << place.num_bits - 1
        self._last_number = last + (place.number - last + half) % (2 * half) - half
        return self._last_number

    def lacks_one_after(self, pts: int) -> bool | None:
        """Return whether a picture is missing before one that is shown after that time, None if that is not told."""
        if self._last_number is None:
            return None
        step, places = self._usual_step(), sorted(self._times.items())
        return any(after - before > step and start > pts for (before, _), (after, start) in pairwise(places))

    def _usual_step(self) -> int:
        return min([self._step, *(after - before for before, after in pairwise(sorted(self._times)))])

    def _place_in(self, units: Iterable[bytes]) -> _Place | None:
        for unit in units if self._headers is not None else ():
            try:
                place = self._headers(unit) if self._headers is not None else None
            except IndexError:
                continue  # cut off, or of no stream that we know
            if place is not None:
                return place
        return None


class BFrameRuns:
    """Counts B-frames of MPEG-4 in decode order: none gives its picture a number."""

    def __init__(self) -> None:
        self._longest = self._last = 0

    def add(self, packet: av.Packet) -> None:
        """Take the next packet."""
        self._last = self._last + 1 if is_mpeg4_b_frame(packet) else 0
        self._longest = max(self._longest, self._last)

    def most_missing(self) -> int:
        """Return how many B-frames may still have come behind the last packet: encoders put no more than before."""
        return self._longest - self._last


def has_gap_after(last_dts: int, pts: Sequence[int], most_frames: int) -> bool:
    """Return True if behind `last_dts` a gap lies between timestamps in which up to so many frames are missing.

    >>> has_gap_after(3, [0, 1, 2, 3, 6], most_frames=3)
    True
    >>> has_gap_after(3, [0, 1, 2, 3, 60], most_frames=3)  # a frame that is held
    False
    """
    starts = np.sort(np.array(pts, np.int64))
    if len(starts) < 3:
        return False
    gaps = np.diff(starts)
    usual, late = np.median(gaps), gaps[starts[1:] > last_dts]
    return bool(((late > 1.5 * usual) & (late < (most_frames + 1.5) * usual)).any())


def are_times_of_decoding(packets: Collection[av.Packet], codec: VideoCodecContext) -> bool:
    """Return True if times of presentation ascend in decode order, though pictures say that they are shown in another.

    A frame is decoded before the B-frames that are shown before it; where it has the smaller time, times mean nothing.
    """
    if codec.name == "mpeg4":
        return only_numbers(packets)
    pairs = pairwise(packet.pts for packet in packets)
    if any(before is None or after is None or after < before for before, after in pairs):
        return False  # so that the headers of few files are read
    numbers = DisplayNumbers(codec.name, codec.extradata)
    return any(numbers.steps_back(packet, is_reordered=bool(codec.has_b_frames)) for packet in packets)


def _units(data: bytes | memoryview) -> Iterator[bytes]:
    """Yield the beginning of each unit behind a start code."""
    for match in _START_CODE.finditer(data):
        yield bytes(data[match.end() : match.end() + _HEADER_BYTES])


class _MPEG2Headers:
    """Source: ITU-T H.262, 6.2.2.6 (groups of pictures) and 6.2.3 (pictures)."""

    first_number: int | None = 0

    def __init__(self) -> None:
        self._begins_group = False

    def __call__(self, unit: bytes) -> _Place | None:
        if unit[0] == 0xB8:
            self._begins_group = True
        if unit[0]:
            return None
        restarts, self._begins_group = self._begins_group, False
        return _Place(unit[1] << 2 | unit[2] >> 6, 10, restarts, unit[2] >> 3 & 7 == 3)


class _H264Slice(NamedTuple):
    """What the header of a slice says about its picture."""

    place: _Place
    frame_number: int
    parity: int | None
    """0 or 1 for a top or bottom field, None for a whole frame."""


class _H264Headers:
    """Source: ITU-T H.264, 7.3.3 (slices)."""

    first_number: int | None = None

    def __init__(self) -> None:
        self._parameters: H264Parameters | None = None

    def __call__(self, unit: bytes) -> _Place | None:
        found = self.slice_of(unit)
        return found.place if found is not None else None

    def slice_of(self, unit: bytes) -> _H264Slice | None:
        """Return what a unit says if it is a slice."""
        kind = unit[0] & 0x1F
        if kind == 7:
            self._parameters = H264Parameters.read(unit)
        parameters = self._parameters
        if kind not in (1, 5) or parameters is None or parameters.order_bits is None:
            return None
        bits = Bits(unit[1:])
        bits.exp_golomb()  # first_mb_in_slice
        is_b = bits.exp_golomb() % 5 == 1
        bits.exp_golomb()  # pic_parameter_set_id
        bits.skip(2 * parameters.separate_planes)
        frame_number = bits.read(parameters.frame_number_bits)
        is_field = not parameters.whole_frames_only and bits.read(1) == 1
        parity = bits.read(1) if is_field else None
        if kind == 5:
            bits.exp_golomb()  # idr_pic_id
        number, num_bits = bits.read(parameters.order_bits), parameters.order_bits
        if not parameters.whole_frames_only:
            number, num_bits = number >> 1, num_bits - 1  # of the frame, whichever field comes first
        return _H264Slice(_Place(number, num_bits, kind == 5, is_b), frame_number, parity)


class FieldPairs:
    """Tells which packets of an H.264 stream are the second field of a frame, which gives no frame of its own."""

    def __init__(self, extradata: bytes | None) -> None:
        self._headers = _H264Headers()
        self._first: tuple[int | None, int] | None = None
        self._length_size, units = _parameter_units("h264", extradata or b"")
        for unit in units:
            self._slice_of(unit)

    def is_second(self, packet: av.Packet) -> bool:
        """Return True if a packet is the other field of the frame that the one before it began."""
        units = _units_of(packet, self._length_size)
        slices = [found for unit in units if (found := self._slice_of(unit)) is not None]
        pictures = {(found.parity, found.frame_number) for found in slices}
        before, self._first = self._first, None
        if len(pictures) != 1 or slices[0].parity is None:
            return False
        if before == (1 - slices[0].parity, slices[0].frame_number):
            return True
        self._first = pictures.pop()
        return False

    def _slice_of(self, unit: bytes) -> _H264Slice | None:
        try:
            return self._headers.slice_of(unit)
        except IndexError:
            return None


def _units_of(packet: av.Packet, length_size: int) -> Iterator[bytes]:
    """Yield the beginning of each unit of a packet: behind its length, or a start code where lengths have no bytes."""
    data, position = memoryview(packet), 0
    if not length_size:
        yield from _units(data)
        return
    while position + length_size < len(data):
        length = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        yield bytes(data[position : position + min(length, _HEADER_BYTES)])
        position += length


def _parameter_units(codec: str, data: bytes) -> tuple[int, Iterable[bytes]]:
    """Return how many bytes tell the length of a unit, 0 for start codes, and the parameter sets.

    Source: ISO/IEC 14496-15, 5.3.3 (H.264) and 8.3.3 (HEVC).
    """
    if codec == "h264" and data[:1] == b"\x01" and len(data) > 8:
        return (data[4] & 3) + 1, [data[8:]]
    if codec == "hevc" and len(data) > 23 and _START_CODE.search(data[:4]) is None:
        return (data[21] & 3) + 1, _hevc_sets(data)
    return 0, _units(data)


def _hevc_sets(data: bytes) -> Iterator[bytes]:
    position = 23
    for _ in range(data[22]):
        if position >= len(data):
            return
        num_units = int.from_bytes(data[position + 1 : position + 3])
        position += 3
        for _ in range(min(num_units, len(data))):
            length = int.from_bytes(data[position : position + 2])
            yield data[position + 2 : position + 2 + length]
            position += 2 + length


class _HEVCHeaders:
    """Source: ITU-T H.265, 7.3.2.2 (sequences), 7.3.2.3 (pictures) and 7.3.6 (slices)."""

    first_number: int | None = None

    def __init__(self) -> None:
        self._order_bits: int | None = None
        self._separate_planes = False
        self._bits_before_type = self._bits_before_planes = 0

    def __call__(self, unit: bytes) -> _Place | None:
        kind = unit[0] >> 1 & 0x3F
        bits = Bits(unit[2:])
        if kind == 33:
            self._read_sequence(bits)
        elif kind == 34:
            bits.exp_golomb()  # pps_pic_parameter_set_id
            bits.exp_golomb()  # pps_seq_parameter_set_id
            bits.skip(1)
            self._bits_before_planes, self._bits_before_type = bits.read(1), bits.read(3)
        if not (kind <= 9 or 16 <= kind <= 21) or self._order_bits is None:
            return None
        bits.skip(1)  # first_slice_segment_in_pic_flag: the first one of a packet is
        if kind in (19, 20):
            return _Place(0, self._order_bits, restarts=True)
        bits.skip(kind >= 16)
        bits.exp_golomb()  # slice_pic_parameter_set_id
        bits.skip(self._bits_before_type)
        is_b = bits.exp_golomb() == 0
        bits.skip(self._bits_before_planes + 2 * self._separate_planes)
        return _Place(bits.read(self._order_bits), self._order_bits, kind in (16, 17, 18), is_b)

    def _read_sequence(self, bits: Bits) -> None:
        bits.skip(4)
        num_sub_layers = bits.read(3)  # behind the first
        bits.skip(1 + 88 + 8)
        present = [bits.read(2) for _ in range(8 if num_sub_layers else 0)]
        for flags in present[:num_sub_layers]:
            bits.skip(88 * (flags >> 1) + 8 * (flags & 1))
        bits.exp_golomb()  # sps_seq_parameter_set_id
        self._separate_planes = bits.exp_golomb() == 3 and bits.read(1) == 1
        bits.exp_golomb()  # pic_width_in_luma_samples
        bits.exp_golomb()  # pic_height_in_luma_samples
        if bits.read(1):
            for _ in range(4):
                bits.exp_golomb()
        bits.exp_golomb()  # bit_depth_luma_minus8
        bits.exp_golomb()  # bit_depth_chroma_minus8
        self._order_bits = bits.exp_golomb() + 4
