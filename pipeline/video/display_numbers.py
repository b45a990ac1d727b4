"""The numbers that coded pictures themselves give to their places in the order of display.

In: the packets of a stream with start codes (MPEG-2, H.264, HEVC in transport and program streams), in decode order.
Out: whether a picture is missing among the last ones, and which packets of H.264 are second fields. Times cannot tell
that: where the rate varies, a frame that is held looks as one behind which frames are missing. The trade-off: headers
only, and no answer for streams that number their pictures in another way.
"""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

import av

from signprep.pipeline.video.bitstreams import Bits, H264Parameters

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
        self._times: dict[int, int] = {}
        self._last_number: int | None = None
        self._step = _LARGEST_STEP
        self._place_in(extradata or b"")

    def add(self, packet: av.Packet) -> None:
        """Take the next packet in decode order."""
        if self._headers is None or packet.pts is None:
            return
        place = self._place_in(memoryview(packet))
        if place is None:
            self._last_number = None
            return
        last = place.number if self._last_number is None or place.restarts else self._last_number
        if place.restarts:
            self._step = self._usual_step()
            self._times.clear()
        half = 1 << place.num_bits - 1
        self._last_number = last + (place.number - last + half) % (2 * half) - half
        self._times.setdefault(self._last_number, packet.pts)
        if place.restarts and self._headers.first_number is not None:
            self._times.setdefault(self._headers.first_number - 1, packet.pts)
        if len(self._times) > 2 * _KEPT_PICTURES:
            self._times = dict(sorted(self._times.items())[-_KEPT_PICTURES:])

    def lacks_one_after(self, pts: int) -> bool | None:
        """Return whether a picture is missing before one that is shown after that time, None if that is not told."""
        if self._last_number is None:
            return None
        step, places = self._usual_step(), sorted(self._times.items())
        return any(after - before > step and start > pts for (before, _), (after, start) in pairwise(places))

    def _usual_step(self) -> int:
        return min([self._step, *(after - before for before, after in pairwise(sorted(self._times)))])

    def _place_in(self, data: bytes | memoryview) -> _Place | None:
        for unit in _units(data) if self._headers is not None else ():
            try:
                place = self._headers(unit) if self._headers is not None else None
            except IndexError:
                continue  # cut off, or of no stream that we know
            if place is not None:
                return place
        return None


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
        return _Place(unit[1] << 2 | unit[2] >> 6, 10, restarts)


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
        bits.exp_golomb()  # slice_type
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
        return _H264Slice(_Place(number, num_bits, kind == 5), frame_number, parity)


class FieldPairs:
    """Tells which packets of an H.264 stream are the second field of a frame, which gives no frame of its own."""

    def __init__(self, extradata: bytes | None) -> None:
        self._headers = _H264Headers()
        self._first: tuple[int | None, int] | None = None
        data = extradata or b""
        self._length_size = (data[4] & 3) + 1 if data[:1] == b"\x01" and len(data) > 8 else 0
        # Of length-prefixed streams the parameter set stands behind eight bytes (ISO/IEC 14496-15, 5.3.3).
        for unit in [data[8:]] if self._length_size else _units(data):
            self._slice_of(unit)

    def is_second(self, packet: av.Packet) -> bool:
        """Return True if a packet is the other field of the frame that the one before it began."""
        units = _prefixed_units(packet, self._length_size) if self._length_size else _units(memoryview(packet))
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


def _prefixed_units(packet: av.Packet, length_size: int) -> Iterator[bytes]:
    data, position = memoryview(packet), 0
    while position + length_size < len(data):
        length = int.from_bytes(data[position : position + length_size], "big")
        position += length_size
        yield bytes(data[position : position + min(length, _HEADER_BYTES)])
        position += length


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
        bits.exp_golomb()  # slice_type
        bits.skip(self._bits_before_planes + 2 * self._separate_planes)
        return _Place(bits.read(self._order_bits), self._order_bits, kind in (16, 17, 18))

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
