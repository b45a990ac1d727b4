"""Files that are one a frame, `NAME_000000000012_keypoints.json`: the files of a clip as one, in a folder or in a zip.

In: a data root. Out: `FrameFiles` of a clip, by a name with a star in place of the number. A zip may list a million of
them and more: its directory is read once, and what stays in memory is where a clip's files stand in it, a few numbers a
clip. The trade-off: for a clip's identity the zip's own CRC-32s are believed, so that data that have not changed are
recognised without being read.
"""

import hashlib
import os
import re
import struct
import time
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from signprep.pipeline.datasets.files.pieces import JoinedFile, pieces_of
from signprep.pipeline.errors import AnnotationError

KEYPOINT_SUFFIX = "_keypoints.json"
SEQUENCE_SUFFIX = f"_*{KEYPOINT_SUFFIX}"
MAX_FRAME_BYTES = 2**22
"""A frame of AIHub has 10 to 30 kB; larger files are refused before they are read."""
_NAME = re.compile(rf"(?P<base>.+)_(?P<frame>\d{{12}}){re.escape(KEYPOINT_SUFFIX)}", re.DOTALL)
_NUMBERED_BYTES = len(f"_000000000000{KEYPOINT_SUFFIX}")


class Frames(NamedTuple):
    """The files of one clip, in the order of their frames; where they lie in their zip, -1 in a folder."""

    numbers: "array[int]"
    num_bytes: "array[int]"
    crc32: "array[int]"
    offset: "array[int]"
    packed_bytes: "array[int]"
    is_packed: "array[int]"
    """1 if the file is packed by Deflate."""


class FrameFiles:
    """The files of one clip, a file a frame."""

    def __init__(self, path: Path, prefix: str, frames: Frames) -> None:
        self.path = path
        """The zip or the folder that they lie in."""
        self._prefix = prefix
        self.frames = frames

    @property
    def num_bytes(self) -> int:
        """Size of all files without compression."""
        return sum(self.frames.num_bytes)

    def content_hash(self) -> str:
        """Return the identity of the files, 32 hexadecimal digits, by their numbers, sizes and CRC-32s."""
        digest = hashlib.blake2b(digest_size=16)
        for column in self.frames[:3]:
            digest.update(column.tobytes())
        return digest.hexdigest()

    def name(self, place: int) -> str:
        """Return the name of the file at a place in `frames`."""
        return f"{self._prefix}_{self.frames.numbers[place]:012d}{KEYPOINT_SUFFIX}"

    def read(self, place: int) -> bytes:
        """Return the bytes of the file at a place in `frames`. Raises AnnotationError if it cannot be read."""
        if self.frames.num_bytes[place] > MAX_FRAME_BYTES:
            raise AnnotationError(f"{self.name(place)}: has over {MAX_FRAME_BYTES} bytes")
        try:
            if self.frames.offset[place] < 0:
                return (self.path / self.name(place)).read_bytes()
            return _member(self.path, self.frames, place)
        except (OSError, zlib.error, struct.error) as error:
            raise AnnotationError(f"{self.path}: its {self.name(place)} cannot be read ({error})") from error


def is_sequence(name: str) -> bool:
    """Return True for the name of a clip's files, with a star for the number."""
    return name.endswith(SEQUENCE_SUFFIX)


def base_name(name: str) -> str:
    """Return the name of the video whose frames they are, without its suffix, by the name of a clip's files.

    >>> base_name("01/F_WORD0001/NIA_SL_WORD0001_REAL01_F_*_keypoints.json")
    'NIA_SL_WORD0001_REAL01_F'
    """
    return name.rpartition("/")[2].removesuffix(SEQUENCE_SUFFIX)


def with_sequences(names: Iterable[str]) -> list[str]:
    """Return the names of a folder's files in order, with one name for all frames of a clip.

    >>> with_sequences(["b.mp4", "a_000000000000_keypoints.json", "a_000000000001_keypoints.json"])
    ['a_*_keypoints.json', 'b.mp4']
    """
    return sorted({_sequence_of(name) or name for name in names})


def _sequence_of(name: str) -> str | None:
    match = _NAME.fullmatch(name) if name.endswith(KEYPOINT_SUFFIX) else None
    return f"{match['base']}{SEQUENCE_SUFFIX}" if match else None


def open_frames(path: Path, member: str | None, *, checksums: bool = True) -> FrameFiles:
    """Open the files of a clip.

    Args:
        path: the folder's path joined with the files' name, with a star for the number; or a zip.
        member: the name in the zip.
        checksums: False leaves the files of a folder unread: their CRC-32s are 0, and `content_hash` means nothing.

    Raises AnnotationError if there are none, or a zip is damaged.
    """
    if member is not None:
        where, prefix = path, member.removesuffix(SEQUENCE_SUFFIX)
        rows = _rows_in_zip(path, prefix)
    else:
        where, prefix = path.parent, path.name.removesuffix(SEQUENCE_SUFFIX)
        rows = _rows_in_folder(where, prefix, checksums)
    if not rows:
        raise AnnotationError(f"{path}{'!/' + member if member else ''}: there are no such files")
    rows.sort()
    return FrameFiles(where, prefix, Frames(*(array("q", column) for column in zip(*rows, strict=True))))


