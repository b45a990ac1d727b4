"""An archive that lies in pieces, `NAME.zip.part0`, `NAME.zip.part1`, ..., read as the file that it was cut from.

In: the path that the whole zip would have. Out: its pieces in the order of their numbers, where a shell's sorting puts
part10 before part2, and a seekable file over them; what is missing or out of order is named. The numbers count pieces,
from 0 or 1, or the bytes before them, as some portals do.
"""

import io
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from signprep.pipeline.datasets.files.names import ARCHIVE_PIECE, whole_name
from signprep.pipeline.errors import AnnotationError

_MOST_PIECES = 10_000
"""Larger numbers count bytes."""


class IncompleteArchiveError(AnnotationError):
    """Pieces of an archive are missing."""


def pieces_of(path: Path) -> tuple[Path, ...]:
    """Return the files that an archive lies in: itself, or its pieces in the order of their numbers; or none."""
    if path.exists():
        return (path,)
    # Of names only, since a folder may hold 100,000 files.
    names = os.listdir(path.parent) if path.parent.is_dir() else []  # noqa: PTH208
    pieces = [path.with_name(name) for name in names if name.startswith(path.name) and whole_name(name) == path.name]
    return tuple(sorted((piece for piece in pieces if piece.is_file()), key=_number))


def _number(piece: Path) -> int:
    match = ARCHIVE_PIECE.fullmatch(piece.name)
    assert match is not None
    return int(match["number"])


def check_pieces(pieces: Sequence[Path]) -> None:
    """Raise IncompleteArchiveError that names missing pieces; those behind the last one are told by no number."""
    sizes, numbers = [piece.stat().st_size for piece in pieces], list(map(_number, pieces))
    for one, other in pairwise(pieces):
        if _number(one) == _number(other):
            raise IncompleteArchiveError(f"{other}: has the number of {one.name}; keep one of the two")
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
        is_zip = pieces[0].name.lower().count(".zip")
        if is_zip and first == 1 and file.read(2) not in (b"PK", b""):
            missing.insert(0, _named_like(pieces[0], 0))
    if missing:
        raise IncompleteArchiveError(f"{pieces[0].parent / ', '.join(missing[:5])}: missing; download it again")


def _named_like(piece: Path, number: int) -> str:
    match = ARCHIVE_PIECE.fullmatch(piece.name)
    assert match is not None
    return f"{match['archive']}.{match['word'] or ''}{number:0{len(match['number'])}}"


class Extent(NamedTuple):
    """Bytes of a file that are a part of another one, which is laid together."""

    path: Path
    start: int
    num_bytes: int


def extents_of(pieces: Iterable[Path]) -> tuple[Extent, ...]:
    """Return whole files as extents. Raises OSError if one is gone."""
    return tuple(Extent(piece, 0, piece.stat().st_size) for piece in pieces)


class JoinedFile(io.RawIOBase):
    """Several files, or parts of files, one behind the other, to be read as one file."""

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._extents = extents
        self._begins = [0, *accumulate(extent.num_bytes for extent in extents)]
        self._open: tuple[Path, io.FileIO] | None = None
        self._start, self._position, self.num_bytes = 0, 0, self._begins[-1]
        self.lock = Lock()
        """Held by threads that share the file, from the place that they seek to what they read there."""

    def part(self, start: int, num_bytes: int) -> "JoinedFile":
        """Return a range of the file as a file of its own."""
        part = JoinedFile(())
        part._extents, part._begins, part._start, part.num_bytes = self._extents, self._begins, start, num_bytes
        return part

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
        if place >= len(self._extents) or self._position >= self.num_bytes:
            return 0
        extent = self._extents[place]
        if self._open is None or self._open[0] != extent.path:
            self._close()
            self._open = extent.path, io.FileIO(extent.path)
        file = self._open[1]
        file.seek(extent.start + at - self._begins[place])
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
