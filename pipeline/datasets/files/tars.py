"""Uncompressed tar archives of videos, labels and keypoints, read in place.

In: a tar, or its pieces. Out: its members by name, and their bytes. The trade-off: a tar has no directory, so that the
headers of all members are read, one behind the other, once in each process; of files that are one a frame a few numbers
stay in memory. It has no checksums of its members' bytes either. Source: POSIX.1-2017, pax, by Python's tarfile.
"""

import io
import tarfile
from array import array
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from signprep.pipeline.datasets.files.pieces import JoinedFile, check_pieces, extents_of
from signprep.pipeline.errors import AnnotationError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"(\xb5": "zstd"}
_BLOCK_BYTES = 2**16


class TarMember(NamedTuple):
    """Where the bytes of a member lie in its tar."""

    start: int
    file_size: int
    unreadable: str | None = None
    """Why it cannot be read, in words."""


class TarIndex(NamedTuple):
    """The members of a tar."""

    members: dict[str, TarMember]
    frames: "dict[str, tuple[array[int], array[int], array[int]]]"
    """Of each clip the numbers, starts and sizes of its files, which are one a frame."""
    broken: str | None
    """Why there may be more members than these, in words."""


def is_tar(path: Path) -> bool:
    """Return True for the path of a tar, by its suffix."""
    return path.suffix.lower() == ".tar"


FrameOf = Callable[[str], tuple[str, int] | None]
"""From the name of a member to that of its clip and the frame's number; None for other members."""


@lru_cache(maxsize=16)
def tar_index(path: Path, pieces: tuple[Path, ...], stamps: object, frame_of: FrameOf) -> TarIndex:
    """Return the members of a tar, as it is now. Raises AnnotationError if it is none, OSError if it cannot be read."""
    if pieces != (path,):
        check_pieces(pieces)
    file = JoinedFile(extents_of(pieces))
    index = TarIndex({}, {}, None)
    whole: dict[str, TarMember] = {}
    try:
        with tarfile.open(
            fileobj=io.BufferedReader(file, _BLOCK_BYTES), mode="r:", encoding="utf-8", errors="surrogateescape"
        ) as tar:
            while (info := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # a million of them have no room
                name = _member_name(info.name)
                if info.isdir():
                    continue
                member = _place(info, name, whole, file.num_bytes)
                found = frame_of(name)
                if found is not None and member.unreadable is None:
                    columns = index.frames.setdefault(found[0], (array("q"), array("q"), array("q")))
                    for column, value in zip(columns, (found[1], member.start, member.file_size), strict=True):
                        column.append(value)
                else:
                    index.members[name] = whole[name] = member
            end = tar.offset
    except (tarfile.TarError, ValueError, EOFError) as error:
        if not index.members and not index.frames:
            raise AnnotationError(f"{path}: {_why_no_tar(file, error)}") from error
        return index._replace(broken=f"is cut off or damaged ({error})")
    file.seek(end)
    is_ended = not file.read(tarfile.BLOCKSIZE).strip(b"\0")
    return index if is_ended else index._replace(broken="is cut off, or damaged between its members")


def _place(info: tarfile.TarInfo, name: str, earlier: dict[str, TarMember], num_bytes: int) -> TarMember:
    """Return where a member lies; a hard link lies where its file does."""
    if info.islnk() and (linked := earlier.get(_member_name(info.linkname))) is not None:
        return linked
    reason = None
    if ".." in name.split("/"):
        reason = "leaves the archive"
    elif not info.isreg():
        reason = "is a link, or no file; unpack the archive"
    elif info.sparse is not None:
        reason = "is stored without its holes; unpack the archive"
    elif info.offset_data + info.size > num_bytes:
        reason = "lies behind the archive's end: it was not downloaded whole"
    return TarMember(info.offset_data, info.size, reason)


def _member_name(name: str) -> str:
    """Return a member's name as its author wrote it, with slashes between its parts."""
    data = name.encode("utf-8", "surrogateescape")
    try:
        name = data.decode()
    except UnicodeDecodeError:
        name = data.decode("cp949", "backslashreplace")
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def _why_no_tar(file: JoinedFile, error: Exception) -> str:
    file.seek(0)
    kind = _COMPRESSED.get(file.read(2))
    if kind is not None:
        return f"is compressed by {kind}, whatever its name says; unpack it, as by `tar -xf`"
    return f"is no readable tar ({error}); download it again"


class TarArchive:
    """A tar with its members by their true names; files that are one a frame are not among them."""

    def __init__(self, path: Path, pieces: tuple[Path, ...], index: TarIndex) -> None:
        self.path = path
        self.members = index.members
        self.broken = index.broken
        self._file = JoinedFile(extents_of(pieces))

    def unreadable(self, name: str) -> str | None:
        """Return why a member cannot be read; None if it can."""
        reason = self.members[name].unreadable
        return None if reason is None else f"{self.path}: its member {name} {reason}"

    def open(self, name: str) -> BinaryIO:
        """Return a seekable stream of a member. Raises AnnotationError if there is none."""
        member = self.members.get(name)
        if member is None:
            raise AnnotationError(f"{self.path}: has no member {name}")
        if reason := self.unreadable(name):
            raise AnnotationError(reason)
        return io.BufferedReader(self._file.part(member.start, member.file_size), 2**17)

    def read(self, name: str, limit: int) -> bytes:
        """Return a member's bytes, if they are no more than `limit`. Raises AnnotationError as `open`, or if so."""
        with self.open(name) as member:
            if self.members[name].file_size > limit:
                size = self.members[name].file_size
                raise AnnotationError(f"{self.path}: its member {name} has {size} bytes, over the limit of {limit}")
            return member.read()

    def head(self, name: str, num_bytes: int) -> bytes:
        """Return the first bytes of a member. Raises AnnotationError as `open`."""
        with self.open(name) as member:
            return member.read(num_bytes)