def _rows_in_folder(folder: Path, prefix: str, checksums: bool) -> list[tuple[int, ...]]:
    """Return a row of `Frames` for each file of one clip in a folder; they are read for their checksums."""
    rows: list[tuple[int, ...]] = []
    try:
        for number, path in files_in_folder(folder, prefix):
            data = path.read_bytes() if checksums else b""
            num_bytes = len(data) if checksums else path.stat().st_size
            rows.append((number, num_bytes, zlib.crc32(data), -1, num_bytes, 0))
    except OSError as error:
        raise AnnotationError(f"{folder}: cannot be read ({error.strerror})") from error
    return rows


_SURE_AFTER_NS = 2 * 10**9


def files_in_folder(folder: Path, prefix: str) -> list[tuple[int, Path]]:
    """Return the number and the path of each file of one clip in a folder. Raises OSError if it cannot be listed.

    A folder of many clips is listed once; one that was changed just now each time, since clocks of disks are coarse.
    """
    changed_ns = folder.stat().st_mtime_ns
    is_sure = time.time_ns() - changed_ns > _SURE_AFTER_NS
    numbers = (_listed if is_sure else _listed.__wrapped__)(folder, changed_ns).get(prefix, ())
    return [(number, folder / f"{prefix}_{number:012d}{KEYPOINT_SUFFIX}") for number in numbers]


@lru_cache(maxsize=8)
def _listed(folder: Path, changed_ns: int) -> Mapping[str, "array[int]"]:
    clips: dict[str, array[int]] = {}
    for entry in os.scandir(folder):
        if entry.name.endswith(KEYPOINT_SUFFIX) and (match := _NAME.fullmatch(entry.name)):
            clips.setdefault(match["base"], array("q")).append(int(match["frame"]))
    return clips


_END = struct.Struct("<4s4xHHLLH")
_END64_LOCATOR = struct.Struct("<4s4xQ4x")
_END64 = struct.Struct("<4s20xQQQQ")
_ENTRY = struct.Struct("<4s4xHH4xLLLHHH8xL")
_LOCAL = struct.Struct("<4s22xHH")
_STORED, _DEFLATED, _ENCRYPTED = 0, 8, 1
_IN_EXTRA = 2**32 - 1
"""A number of 32 bits that stands in the entry's zip64 field instead."""


_MOST_ENTRY_BYTES = _ENTRY.size + 3 * (2**16 - 1)
_BLOCK_BYTES = 2**20


def frames_in_zip(path: Path) -> tuple[Mapping[str, int], bool]:
    """Return the clips that a zip, or its pieces, holds: the names of their files up to the number, and their bytes.

    The second value is True if there are other files in it, too.

    Raises AnnotationError if the archive cannot be read, or is no zip.
    """
    with _told(path):
        clips, has_others = _directory(*_lies_in(path))
        return {prefix: places[0] for prefix, places in clips.items()}, has_others


def num_bytes_in_zip(path: Path, member: str) -> int:
    """Return the size of a clip's files in a zip. Raises AnnotationError as `frames_in_zip`, or if there are none."""
    with _told(path):
        places = _directory(*_lies_in(path))[0].get(member.removesuffix(SEQUENCE_SUFFIX))
    if places is None:
        raise AnnotationError(f"{path}!/{member}: there are no such files")
    return places[0]


def _rows_in_zip(path: Path, prefix: str) -> list[tuple[int, ...]]:
    """Return a row of `Frames` for each file of one clip in a zip."""
    with _told(path):
        lies_in = _lies_in(path)
        places = _directory(*lies_in)[0].get(prefix, array("q", [0]))
        runs = zip(places[1::2], places[2::2], strict=True)
        entries = (entry for start, end in runs for entry in _entries(_opened(*lies_in), start, end))
        return [(int(_number(name)), *values) for _, _, name, values in entries if values is not None]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, struct.error) as error:
        raise AnnotationError(f"{path}: is no readable zip ({error})") from error


def _lies_in(path: Path) -> tuple[tuple[Path, ...], tuple[tuple[int, int], ...]]:
    """Return the pieces of a zip, and their sizes and times: a zip that was replaced is another one. Raises OSError."""
    pieces = pieces_of(path)
    return pieces, tuple((status.st_size, status.st_mtime_ns) for status in map(Path.stat, pieces))


