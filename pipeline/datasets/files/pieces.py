"""A zip that lies in pieces, `NAME.zip.part0`, `NAME.zip.part1`, ..., read as the one file that it was cut from.

In: the path that the whole zip would have. Out: its pieces in the order of their numbers, where a shell's sorting puts
part10 before part2, and a seekable file over them; what is missing or out of order is named. The numbers count pieces,
from 0 or 1, or the bytes before them, as some portals do.
"""

import io
import os
import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import BinaryIO

from signprep.pipeline.errors import AnnotationError

_PIECE = re.compile(r"(?P<archive>.+\.zip)\.(?P<word>part)?(?P<number>\d+)", re.IGNORECASE)
_MOST_PIECES = 10_000
"""Larger numbers count bytes."""
_END = struct.Struct("<4sHHHHIIH")
"""The end of a zip: magic, disk, disk of the list, members on it, members, bytes and place of the list, comment."""
_END64 = struct.Struct("<4s36xQQ")
_ENTRY = struct.Struct("<4s24xHH10xI")
"""An entry of the list of members: magic, lengths of name and extra fields, and the place of the local header."""
_END_MAGIC, _END64_MAGIC, _LOCATOR_MAGIC, _ENTRY_MAGIC = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
LOCAL_MAGIC = b"PK\x03\x04"
_CHECKED_MEMBERS = 20
"""So many are looked for, evenly spread: of pieces in the wrong order most are elsewhere."""


class IncompleteArchiveError(AnnotationError):
    """Pieces of an archive are missing."""


def whole_name(name: str) -> str | None:
    """Return the name of the zip that a file is a piece of, None if it is none.

    >>> whole_name("a.zip.part12"), whole_name("a.zip.001"), whole_name("a.zip")
    ('a.zip', 'a.zip', None)
    """
    match = _PIECE.fullmatch(name)
    return match["archive"] if match else None


def with_whole_names(names: Iterable[str]) -> list[str]:
    """Return the names of a folder's files in order, with that of a zip in place of its pieces' unless it is there.

    >>> with_whole_names(["b", "a.zip.part10", "a.zip.part9", "c.zip", "c.zip.part0"])
    ['a.zip', 'b', 'c.zip', 'c.zip.part0']
    """
    there = set(names)
    pieces = {name: whole for name in there if (whole := whole_name(name)) is not None and whole not in there}
    return sorted(there - pieces.keys() | set(pieces.values()))


def pieces_of(path: Path) -> tuple[Path, ...]:
    """Return the files that a zip lies in: itself, or its pieces in the order of their numbers; none if it is gone."""
    if path.exists():
        return (path,)
    # Of names only, since a folder may hold 100,000 files.
    names = os.listdir(path.parent) if path.parent.is_dir() else []  # noqa: PTH208
    pieces = [path.with_name(name) for name in names if name.startswith(path.name) and whole_name(name) == path.name]
    return tuple(sorted((piece for piece in pieces if piece.is_file()), key=_number))


def _number(piece: Path) -> int:
    match = _PIECE.fullmatch(piece.name)
    assert match is not None
    return int(match["number"])


def check_pieces(pieces: Sequence[Path]) -> None:
    """Raise IncompleteArchiveError that names missing pieces; those behind the last one are told by no number."""
    sizes, numbers = [piece.stat().st_size for piece in pieces], list(map(_number, pieces))
    if numbers[-1] > _MOST_PIECES:
        expected = [0, *accumulate(sizes[:-1])]
        wrong = next((place for place, number in enumerate(numbers) if number != expected[place]), None)
        if wrong is not None:
            what = f"expected the one of byte {expected[wrong]} behind the one before"
            raise IncompleteArchiveError(f"{pieces[wrong]}: {what}: a piece is missing, or was not downloaded whole")
        return
    first = min(numbers[0], 1)
    missing = [_named_like(pieces[0], number) for number in range(first, numbers[-1]) if number not in numbers]
    with pieces[0].open("rb") as file:
        if first == 1 and file.read(2) not in (b"PK", b""):
            missing.insert(0, _named_like(pieces[0], 0))
    if missing:
        raise IncompleteArchiveError(f"{pieces[0].parent / ', '.join(missing[:5])}: missing; download it again")


def _named_like(piece: Path, number: int) -> str:
    match = _PIECE.fullmatch(piece.name)
    assert match is not None
    return f"{match['archive']}.{match['word'] or ''}{number:0{len(match['number'])}}"


