"""Zip archives of videos and labels, read in place.

In: a zip. Out: its members by the names that their authors wrote, and their bytes. The trade-off: an uncompressed
member is read where it lies, so that a video in it decodes as one on disk does, but the zip's checksum is not looked
at. A compressed member is read into memory as a whole and verified.
"""

import io
import os
import struct
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from signprep.pipeline.errors import AnnotationError

MAX_DEFLATED_BYTES = 2**30
"""Compressed members are read whole; larger ones are refused. AIHub's videos are 2 to 20 MB."""

UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
_LOCAL_HEADER = struct.Struct("<4s22xHH")


def member_name(info: zipfile.ZipInfo) -> str:
    """Return a zip member's name as its author wrote it.

    Archives made on Korean Windows hold cp949 names without the UTF-8 flag, which zipfile reads as cp437.

    >>> info = zipfile.ZipInfo("수어.mp4".encode("cp949").decode("cp437"))
    >>> member_name(info)
    '수어.mp4'
    """
    if info.flag_bits & UTF8_FLAG:
        return info.filename
    try:
        raw = info.filename.encode("cp437")
    except UnicodeEncodeError:
        return info.filename
    for encoding in ("utf-8", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename


class Archive:
    """A zip with its members by their true names. Archives are not shared between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except FileNotFoundError as error:
            raise AnnotationError(f"{path}: there is no such archive") from error
        except OSError as error:
            raise AnnotationError(f"{path}: cannot be read ({error.strerror or error})") from error
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise AnnotationError(f"{path}: is no readable zip ({error}); download it again") from error
        self.members = {member_name(info): info for info in self._zip.infolist() if not info.is_dir()}

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
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError) as error:
            raise AnnotationError(f"{self.path}: its member {name} is damaged ({error})") from error

    def _member(self, name: str) -> zipfile.ZipInfo:
        info = self.members.get(name)
        if info is None:
            raise AnnotationError(f"{self.path}: has no member {name}")
        if info.flag_bits & ENCRYPTED_FLAG:
            raise AnnotationError(f"{self.path}: its member {name} is encrypted")
        return info

    def _stored(self, info: zipfile.ZipInfo, name: str) -> BinaryIO:
        """Return the part of the archive where an uncompressed member lies."""
        if info.file_size != info.compress_size:
            raise AnnotationError(f"{self.path}: its member {name} is damaged (sizes disagree)")
        with self.path.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size:
                raise AnnotationError(f"{self.path}: is truncated before its member {name}")
            magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
            if magic != b"PK\x03\x04":
                raise AnnotationError(f"{self.path}: its member {name} is damaged (no local header)")
            start = info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
            if start + info.file_size > file.seek(0, os.SEEK_END):
                raise AnnotationError(f"{self.path}: is truncated within its member {name}")
        return io.BufferedReader(_FilePart(self.path, start, info.file_size), 2**17)


@lru_cache(maxsize=8)
def open_archive(path: Path) -> Archive:
    """Open a zip, or return it from the last few; they stay open because a zip can list 100,000 members."""
    return Archive(path)


class _FilePart(io.RawIOBase):
    """A range of a file, to be read as a file of its own."""

    def __init__(self, path: Path, start: int, num_bytes: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._start, self._num_bytes, self._position = start, num_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._num_bytes}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)[: max(0, self._num_bytes - self._position)]
        self._file.seek(self._start + self._position)
        num_read = self._file.readinto(view) or 0
        self._position += num_read
        return num_read

    def close(self) -> None:
        self._file.close()
        super().close()