@lru_cache(maxsize=64)
def _directory(pieces: tuple[Path, ...], stamps: object) -> tuple[Mapping[str, "array[int]"], bool]:
    """Return for each clip its bytes, and where its files stand in the zip's directory: the start and end of each run.

    The second value is True if there are other files, too. A clip's files usually follow each other, and are one run.
    AIHub has 18 zips with two million files each.
    """
    file = JoinedFile(pieces)
    clips: dict[bytes, array[int]] = {}
    last: bytes | None = None
    has_others = False
    places = array("q", [0])
    begin_of_all, end_of_all, count = _bounds(file)
    for start, end, name, values in islice(_entries(file, begin_of_all, end_of_all), count):
        number = _number(name)
        if not name.endswith(KEYPOINT_SUFFIX.encode()) or not number.isdigit() or len(number) < 12:
            has_others = has_others or not name.endswith((b"/", b"\\"))
            last = None
            continue
        if values is None:
            raise ValueError("it is encrypted, or compressed in another way than by Deflate")
        if (prefix := name[:-_NUMBERED_BYTES]) == last:
            places[-1] = end
        else:
            places, last = clips.setdefault(prefix, array("q", [0])), prefix
            places.extend((start, end))
        places[0] += values[0]
    return {_decoded(prefix): places for prefix, places in clips.items()}, has_others


def _number(name: bytes) -> bytes:
    return name[-_NUMBERED_BYTES + 1 : -len(KEYPOINT_SUFFIX)]


def _decoded(name: bytes) -> str:
    try:
        return name.decode().replace("\\", "/")
    except UnicodeDecodeError:
        return name.decode("cp949", "replace").replace("\\", "/")


def _bounds(file: JoinedFile) -> tuple[int, int, int]:
    """Return where the directory of a zip starts and ends, and how many files it lists."""
    tail_bytes = min(file.num_bytes, 2**16 + _END.size)
    tail = _read_at(file, file.num_bytes - tail_bytes, tail_bytes)
    end = tail.rfind(b"PK\x05\x06")
    if end < 0:
        raise ValueError("it has no directory: it is cut off")
    _, _, count, num_bytes, start, _ = _END.unpack_from(tail, end)
    if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
        _, end64 = _END64_LOCATOR.unpack_from(tail, end - 20)
        _, _, count, num_bytes, start = _END64.unpack(_read_at(file, end64, _END64.size))
    return start, start + num_bytes, count


_Values = tuple[int, int, int, int, int]


def _entries(file: JoinedFile, start: int, end: int) -> Iterator[tuple[int, int, bytes, _Values | None]]:
    """Yield the members that a part of a zip's directory lists.

    Each is its start and end in the directory, its name, and its size, CRC-32, offset, packed size and 1 if it is
    packed, or None if it cannot be read. Source: PKWARE's APPNOTE, sections 4.3.12 to 4.3.16.
    """
    data, position = b"", 0
    while start + position < end:
        if position + _MOST_ENTRY_BYTES > len(data) and start + len(data) < end:
            start, position = start + position, 0
            data = _read_at(file, start, min(_BLOCK_BYTES, end - start))
        magic, flags, method, checksum, packed, size, len_name, len_extra, len_comment, offset = _ENTRY.unpack_from(
            data, position
        )
        if magic != b"PK\x01\x02":
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


def _read_at(file: JoinedFile, start: int, num_bytes: int) -> bytes:
    """Return bytes of a file; fewer at its end."""
    file.seek(start)
    num_bytes = max(0, min(num_bytes, file.num_bytes - start))  # damaged numbers may ask for more than memory holds
    parts = []
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


@lru_cache(maxsize=8)
def _opened(pieces: tuple[Path, ...], stamps: object) -> JoinedFile:
    return JoinedFile(pieces)


def _member(path: Path, frames: Frames, place: int) -> bytes:
    """Return the bytes of one file of a zip, compared with its CRC-32. Raises OSError or zlib.error."""
    file = _opened(*_lies_in(path))
    offset, packed = frames.offset[place], frames.packed_bytes[place]
    # The local header repeats the name; its length and that of the extra field follow from the header alone.
    data = _read_at(file, offset, packed + _LOCAL.size + 512)
    magic, len_name, len_extra = _LOCAL.unpack_from(data)
    start = _LOCAL.size + len_name + len_extra
    if magic != b"PK\x03\x04":
        raise OSError("it has no local header where the directory says")
    if start + packed > len(data):
        data = _read_at(file, offset, start + packed)
    content = data[start : start + packed]
    if frames.is_packed[place]:
        content = zlib.decompressobj(-15).decompress(content, frames.num_bytes[place] + 1)  # no more of a bomb
    if len(content) != frames.num_bytes[place] or zlib.crc32(content) != frames.crc32[place]:
        raise OSError("its bytes are not those that its checksum tells")
    return content
