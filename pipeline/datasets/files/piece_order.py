"""The order of a zip's bytes: as they lie, or as they were before its pieces were joined in the order of their names.

In: a zip or its pieces. Out: extents to read it by, and words about it. A shell sorts part10 before part2, so that `cat
NAME.zip.part*` makes a zip that has every byte, and most of them elsewhere. A zip's directory says where each member
begins, and the bytes there say whether it is so. The trade-off: the size of the pieces stands nowhere, so that sizes
that people have are tried, then those that the places of the zip's end or of its members allow; an order counts only if
members lie where the directory says. A good zip costs some 20 reads of a few bytes.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import NamedTuple

from signprep.pipeline.datasets.files.pieces import Extent, JoinedFile, extents_of, pieces_of
from signprep.pipeline.datasets.files.zip_directory import (
    ENTRY_MAGIC,
    LOCAL_HEADER,
    LOCAL_MAGIC,
    End,
    entries,
    read_at,
    read_end,
)

CHECKED_MEMBERS = 20
"""So many are looked for, evenly spread: of pieces in the wrong order most are elsewhere."""
_SURELY_CHECKED_MEMBERS = 1000
"""So many before another order counts: some orders differ in a tenth of the pieces only."""
_COMPARED_BYTES = 2**28
_LARGEST_LIST_BYTES = 2**29
"""AIHub's zips of two million frames have directories of 300 MB."""
_LONG_ENTRY_BYTES = 400
_READ_WHOLE_BYTES = 2**16
"""A directory that is no larger is read whole."""
_LOOKED_AT_BYTES = 2**12
"""Of the directory, for one entry; a name is shorter."""
_FIRST_MISORDERED = 11
"""Fewer pieces have one order only."""
_MOST_PIECES = 10_000
_BLOCK_BYTES = 2**24
_SEARCHED_BYTES = 2**31
"""Behind the first member that is elsewhere, headers of others are looked for in so many bytes."""
_SEARCHED_HEADERS = 8

_MANY = (
    1, 2, 4, 5, 8, 10, 16, 20, 25, 32, 50, 64, 90, 95, 99, 100, 128, 150, 200, 250, 256, 300, 400, 450, 500, 512, 600,
    650, 700, 750, 800, 900, 950, 990, 999, 1000, 1024, 1500, 1900, 2000, 2048, 3000, 4000, 4095, 4096, 5000, 5120,
    8192, 10_000, 10_240, 20_000, 20_480,
)  # fmt: skip
USUAL_PIECE_BYTES = tuple(
    dict.fromkeys((2**30, 10**9, *(number * unit for number in _MANY for unit in (2**20, 10**6)), 2**32 - 1, 2**31 - 1))
)
"""AIHub's pieces have 1 GiB; those of others are whole numbers of MiB or MB."""

_WRONG_ORDER = (
    "was joined from pieces in the wrong order, as sorting by name puts part10 before part2; every byte is there, but "
    "the right order was not found: join the pieces by their numbers, or leave them (NAME.zip.part0, ...) in the "
    "folder, where they are read as they are"
)
_SPLIT = "is the last part of a split zip; join its parts first, as by `zip -s 0 NAME.zip --out whole.zip`"
_SEVEN_ZIP = "is a 7z archive by its first bytes, whatever its name says; unpack it, as by `7z x`"


class ZipLayout(NamedTuple):
    """The bytes of a zip in their true order, and what there is to say about it."""

    extents: tuple[Extent, ...]
    note: str | None = None
    """In words, if the zip is not read in the order in which it lies."""
    complaint: str | None = None
    """What is wrong with it, as its own end or its first bytes tell, in words."""


def layout_of_zip(path: Path) -> ZipLayout:
    """Return how to read a zip, or its pieces, from the last few or anew. Raises OSError if it cannot be read."""
    return _layout(*lies_in(path))


def note_on_order(path: Path) -> str | None:
    """Return words about a zip that is read in another order than that in which it lies, None for any other file."""
    if path.suffix.lower() != ".zip":
        return None
    try:
        return layout_of_zip(path).note
    except OSError:
        return None