class JoinedFile(io.RawIOBase):
    """Several files, one behind the other, to be read as one file."""

    def __init__(self, pieces: Sequence[Path]) -> None:
        self._pieces = pieces
        self._begins = [0, *accumulate(piece.stat().st_size for piece in pieces)]
        self._open: tuple[int, io.FileIO] | None = None
        self._start, self._position, self.num_bytes = 0, 0, self._begins[-1]

    def part(self, start: int, num_bytes: int) -> "JoinedFile":
        """Return a range of the file as a file of its own."""
        part = JoinedFile(())
        part._pieces, part._begins, part._start, part.num_bytes = self._pieces, self._begins, start, num_bytes
        return part

    def unequal(self) -> str | None:
        """Return which piece but the last is shorter than others, in words; None if they are of one size."""
        sizes = [end - begin for begin, end in pairwise(self._begins)]
        place = next((place for place, size in enumerate(sizes[:-1]) if size < max(sizes)), None)
        return None if place is None else f"{self._pieces[place].name} is shorter than other pieces; download it again"

    def readable(self) -> bool:  # noqa: D102  (this and the following are of RawIOBase)
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.num_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # noqa: D102
        at = self._start + self._position
        place = bisect_right(self._begins, at) - 1
        if place >= len(self._pieces) or self._position >= self.num_bytes:
            return 0
        if self._open is None or self._open[0] != place:
            self._close()
            self._open = place, io.FileIO(self._pieces[place])
        file = self._open[1]
        file.seek(at - self._begins[place])
        view = memoryview(buffer)[: min(self.num_bytes - self._position, self._begins[place + 1] - at)]
        num_read = file.readinto(view) or 0
        self._position += num_read
        return num_read

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()

    def close(self) -> None:  # noqa: D102
        self._close()
        super().close()


_WRONG_ORDER = (
    "was joined from pieces in the wrong order, as sorting by name puts part10 before part2; every byte is there: join "
    "them by their numbers, or leave the pieces (NAME.zip.part0, ...) in the folder, where they are read as they are"
)
_SPLIT = "is the last part of a split zip; join its parts first, as by `zip -s 0 NAME.zip --out whole.zip`"
_FIRST_BLOCK, _BLOCK = 2**17, 2**24


def complaint(file: BinaryIO, joined: JoinedFile, places: Sequence[int] | None = None) -> str | None:
    """Return what is wrong with a zip as its own end tells, None if nothing is or if there is no end.

    A zip knows its size and where its members lie. If the size is right, but the end or most members are elsewhere, all
    bytes are there in another order; if it is not, a piece may be short. `places` are those of its members if it opens;
    if it does not, its end is looked for everywhere.
    """
    num_bytes = joined.num_bytes
    end, size = num_bytes, _FIRST_BLOCK
    while end > 0:
        start = max(0, end - size)
        file.seek(start)
        data = file.read(min(num_bytes, end + _END.size) - start)
        place = data.rfind(_END_MAGIC, 0, len(data) - _END.size + len(_END_MAGIC))
        if place >= 0:
            _, disk, first_disk, _, _, list_bytes, list_start, comment = _END.unpack_from(data, place)
            if 0 < disk < 0xFFFF or 0 < first_disk < 0xFFFF:
                return _SPLIT
            if data[max(0, place - 20) : place].startswith(_LOCATOR_MAGIC):
                before64 = max(0, data.rfind(_END64_MAGIC, 0, place))
                _, list_bytes, list_start = _END64.unpack_from(data, before64)
                list_bytes += place - before64
            behind = _END.size + comment
            if list_start + list_bytes + behind != num_bytes:
                return joined.unequal()
            if places is None:
                entries = (found.start() for found in re.finditer(re.escape(_ENTRY_MAGIC), data[:place]))
                places = [_place_of(data, entry) for entry in entries if entry + _ENTRY.size <= place]
            is_elsewhere = start + place + behind != num_bytes
            return _WRONG_ORDER if is_elsewhere or _are_elsewhere(file, places) else None
        end, size = start if places is None else 0, _BLOCK
    return None


def _place_of(data: bytes, entry: int) -> int:
    """Return the place of the local header that an entry tells: behind 4 GB it ends the first extra field."""
    _, name_bytes, _, place = _ENTRY.unpack_from(data, entry)
    extra = data[entry + _ENTRY.size + name_bytes :]
    if place == 0xFFFFFFFF and len(extra) >= 12 and extra[:2] == b"\1\0":
        place = int.from_bytes(extra[4 : 4 + extra[2]][-8:], "little")
    return place


def _are_elsewhere(file: BinaryIO, places: Sequence[int]) -> bool:
    """Return True if most of these places of local headers hold other bytes."""
    checked = sorted(places)[:: max(1, len(places) // _CHECKED_MEMBERS)]
    found = []
    for place in checked:
        file.seek(max(0, place))
        found.append(file.read(len(LOCAL_MAGIC)))
    # A hole of zeros is an unfinished download; one wrong header is damage.
    elsewhere = sum(magic != LOCAL_MAGIC and magic.strip(b"\0") != b"" for magic in found)
    return elsewhere > max(2, len(found) // 4)
