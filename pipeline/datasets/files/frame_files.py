"""Files that are one a frame, `NAME_000000000012_keypoints.json`: the files of a clip as one, in a folder or in a zip.

In: a data root. Out: `FrameFiles` of a clip, by a name with a star in place of the number; and of a zip, where the
pictures of each of its folders lie. A zip may list a million of them and more: its directory is read once, and what
stays in memory is where a clip's files stand in it, a few numbers a clip. The trade-off: for a clip's identity the
zip's own CRC-32s are believed, so that data that have not changed are recognised without being read.
"""

import hashlib
import os
import struct
import time
import zlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple, cast

from signprep.pipeline.datasets.files.names import FRAME_FILE, KEYPOINT_SUFFIX, SEQUENCE_SUFFIX
from signprep.pipeline.datasets.files.piece_order import layout_of_zip, lies_in
from signprep.pipeline.datasets.files.pieces import JoinedFile, extents_of
from signprep.pipeline.datasets.files.tars import TarMember, is_tar, tar_index
from signprep.pipeline.datasets.files.zip_directory import (
    LOCAL_HEADER,
    LOCAL_MAGIC,
    Values,
    entries,
    read_at,
    read_end,
)
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.video.image_sequence import PICTURE_SUFFIXES, is_picture

MAX_FRAME_BYTES = 2**22
"""A frame of AIHub has 10 to 30 kB; larger files are refused before they are read."""
_NUMBERED_BYTES = len(f"_000000000000{KEYPOINT_SUFFIX}")
_NUMBER = slice(1 - _NUMBERED_BYTES, -len(KEYPOINT_SUFFIX))
"""Of a name, where its frame's number stands."""
_KEYPOINT_END = KEYPOINT_SUFFIX.encode()


_RAW = 2


class Frames(NamedTuple):
    """The files of one clip, in the order of their frames; where they lie in their zip, -1 in a folder."""

    numbers: "array[int]"
    num_bytes: "array[int]"
    crc32: "array[int]"
    offset: "array[int]"
    packed_bytes: "array[int]"
    is_packed: "array[int]"
    """1 if the file is packed by Deflate, 2 if it lies in a tar, without a header of a zip's."""


class FrameFiles:
    """The files of one clip, a file a frame."""

    def __init__(self, path: Path, prefix: str, frames: Frames) -> None:
        self.path = path
        """The zip or the folder that they lie in."""
        self._prefix = prefix
        self.frames = frames

    @cached_property
    def _zip(self) -> JoinedFile:
        return open_zip(self.path)

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
            return read_member(self._zip, cast(Values, tuple(column[place] for column in self.frames[1:])))
        except (OSError, zlib.error, struct.error) as error:
            raise AnnotationError(f"{self.path}: its {self.name(place)} cannot be read ({error})") from error


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
        rows = _rows_in_tar(path, prefix, checksums) if is_tar(path) else _rows_in_zip(path, prefix)
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
        if entry.name.endswith(KEYPOINT_SUFFIX) and (match := FRAME_FILE.fullmatch(entry.name)):
            clips.setdefault(match["base"], array("q")).append(int(match["frame"]))
    return clips


def frames_in_zip(path: Path) -> tuple[Mapping[str, int], bool]:
    """Return the clips that a zip, or its pieces, holds: the names of their files up to the number, and their bytes.

    The second value is True if there are other files in it, too, pictures aside.

    Raises AnnotationError if the archive cannot be read, or is no zip.
    """
    with _told(path):
        if is_tar(path):
            index = tar_index(path, *lies_in(path), frame_of)
            return {prefix: sum(sizes) for prefix, (_, _, sizes) in index.frames.items()}, True
        found = _directory(path, lies_in(path))
        return {prefix: places[0] for prefix, places in found.clips.items()}, found.has_others


