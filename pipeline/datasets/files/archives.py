"""Zip archives of videos and labels, read in place.

In: a zip, or its pieces. Out: its members by the names that their authors wrote, and their bytes. The trade-off: an
uncompressed member is read where it lies, so that a video in it decodes as one on disk does, but the zip's checksum is
not looked at. A compressed member is read into memory as a whole and verified.
"""

import io
import struct
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from signprep.pipeline.datasets.files.frame_files import frame_of
from signprep.pipeline.datasets.files.piece_order import layout_of_zip, lies_in
from signprep.pipeline.datasets.files.pieces import IncompleteArchiveError, JoinedFile, check_pieces
from signprep.pipeline.datasets.files.tars import TarArchive, is_tar, tar_index
from signprep.pipeline.datasets.files.zip_directory import LOCAL_HEADER, LOCAL_MAGIC
from signprep.pipeline.errors import AnnotationError

MAX_DEFLATED_BYTES = 2**30
"""Compressed members are read whole; larger ones are refused. AIHub's videos are 2 to 20 MB."""

UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def member_name(info: zipfile.ZipInfo) -> str:
    """Return a zip member's name as its author wrote it, with slashes between its parts.

    Archives made on Korean Windows hold cp949 names without the UTF-8 flag, which zipfile reads as cp437; others have
    backslashes, or `./` in front. The name of a folder ends with a slash.

    >>> info = zipfile.ZipInfo("수어.mp4".encode("cp949").decode("cp437"))
    >>> member_name(info)
    '수어.mp4'
    """
    name, is_unicode = info.filename, info.flag_bits & UTF8_FLAG
    for encoding in () if is_unicode else ("utf-8", "cp949"):
        try:
            name = info.filename.encode("cp437").decode(encoding)
            break
        except UnicodeError:
            continue
    name = name.replace("\\", "/")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(parts) + "/" * name.endswith("/")


class _WithoutUtf8Flags(io.BufferedReader):
    """A zip in which no name claims to be UTF-8: zipfile refuses all of a zip in which one such name is not."""

    def read(self, size: int | None = -1) -> bytes:
        data, entry = bytearray(super().read(size)), 0
        if len(data) == LOCAL_HEADER.size and data.startswith(LOCAL_MAGIC):
            data[7] &= ~(UTF8_FLAG >> 8) & 0xFF
        while data[entry : entry + 4] == b"PK\x01\x02" and entry + 46 <= len(data):
            data[entry + 9] &= ~(UTF8_FLAG >> 8) & 0xFF
            entry += 46 + sum(struct.unpack_from("<HHH", data, entry + 28))
        return bytes(data)


