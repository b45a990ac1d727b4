"""Pictures of a folder of a data root, on disk or in a zip, as the frames of one video.

In: where the folder lies. Out: an `ImageSequence`, whose pictures are read in place.
"""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from signprep.pipeline.datasets.files.frame_files import open_zip, pictures_in_zip, read_member
from signprep.pipeline.datasets.files.pieces import pieces_of
from signprep.pipeline.datasets.files.zip_directory import Values
from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.video.image_sequence import MAX_PICTURE_BYTES, ImageSequence, in_order


class ZipFiles:
    """The `PictureFiles` of a folder in a zip: their CRC-32s are those of the zip, so that no file is read for them."""

    def __init__(self, path: Path, folder: str) -> None:
        self._path = path
        self._values: Mapping[str, Values | None] = pictures_in_zip(path, folder)
        self.names = list(self._values)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raises OSError or AnnotationError if they cannot be read."""
        num_bytes, _ = self.checksum(name)
        values = self._values[name]
        assert values is not None
        if num_bytes > MAX_PICTURE_BYTES:
            raise AnnotationError(f"has {num_bytes} bytes, over the limit of {MAX_PICTURE_BYTES}")
        try:
            return read_member(open_zip(self._path), values)
        except (zlib.error, struct.error) as error:
            raise AnnotationError(f"is damaged in the zip: {error}") from error

    def checksum(self, name: str) -> tuple[int, int]:
        """Return size and CRC-32 of a file. Raises AnnotationError if it is encrypted, or compressed otherwise."""
        values = self._values[name]
        if values is None:
            message = f"{self._path}: its member {name} is encrypted, or compressed in another way than by Deflate"
            raise AnnotationError(message)
        return values[:2]


def open_pictures(path: Path, member: str | None, fps: float | None) -> ImageSequence:
    """Return the pictures of a folder as a video.

    Args:
        path: of the folder, or of a zip.
        member: the folder's name in the zip, "" for all of it.
        fps: pictures that are shown in a second.

    Raises AnnotationError if they are none, or no rate is given.
    """
    name = str(path) if member is None else f"{path}!/{member}".removesuffix("/")
    try:
        if member is None:
            return ImageSequence.of_folder(path, fps, name)
        return ImageSequence(ZipFiles(path, member), fps, name)
    except DecodeError as error:
        raise AnnotationError(str(error)) from None


def holds_pictures(path: Path, member: str | None = None) -> bool:
    """Return True for a folder, on disk or in a zip, whose pictures may be the frames of a video."""
    try:
        names = pictures_in_zip(path, member) if member is not None else (file.name for file in path.iterdir())
        return bool(in_order(names))
    except (OSError, DecodeError, AnnotationError):
        return False


def stamps_of_pictures(path: Path, member: str | None) -> list[tuple[int, int]]:
    """Return size and time of change of each picture of a folder; in a zip the time is the zip's.

    Raises OSError, AnnotationError or DecodeError if there are none.
    """
    if member is not None:
        latest = max(piece.stat().st_mtime_ns for piece in pieces_of(path))
        values = pictures_in_zip(path, member)
        return [((values[picture.name] or (0,))[0], latest) for picture in in_order(values)]
    files = [(path / picture.name).stat() for picture in in_order(file.name for file in path.iterdir())]
    return [(status.st_size, status.st_mtime_ns) for status in files]