def num_bytes_in_zip(path: Path, member: str) -> int:
    """Return the size of a clip's files in a zip. Raises AnnotationError as `frames_in_zip`, or if there are none."""
    prefix = member.removesuffix(SEQUENCE_SUFFIX)
    with _told(path):
        if is_tar(path) and prefix in (frames := tar_index(path, *lies_in(path), frame_of).frames):
            return sum(frames[prefix][2])
        places = None if is_tar(path) else _directory(path, lies_in(path)).clips.get(prefix)
    if places is None:
        raise AnnotationError(f"{path}!/{member}: there are no such files")
    return places[0]


def _rows_in_zip(path: Path, prefix: str) -> list[tuple[int, ...]]:
    """Return a row of `Frames` for each file of one clip in a zip."""
    with _told(path):
        listed = _listed_in(path, _directory(path, lies_in(path)).clips.get(prefix))
        return [(int(name[_NUMBER]), *values) for _, _, name, values in listed if values is not None]


def _listed_in(path: Path, places: "array[int] | None") -> Iterator[tuple[int, int, bytes, Values | None]]:
    """Return the members at these places of a zip's directory, as `entries` yields them."""
    if places is None:
        return iter(())
    return chain.from_iterable(map(partial(entries, open_zip(path)), places[1::2], places[2::2]))


def picture_folders_in_zip(path: Path) -> Mapping[str, int]:
    """Return the folders of a zip that hold pictures, "" for the zip itself, and the bytes of their pictures.

    Raises AnnotationError as `frames_in_zip`.
    """
    with _told(path):
        if is_tar(path):
            sizes: dict[str, int] = {}
            for name, member in tar_index(path, *lies_in(path), frame_of).members.items():
                if is_picture(name):
                    folder = name.rpartition("/")[0]
                    sizes[folder] = sizes.get(folder, 0) + member.file_size
            return sizes
        return {folder: places[0] for folder, places in _directory(path, lies_in(path)).pictures.items()}


def pictures_in_zip(path: Path, folder: str) -> dict[str, Values | None]:
    """Return the pictures of a folder in a zip, by their names, and where they lie; None for one that cannot be read.

    Raises AnnotationError as `frames_in_zip`.
    """
    with _told(path):
        if is_tar(path):
            members = tar_index(path, *lies_in(path), frame_of).members.items()
            split = ((*name.rpartition("/")[::2], member) for name, member in members if is_picture(name))
            stamps = lies_in(path)
            return {name: _values_in_tar(path, stamps, member) for parent, name, member in split if parent == folder}
        listed = _listed_in(path, _directory(path, lies_in(path)).pictures.get(folder))
        found = ((_decoded(name).rpartition("/")[2], values) for _, _, name, values in listed)
        return {name: values for name, values in found if is_picture(name)}


@lru_cache(maxsize=2**16)
def _values_in_tar(path: Path, stamps: object, member: TarMember) -> Values | None:
    """Return where a member lies, with the CRC-32 of its bytes, which no tar tells; None if it cannot be read."""
    if member.unreadable is not None:
        return None
    content = read_at(_opened(path, lies_in(path)), member.start, member.file_size)
    return member.file_size, zlib.crc32(content), member.start, member.file_size, _RAW


def frame_of(name: str) -> tuple[str, int] | None:
    """Return the name of a clip and a frame's number by the name of its file, None if that is no frame's."""
    match = FRAME_FILE.fullmatch(name) if name.endswith(KEYPOINT_SUFFIX) else None
    return None if match is None else (match["base"], int(match["frame"]))


def _rows_in_tar(path: Path, prefix: str, checksums: bool) -> list[tuple[int, ...]]:
    """Return a row of `Frames` for each file of one clip in a tar; they are read for their checksums."""
    with _told(path):
        columns = tar_index(path, *lies_in(path), frame_of).frames.get(prefix, ((), (), ()))
        file = _opened(path, lies_in(path))
        checked = [zlib.crc32(read_at(file, *place)) if checksums else 0 for place in zip(*columns[1:], strict=True)]
        return [(n, size, crc, start, size, _RAW) for n, start, size, crc in zip(*columns, checked, strict=True)]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, struct.error) as error:
        raise AnnotationError(f"{path}: is no readable {'tar' if is_tar(path) else 'zip'} ({error})") from error