class Archive:
    """A zip with its members by their true names. Archives are not shared between processes."""

    def __init__(self, path: Path, pieces: tuple[Path, ...]) -> None:
        self.path, self.pieces = path, pieces
        """The zip's own path, and the files that it lies in."""
        whole = pieces == (path,)
        try:
            if not whole:
                check_pieces(pieces)
            layout = layout_of_zip(path)
            if layout.complaint is not None:
                raise AnnotationError(f"{path}: {layout.complaint}")
            self._file = JoinedFile(layout.extents)
            try:
                self._zip = zipfile.ZipFile(io.BufferedReader(self._file, 2**16))
            except UnicodeDecodeError:
                self._zip = zipfile.ZipFile(_WithoutUtf8Flags(self._file.part(0, self._file.num_bytes)))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error, EOFError) as error:
            if whole:
                raise AnnotationError(f"{path}: is no readable zip ({error}); download it again") from error
            what = f"pieces behind {pieces[-1].name} are missing, or it was not downloaded whole"
            raise IncompleteArchiveError(f"{path}: has no end ({error}): {what}") from error
        named = ((member_name(info), info) for info in self._zip.infolist())
        self.members = {name: info for name, info in named if not name.endswith("/")}

    def unreadable(self, name: str) -> str | None:
        """Return why a member cannot be read, as its entry tells; None if it can."""
        info = self.members[name]
        if ".." in name.split("/"):
            return f"{self.path}: its member {name} leaves the archive"
        if info.flag_bits & ENCRYPTED_FLAG:
            return f"{self.path}: its member {name} is encrypted"
        if info.compress_type not in _METHODS:
            method = "Deflate64" if info.compress_type == 9 else f"method {info.compress_type}"
            return f"{self.path}: its member {name} is compressed by {method}, which is not supported: unpack it first"
        return None

    def open(self, name: str) -> BinaryIO:
        """Return a seekable stream of a member."""
        info = self._member(name)
        if info.compress_type == zipfile.ZIP_STORED:
            return self._stored(info, name)
        return io.BytesIO(self.read(name, MAX_DEFLATED_BYTES))

    def read(self, name: str, limit: int) -> bytes:
        """Return a member's bytes, verified by its checksum, if they are no more than `limit`."""
        info = self._member(name)
        if info.file_size > limit:
            raise AnnotationError(
                f"{self.path}: its member {name} has {info.file_size} bytes, over the limit of {limit}; "
                "unpack the archive if that is right"
            )
        try:
            with self._zip.open(info) as member:
                return member.read(limit + 1)
        except Exception as error:  # each method's library has its own
            raise AnnotationError(f"{self.path}: its member {name} is damaged ({error})") from error

    def head(self, name: str, num_bytes: int) -> bytes:
        """Return the first bytes of a member, without a look at its checksum."""
        try:
            with self._zip.open(self._member(name)) as member:
                return member.read(num_bytes)
        except AnnotationError:
            raise
        except Exception as error:  # each method's library has its own
            raise AnnotationError(f"{self.path}: its member {name} is damaged ({error})") from error

    def _member(self, name: str) -> zipfile.ZipInfo:
        info = self.members.get(name)
        if info is None:
            raise AnnotationError(f"{self.path}: has no member {name}")
        if reason := self.unreadable(name):
            raise AnnotationError(reason)
        return info

    def _stored(self, info: zipfile.ZipInfo, name: str) -> BinaryIO:
        """Return the part of the archive where an uncompressed member lies."""
        if info.file_size != info.compress_size:
            raise AnnotationError(f"{self.path}: its member {name} is damaged (sizes disagree)")
        file = io.BufferedReader(self._file.part(0, self._file.num_bytes), 2**9)
        with file:
            file.seek(max(0, info.header_offset))
            header = file.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size:
            raise AnnotationError(f"{self.path}: is truncated before its member {name}")
        magic, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
        if magic != LOCAL_MAGIC or info.header_offset < 0:
            raise AnnotationError(f"{self.path}: its member {name} is damaged (no local header)")
        start = info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
        if start + info.file_size > self._file.num_bytes:
            raise AnnotationError(f"{self.path}: is truncated within its member {name}")
        return io.BufferedReader(self._file.part(start, info.file_size), 2**17)


def open_archive(path: Path) -> Archive | TarArchive:
    """Open a zip or a tar, or return it from the last few; they stay open because a zip can list 100,000 members.

    Where there is no file of this name, its pieces are read as one. Raises AnnotationError if it cannot be read.
    """
    try:
        pieces, stamps = lies_in(path)
        if not pieces:
            raise AnnotationError(f"{path}: there is no such archive")
        archive = _opened(path, pieces, stamps)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror or error})") from error
    if isinstance(archive, AnnotationError):
        raise archive.with_traceback(None)
    return archive


@lru_cache(maxsize=8)
def _opened(path: Path, pieces: tuple[Path, ...], stamps: object) -> Archive | TarArchive | AnnotationError:
    """Open an archive, or return why it cannot be read, which may take a while to find out."""
    try:
        if is_tar(path):
            return TarArchive(path, pieces, tar_index(path, pieces, stamps, frame_of))
        return Archive(path, pieces)
    except AnnotationError as error:
        return error