def lies_in(path: Path) -> tuple[tuple[Path, ...], tuple[tuple[int, int], ...]]:
    """Return the pieces of a zip, and their sizes and times: a zip that was replaced is another one. Raises OSError."""
    pieces = pieces_of(path)
    return pieces, tuple((status.st_size, status.st_mtime_ns) for status in map(Path.stat, pieces))


@lru_cache(maxsize=256)
def _layout(pieces: tuple[Path, ...], stamps: object) -> ZipLayout:
    plain = extents_of(pieces)
    file = JoinedFile(plain)
    end = read_end(file)
    if end is None and read_at(file, 0, 6) == b"7z\xbc\xaf\x27\x1c":
        return ZipLayout(plain, complaint=_SEVEN_ZIP)
    if end is None and len(plain) == 1:
        end = _end_of_usual_pieces(file) or _end_anywhere(file)
    if end is None:
        return ZipLayout(plain)
    if end.is_split:
        return ZipLayout(plain, complaint=_SPLIT)
    if end.num_bytes != file.num_bytes:
        return ZipLayout(plain, complaint=_shorter_piece(plain))
    checked, elsewhere = _members_elsewhere(file, end)
    is_at_end = end.stop == file.num_bytes
    if is_at_end and elsewhere <= checked // 4:
        return ZipLayout(plain)
    order = _true_order(file, end, plain[0]) if len(plain) == 1 else None
    if order is not None:
        return ZipLayout(order.extents(plain[0]), note=order.note)
    is_wrong = not is_at_end or elsewhere > max(2, checked // 4)
    return ZipLayout(plain, complaint=_WRONG_ORDER if is_wrong else None)


def _shorter_piece(pieces: Sequence[Extent]) -> str | None:
    """Return which piece but the last is shorter than others, in words; None if they are of one size."""
    most = max((piece.num_bytes for piece in pieces), default=0)
    short = next((piece for piece in pieces[:-1] if piece.num_bytes < most), None)
    return None if short is None else f"{short.path.name} is shorter than other pieces; download it again"


class _Order(NamedTuple):
    """A file that was joined from pieces of one size, but the last, in the order of their names."""

    num_bytes: int
    piece_bytes: int
    numbering: str
    """What the names count: `0` and `1` pieces from that number, `bytes` those before a piece."""

    @property
    def num_pieces(self) -> int:
        return -(-self.num_bytes // self.piece_bytes)

    def name(self, piece: int) -> str:
        """Return the number in the name of a piece, which is counted from 0 here."""
        return str(piece * self.piece_bytes if self.numbering == "bytes" else piece + (self.numbering == "1"))

    def end_of_last(self) -> int:
        """Return where the last piece ends in the joined file."""
        last = self.num_pieces - 1
        name = self.name(last)
        behind = sum(self.name(piece) > name for piece in range(last))
        return self.num_bytes - behind * self.piece_bytes

    def extents(self, joined: Extent) -> tuple[Extent, ...]:
        """Return the pieces in their true order, as parts of the joined file."""
        last, rest = self.num_pieces - 1, self.num_bytes - (self.num_pieces - 1) * self.piece_bytes
        lying = sorted(range(last + 1), key=self.name)
        sizes = [rest if piece == last else self.piece_bytes for piece in lying]
        found = {
            piece: Extent(joined.path, joined.start + start, size)
            for piece, start, size in zip(lying, accumulate(sizes[:-1], initial=0), sizes, strict=True)
        }
        return tuple(found[piece] for piece in range(last + 1))

    @property
    def note(self) -> str:
        first, second = ("part10737418240", "part1073741824") if self.numbering == "bytes" else ("part10", "part2")
        return (
            f"was joined from {self.num_pieces} pieces in the order of their names, {first} before {second}; it is "
            f"read in the order of their numbers, as pieces of {self.piece_bytes:,} bytes each"
        )


def _orders(file: JoinedFile, sizes: Sequence[int] | Iterator[int], numberings: Sequence[str]) -> Iterator[_Order]:
    """Yield the orders of pieces of these sizes that are not the order in which the file lies."""
    for size in sizes:
        if 0 < size < file.num_bytes and _FIRST_MISORDERED - 1 <= -(-file.num_bytes // size) <= _MOST_PIECES:
            yield from (_Order(file.num_bytes, size, numbering) for numbering in numberings)


def _true_order(file: JoinedFile, end: End, joined: Extent) -> _Order | None:
    """Return the order by which members lie where a zip's end says, None if there is none."""
    usual = _orders(file, USUAL_PIECE_BYTES, ("0", "bytes", "1"))
    sizes: Iterator[int]
    if behind := file.num_bytes - end.stop:
        sizes = (behind // number for number in range(1, _MOST_PIECES) if behind % number == 0)
    else:
        sizes = chain(_sizes_by_directory(file, end), _sizes_by_members(file, end))
    for orders in (usual, _orders(file, sizes, ("0", "1"))):
        possible = (order for order in orders if order.end_of_last() == end.stop)
        right: dict[tuple[Extent, ...], _Order] = {}
        for order in possible:
            extents = order.extents(joined)
            if extents not in right and _is_right(JoinedFile(extents)):
                right[extents] = order
        if right:
            # Orders that differ in a piece without the start of a member are told apart by the members' checksums.
            only = next(iter(right)) if len(right) == 1 else min(right, key=lambda found: _damaged(JoinedFile(found)))
            return right[only]
    return None


def _is_right(file: JoinedFile) -> bool:
    """Return True if a zip's end is at its end, and nearly all members are where it says."""
    end = read_end(file)
    if end is None or end.stop != file.num_bytes or end.num_bytes != file.num_bytes:
        return False
    for most in (CHECKED_MEMBERS, _SURELY_CHECKED_MEMBERS):
        checked, elsewhere = _members_elsewhere(file, end, most)
        if not checked or elsewhere * 100 > checked:
            return False
    return True


def _damaged(file: JoinedFile) -> int:
    """Return how many of a zip's largest members have not the bytes that their checksums tell."""
    end = read_end(file)
    assert end is not None  # as `_is_right` has seen
    values = [found for _, _, _, found in entries(file, end.list_start, end.place) if found is not None]
    damaged, left = 0, _COMPARED_BYTES
    for size, checksum, offset, packed, is_packed in sorted(values, key=lambda value: value[3], reverse=True):
        if (left := left - packed) < 0:
            break
        header = read_at(file, offset, LOCAL_HEADER.size)
        start = offset + len(header) + sum(LOCAL_HEADER.unpack(header)[1:])
        content = read_at(file, start, packed)
        if is_packed:
            try:
                content = zlib.decompressobj(-15).decompress(content, size + 1)
            except zlib.error:
                content = b""
        damaged += zlib.crc32(content) != checksum
    return damaged


def _members_elsewhere(file: JoinedFile, end: End, most: int = CHECKED_MEMBERS) -> tuple[int, int]:
    """Return of how many members the local headers were looked for, and how many have other bytes there.

    A hole of zeros is an unfinished download, and tells nothing.
    """
    offsets = _offsets(file, end, most)
    headers = [read_at(file, offset, len(LOCAL_MAGIC)) for offset in sorted(offsets)]
    known = [header for header in headers if header.strip(b"\0")]
    listed = 0 if offsets or not end.num_members else 1  # a directory without an entry is not the directory
    return len(known) + listed, sum(header != LOCAL_MAGIC for header in known) + listed


def _offsets(file: JoinedFile, end: End, most: int) -> set[int]:
    """Return where members begin, of so many entries of a zip's directory that are spread over it."""
    if end.list_bytes <= _READ_WHOLE_BYTES:
        try:
            listed = [found[2] for *_, found in entries(file, end.list_start, end.place) if found is not None]
        except (ValueError, struct.error):
            return set()
        return set(listed[:: max(1, len(listed) // most)])
    offsets = set()
    for number in range(most):
        start = end.list_start + end.list_bytes * number // most
        place = read_at(file, start, min(_LOOKED_AT_BYTES, end.place - start)).find(ENTRY_MAGIC)
        with suppress(ValueError, struct.error, StopIteration):
            *_, found = next(entries(file, start + max(0, place), end.place, _LOOKED_AT_BYTES))
            offsets |= {found[2]} if found is not None else set()
    return offsets


def _end_of_usual_pieces(file: JoinedFile) -> End | None:
    """Return the end of a zip where pieces of usual sizes would have it."""
    for order in _orders(file, USUAL_PIECE_BYTES, ("0", "bytes", "1")):
        stop = order.end_of_last()
        end = read_end(file, stop) if stop < file.num_bytes else None
        if end is not None and end.stop == stop and end.num_bytes == file.num_bytes:
            return end
    return None


def _end_anywhere(file: JoinedFile) -> End | None:
    """Return the last end of a zip of this size, wherever it lies in the file."""
    stop = file.num_bytes
    while stop > 0:
        block = read_at(file, max(0, stop - _BLOCK_BYTES), min(stop, _BLOCK_BYTES))
        place = len(block)
        while (place := block.rfind(b"PK\x05\x06", 0, place)) >= 0:
            end = read_end(file, min(file.num_bytes, stop - len(block) + place + 22))
            if end is not None and (end.num_bytes == file.num_bytes or end.is_split):
                return end
        if stop <= _BLOCK_BYTES:
            return None
        stop -= _BLOCK_BYTES - 64
    return None


def _sizes_by_directory(file: JoinedFile, end: End) -> Iterator[int]:
    """Yield sizes of pieces that explain where the directory breaks off, counted from its end.

    What lies behind the break is the last piece, or little less of it than an entry.
    """
    if end.list_bytes > _LARGEST_LIST_BYTES:
        return
    listed = read_at(file, end.list_start, end.place - end.list_start)
    before: dict[int, int] = {}
    for found in re.finditer(re.escape(ENTRY_MAGIC), listed):
        if found.start() + 46 <= len(listed):
            lengths = struct.unpack_from("<HHH", listed, found.start() + 28)
            before[found.start() + 46 + sum(lengths)] = found.start()
    place = len(listed)
    while place in before:
        place = before[place]
    rest = file.num_bytes - end.list_start - place
    for last_bytes in range(rest, rest + _LONG_ENTRY_BYTES if place else rest):
        for others in (*range(89, 100), *range(899, 1000)):  # the last piece's name is the last one: part90 to part99
            if (file.num_bytes - last_bytes) % others == 0:
                yield (file.num_bytes - last_bytes) // others


def _sizes_by_members(file: JoinedFile, end: End) -> Iterator[int]:
    """Yield sizes of pieces that explain where members lie that are not where the directory says.

    Behind the first pieces lies the eleventh, or one with 100 in its name, instead of the third: its members are found
    8 or 97 pieces before their place.
    """
    try:
        listed = {name: values[2] for _, _, name, values in entries(file, end.list_start, end.place) if values}
    except (ValueError, struct.error):
        return
    places = sorted(listed.values())

    def is_there(number: int) -> bool:
        return read_at(file, places[number], len(LOCAL_MAGIC)) == LOCAL_MAGIC

    good, bad = 0, 1
    while bad < len(places) and is_there(bad):
        good, bad = bad, bad * 2
    bad = min(bad, len(places))
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if is_there(middle) else (good, middle)
    headers = _headers(file, places[good] if places else 0)
    found = (listed[name] - place for place, name in headers if listed.get(name, place) != place)
    moved = set(islice(found, _SEARCHED_HEADERS))
    yield from sorted({distance // times for distance in moved for times in (8, 97) if distance % times == 0})


def _headers(file: JoinedFile, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield place and name of the local headers behind a place."""
    stop = min(file.num_bytes, start + _SEARCHED_BYTES)
    while start < stop:
        block = read_at(file, start, _BLOCK_BYTES)
        for found in re.finditer(re.escape(LOCAL_MAGIC), block):
            header = read_at(file, start + found.start(), 30)
            if len(header) == 30:
                (name_bytes,) = struct.unpack_from("<H", header, 26)
                yield start + found.start(), read_at(file, start + found.start() + 30, name_bytes)
        if len(block) < _BLOCK_BYTES:
            return
        start += _BLOCK_BYTES - len(LOCAL_MAGIC) + 1
