"""Facts that stand in the bytes of H.264, MPEG-4, Matroska and AVI and that FFmpeg does not tell.

In: a packet, a stream's extradata, or a file. Out: whether a frame may be skipped, whether pictures may be single
fields, how many frames a packet holds, and whether a file is as long as its head says. The trade-off: only headers are
read, and whatever is odd gets the answer that costs time rather than a frame.
"""

import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

import av

_VOP_START = b"\x00\x00\x01\xb6"
_LARGEST_NOT_CODED_BYTES = 8
"""A coded MPEG-4 frame is larger; one that is "not coded", and repeats the frame before it, has no more."""
_SLICE_TYPE_BYTES = 12
_PROFILES_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


def is_disposable(packet: av.Packet, extradata: bytes | None, *, is_latest: bool) -> bool:
    """Return True if no other frame refers to this H.264 packet's: all its slices have nal_ref_idc 0; False in doubt.

    Where its time is later than all before (`is_latest`), a B-frame is in doubt: times may be those of decoding, which
    the frames that come out tell only if none is skipped.

    Source: ITU-T H.264, 7.3.3 (slices), 7.4.1 (NAL units) and ISO/IEC 14496-15 (their length prefixes).
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
            if header >> 5 & 3 or (
                is_latest and _is_b_slice(bytes(data[position + 1 : position + 1 + _SLICE_TYPE_BYTES]))
            ):
                return False
            num_slices += 1
        position += length
    return num_slices > 0 and position == len(data)


def _is_b_slice(data: bytes) -> bool:
    """Return True if a slice of H.264, from behind its header byte on, may predict from two sides; or in doubt."""
    bits = Bits(data)
    try:
        bits.exp_golomb()  # first_mb_in_slice
        return bits.exp_golomb() % 5 == 1
    except IndexError:
        return True


def has_whole_frames_only(extradata: bytes | None) -> bool:
    """Return True if an H.264 stream says that no picture is a single field (frame_mbs_only_flag). False when in doubt.

    Source: ISO/IEC 14496-15, 5.3.3 (avcC) and ITU-T H.264, 7.3.2.1.1 (sequence parameter set).
    """
    if not extradata or extradata[0] != 1 or len(extradata) < 8 or extradata[5] & 0x1F == 0:
        return False
    length = int.from_bytes(extradata[6:8], "big")
    try:
        return H264Parameters.read(extradata[8 : 8 + length]).whole_frames_only
    except IndexError:
        return False


class H264Parameters(NamedTuple):
    """What a sequence parameter set says about the headers of its slices."""

    separate_planes: bool
    frame_number_bits: int
    order_bits: int | None
    """Of a picture's order of display; None where the stream does not tell it in this way."""
    whole_frames_only: bool

    @classmethod
    def read(cls, unit: bytes) -> Self:
        """Read a NAL unit. Raises IndexError if it ends too early. Source: ITU-T H.264, 7.3.2.1.1."""
        bits = Bits(unit[4:])  # behind the NAL header, the profile, its constraints and the level
        bits.exp_golomb()  # seq_parameter_set_id
        separate_planes = False
        if unit[1] in _PROFILES_WITH_CHROMA:
            chroma_format = bits.exp_golomb()
            separate_planes = chroma_format == 3 and bits.read(1) == 1
            bits.exp_golomb()  # bit_depth_luma_minus8
            bits.exp_golomb()  # bit_depth_chroma_minus8
            bits.skip(1)
            if bits.read(1):
                for number in range(12 if chroma_format == 3 else 8):
                    if bits.read(1):
                        _skip_scaling_list(bits, 16 if number < 6 else 64)
        frame_number_bits = bits.exp_golomb() + 4
        order_type = bits.exp_golomb()
        order_bits = bits.exp_golomb() + 4 if order_type == 0 else None
        if order_type == 1:
            bits.skip(1)
            bits.exp_golomb()
            bits.exp_golomb()
            for _ in range(bits.exp_golomb()):
                bits.exp_golomb()
        bits.exp_golomb()  # max_num_ref_frames
        bits.skip(1)
        bits.exp_golomb()  # pic_width_in_mbs_minus1
        bits.exp_golomb()  # pic_height_in_map_units_minus1
        return cls(separate_planes, frame_number_bits, order_bits, bits.read(1) == 1)


def _skip_scaling_list(bits: "Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            coded = bits.exp_golomb()
            delta = (coded + 1) // 2 if coded % 2 else -(coded // 2)
            following = (last + delta) % 256
        last = following or last


class Bits:
    """Bits of a NAL unit, first bit first, without the bytes that keep start codes out of it.

    Raises IndexError behind the last one.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._position = 0

    def read(self, count: int) -> int:
        """Read a number of so many bits."""
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._position >> 3] >> (7 - (self._position & 7)) & 1
            self._position += 1
        return value

    def skip(self, count: int) -> None:
        """Pass over so many bits."""
        self._position += count

    def exp_golomb(self) -> int:
        """Read an unsigned number: as many bits as there are zeros before the first one bit."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise IndexError
        return (1 << zeros) - 1 + self.read(zeros)


def num_mpeg4_frames(packet: av.Packet) -> int:
    """Number of coded frames in an MPEG-4 packet: 2 in a packed one, 0 in one that repeats the frame before it.

    Source: ISO/IEC 14496-2, 6.2.5 (video object planes); packed bitstreams are a custom of DivX and XviD.
    """
    count = bytes(packet).count(_VOP_START)
    return 0 if count == 1 and packet.size <= _LARGEST_NOT_CODED_BYTES else count


def only_numbers(packets: Iterable[av.Packet]) -> bool:
    """Return True if timestamps of MPEG-4 packets number them in decode order, as those of an AVI that was copied do.

    A frame is decoded before the B-frames that are shown before it; where it has the smaller time, times mean nothing.
    """
    pairs = [(before, after) for before, after in pairwise(packets) if is_mpeg4_b_frame(after)]
    times = [(before.pts, after.pts) for before, after in pairs if before.pts is not None and after.pts is not None]
    return len(times) > 0 and all(before < after for before, after in times)


def is_mpeg4_b_frame(packet: av.Packet) -> bool:
    """Return True if the first frame of an MPEG-4 packet is shown before the one that was decoded before it."""
    _, _, frame = bytes(packet).partition(_VOP_START)
    return frame[:1] != b"" and frame[0] >> 6 == 2


def is_whole(source: Path | BinaryIO) -> bool | None:
    """Return True if a Matroska or RIFF (AVI) file is as long as its head says, None if that is not known.

    Source: RFC 8794 (EBML), 4 and 5, RFC 9559 (Matroska), 5.1; Microsoft, Multimedia Programming Interface (RIFF).
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            return is_whole(file)
    source.seek(0)
    head = source.read(256)
    if head[:4] == b"RIFF":
        size = int.from_bytes(head[4:8], "little")
        return source.seek(0, os.SEEK_END) >= 8 + size if size else None
    return _matroska_is_whole(source, head) if head.startswith(b"\x1a\x45\xdf\xa3") else None


def _matroska_is_whole(source: BinaryIO, head: bytes) -> bool | None:
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
