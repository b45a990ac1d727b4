"""What FFmpeg does not tell before it decodes: an MP4's display matrix, and whether its index is there at all.

In: a seekable file. Out: plain numbers, from a few hundred bytes of box headers. The trade-off: only the boxes that
are needed are known, and anything odd gives None rather than an error; FFmpeg has the last word on what is readable.
Source: ISO/IEC 14496-12.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

_MAX_BOXES = 4096
_MATRIX = struct.Struct(">9i")


class _Box(NamedTuple):
    kind: bytes
    start: int
    """Of its contents."""
    end: int


@dataclass(frozen=True, kw_only=True)
class Mp4Boxes:
    """What the boxes of a file say."""

    has_index: bool
    """A `moov` box; without one nothing can be decoded."""
    orientation: str | None
    """`90`, `180` or `270` degrees clockwise, with `mirrored ` before it for reflections; None if shown as stored."""


def mp4_boxes(file: BinaryIO) -> Mp4Boxes | None:
    """Read the boxes of an MP4 or MOV; None for other files."""
    num_bytes = file.seek(0, 2)
    top = list(_boxes(file, 0, num_bytes))
    if not top or top[0].kind not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return None
    index = next((box for box in top if box.kind == b"moov"), None)
    if index is None:
        return Mp4Boxes(has_index=False, orientation=None)
    for track in _boxes(file, index.start, index.end):
        if track.kind == b"trak" and _handler(file, track) == b"vide":
            return Mp4Boxes(has_index=True, orientation=_orientation(file, track))
    return Mp4Boxes(has_index=True, orientation=None)


def missing_index(boxes: Mp4Boxes | None, num_bytes: int) -> str | None:
    """Return what is wrong with an MP4 or MOV that ends before its index, None with other files."""
    if boxes is None or boxes.has_index:
        return None
    return f"is cut off: no index (moov) in its {num_bytes:,} bytes"


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    for _ in range(_MAX_BOXES):
        file.seek(start)
        header = file.read(16)
        if start + 8 > end or len(header) < 8:
            return
        size, kind, body = int.from_bytes(header[:4]), header[4:8], start + 8
        if size == 1:
            size, body = int.from_bytes(header[8:16]), start + 16
        elif size == 0:
            size = end - start
        if size < body - start:
            return
        yield _Box(kind, body, min(end, start + size))
        start += size


def _handler(file: BinaryIO, track: _Box) -> bytes | None:
    for media in _boxes(file, track.start, track.end):
        if media.kind == b"mdia":
            for box in _boxes(file, media.start, media.end):
                if box.kind == b"hdlr":
                    file.seek(box.start + 8)
                    return file.read(4)
    return None


def _orientation(file: BinaryIO, track: _Box) -> str | None:
    header = next((box for box in _boxes(file, track.start, track.end) if box.kind == b"tkhd"), None)
    if header is None:
        return None
    file.seek(header.start)
    body = file.read(min(256, header.end - header.start))
    offset = 52 if body[:1] == b"\x01" else 40
    if len(body) < offset + _MATRIX.size:
        return None
    a, b, _, c, d, *_ = _MATRIX.unpack_from(body, offset)
    return orientation_of(a, b, c, d)


def orientation_of(a: int, b: int, c: int, d: int) -> str | None:
    """Name the orientation of a display matrix.

    >>> orientation_of(0, 65536, -65536, 0)
    '90'
    >>> orientation_of(65536, 0, 0, 65536) is None
    True
    """
    mirrored = a * d - b * c < 0
    degrees = round(math.degrees(math.atan2(b, a))) % 360 if a or b else 0
    if not degrees and not mirrored:
        return None
    return f"mirrored {degrees}" if mirrored else str(degrees)
