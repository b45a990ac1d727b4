"""The directory of a zip, read as it lies: where its members are, without an object for each of them.

In: a file over a zip or its pieces. Out: its end, and entries one by one, since a zip may list a million frames.
Source: PKWARE's APPNOTE, sections 4.3.7 to 4.3.16.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from signprep.pipeline.datasets.files.pieces import JoinedFile

END_MAGIC, LOCAL_MAGIC = b"PK\x05\x06", b"PK\x03\x04"
ENTRY_MAGIC = b"PK\x01\x02"
_END = struct.Struct("<4sHH2xHLLH")
_END64_LOCATOR = struct.Struct("<4s4xQ4x")
_END64 = struct.Struct("<4s20xQQQQ")
_ENTRY = struct.Struct("<4s4xHH4xLLLHHH8xL")
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Before a member: magic, and the lengths of the name and of the extra field that follow."""
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 1
_IN_EXTRA = 2**32 - 1
"""A number of 32 bits that stands in the entry's zip64 field instead."""

_MOST_ENTRY_BYTES = _ENTRY.size + 3 * (2**16 - 1)
_BLOCK_BYTES = 2**20


class End(NamedTuple):
    """What the end of a zip tells, in bytes from the zip's first one."""

    place: int
    """Where this end lies itself, with the longer one of zip64 that may be before it."""
    num_bytes: int
    """Of the whole zip, by what its end says of itself."""
    list_start: int
    list_bytes: int
    num_members: int
    stop: int
    """Where the zip ends."""
    is_split: bool
    """True if it is the last of several files, by the numbers of disks."""


def read_end(file: JoinedFile, stop: int | None = None) -> End | None:
    """Return the last end of a zip before `stop`, or before the end of the file; None if it is not close to it."""
    stop = file.num_bytes if stop is None else stop
    start = max(0, stop - 2**16 - _END.size)
    tail = read_at(file, start, stop - start)
    place = tail.rfind(END_MAGIC, 0, max(0, len(tail) - _END.size + len(END_MAGIC)))
    return end_in(tail, start, place) if place >= 0 else None


def end_in(data: bytes, start: int, place: int) -> End:
    """Return the end of a zip that lies at a place in bytes of it, which begin at `start`.

    Behind 4 GB or 65,535 members a longer end precedes it, and a pointer to that.
    """
    _, disk, first_disk, count, list_bytes, list_start, comment = _END.unpack_from(data, place)
    behind = _END.size + comment
    stop = start + place + behind
    before = place - _END64_LOCATOR.size
    if data[max(0, before) :].startswith(b"PK\x06\x07"):
        longer = data.rfind(b"PK\x06\x06", 0, max(0, before))
        if longer >= 0 and longer + _END64.size <= len(data):
            _, _, count, list_bytes, list_start = _END64.unpack_from(data, longer)
            behind += place - longer
            place = longer
    is_split = 0 < disk < 0xFFFF or 0 < first_disk < 0xFFFF
    return End(start + place, list_start + list_bytes + behind, list_start, list_bytes, count, stop, is_split)


Values = tuple[int, int, int, int, int]
"""Of a member: size, CRC-32, offset, packed size, and 1 if it is packed."""


def entries(
    file: JoinedFile, start: int, end: int, block_bytes: int = _BLOCK_BYTES
) -> Iterator[tuple[int, int, bytes, Values | None]]:
    """Yield the members that a part of a zip's directory lists.

    Each is its start and end in the directory, its name and its values, or None if it cannot be read.
    """
    data, position = b"", 0
    while start + position < end:
        if position + _MOST_ENTRY_BYTES > len(data) and start + len(data) < end:
            start, position = start + position, 0
            data = read_at(file, start, min(block_bytes, end - start))
        magic, flags, method, checksum, packed, size, len_name, len_extra, len_comment, offset = _ENTRY.unpack_from(
            data, position
        )
        if magic != ENTRY_MAGIC:
            raise ValueError("its directory is damaged")
        begin = position + _ENTRY.size
        name = data[begin : begin + len_name]
        if _IN_EXTRA in (size, packed, offset):
            extra = data[begin + len_name : begin + len_name + len_extra]
            size, packed, offset = _zip64(extra, size, packed, offset)
        is_readable = not flags & _ENCRYPTED and method in (_STORED, _DEFLATED)
        values = size, checksum, offset, packed, int(method == _DEFLATED)
        after = begin + len_name + len_extra + len_comment
        yield start + position, start + after, name, values if is_readable else None
        position = after


def read_at(file: JoinedFile, start: int, num_bytes: int) -> bytes:
    """Return bytes of a file, which other threads may read meanwhile; fewer at its end."""
    num_bytes = max(0, min(num_bytes, file.num_bytes - start))  # damaged numbers may ask for more than memory holds
    parts = []
    with file.lock:
        file.seek(start)
        while num_bytes and (part := file.read(num_bytes)):
            parts.append(part)
            num_bytes -= len(part)
    return b"".join(parts)


def _zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Return a member's size, packed size and offset with those that stand in its zip64 field, in this order."""
    values, at = [size, packed, offset], 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            size, packed, offset = (next(wide, value) if value == _IN_EXTRA else value for value in values)
        at += 4 + length
    return size, packed, offset