class _Directory(NamedTuple):
    """The frames that a zip's directory lists: the bytes of each clip, and the start and end of each run of its files.

    A clip's files usually follow each other, and are one run. AIHub has 18 zips with two million files each.
    """

    clips: Mapping[str, "array[int]"]
    """Of keypoints, by their names up to the number."""
    pictures: Mapping[str, "array[int]"]
    """By their folder."""
    has_others: bool
    """True if there are other files, too."""


_PICTURE_ENDS = tuple(suffix.encode() for suffix in PICTURE_SUFFIXES)


@lru_cache(maxsize=64)
def _directory(path: Path, stamps: object) -> _Directory:
    file = JoinedFile(layout_of_zip(path).extents)
    clips: dict[bytes, array[int]] = {}
    pictures: dict[bytes, array[int]] = {}
    last: tuple[bool, bytes] | None = None
    has_others = False
    places = array("q", [0])
    bounds = read_end(file)
    if bounds is None:
        raise ValueError("it has no directory: it is cut off")
    stop = bounds.list_start + bounds.list_bytes
    for start, end, name, values in islice(entries(file, bounds.list_start, stop), bounds.num_members):
        number = name[_NUMBER]
        is_keypoint = name.endswith(_KEYPOINT_END) and number.isdigit() and len(number) >= 12
        if is_keypoint and values is None:
            raise ValueError("it is encrypted, or compressed in another way than by Deflate")
        if is_keypoint:
            clip = True, name[:-_NUMBERED_BYTES]
        elif name.lower().endswith(_PICTURE_ENDS):
            clip = False, name.replace(b"\\", b"/").rpartition(b"/")[0]
        else:
            has_others = has_others or not name.endswith((b"/", b"\\"))
            last = None
            continue
        if clip == last:
            places[-1] = end
        else:
            places, last = (clips if is_keypoint else pictures).setdefault(clip[1], array("q", [0])), clip
            places.extend((start, end))
        places[0] += values[0] if values is not None else 0
    named, folders = ({_decoded(name): places for name, places in found.items()} for found in (clips, pictures))
    return _Directory(named, folders, has_others)


def _decoded(name: bytes) -> str:
    try:
        return name.decode().replace("\\", "/")
    except UnicodeDecodeError:
        return name.decode("cp949", "replace").replace("\\", "/")


@lru_cache(maxsize=8)
def _opened(path: Path, stamps: object) -> JoinedFile:
    return JoinedFile(extents_of(lies_in(path)[0]) if is_tar(path) else layout_of_zip(path).extents)


def open_zip(path: Path) -> JoinedFile:
    """Open a zip of frames, or its pieces. Raises OSError or ValueError if it cannot be read."""
    return _opened(path, lies_in(path))


def read_member(file: JoinedFile, values: Values) -> bytes:
    """Return the bytes of one file of a zip, compared with its CRC-32. Raises OSError, zlib.error or struct.error."""
    num_bytes, crc32, offset, packed, is_packed = values
    if is_packed == _RAW:
        content = read_at(file, offset, packed)
        if len(content) != packed:
            raise OSError("it is cut off")
        return content
    # The local header repeats the name; its length and that of the extra field follow from the header alone.
    data = read_at(file, offset, packed + LOCAL_HEADER.size + 512)
    magic, len_name, len_extra = LOCAL_HEADER.unpack_from(data)
    start = LOCAL_HEADER.size + len_name + len_extra
    if magic != LOCAL_MAGIC:
        raise OSError("it has no local header where the directory says")
    if start + packed > len(data):
        data = read_at(file, offset, start + packed)
    content = data[start : start + packed]
    if is_packed:
        content = zlib.decompressobj(-15).decompress(content, num_bytes + 1)  # no more of a bomb
    if len(content) != num_bytes or zlib.crc32(content) != crc32:
        raise OSError("its bytes are not those that its checksum tells")
    return content
