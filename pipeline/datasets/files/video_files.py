"""The videos of a data set, by their names in one or several data roots: opened, stamped, and told apart by content.

In: the folders, and names as `data_root` gives them. Out: videos to decode, and content hashes, which are the identity
of a video, whatever it is called.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from signprep.pipeline.datasets.files.archives import open_archive
from signprep.pipeline.datasets.files.data_root import is_picture_folder, open_file, path_on_disk
from signprep.pipeline.datasets.files.frame_files import FrameFiles, files_in_folder, num_bytes_in_zip, open_frames
from signprep.pipeline.datasets.files.image_files import stamps_of_pictures
from signprep.pipeline.datasets.files.names import SEQUENCE_SUFFIX, is_sequence
from signprep.pipeline.datasets.files.pieces import pieces_of
from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.video.image_sequence import ImageSequence

_LARGEST_TIME_NS = 2**63 - 1
"""In the year 2262; a file that claims to be of a later one has this time."""


class FileStamp(NamedTuple):
    """Size and time of change: a file that still has both is taken for unchanged."""

    num_bytes: int
    mtime_ns: int
    """The archive's time for a member of a zip."""
    fps: float | None = None
    """The rate that a video of pictures was hashed with."""


@dataclass(frozen=True, kw_only=True)
class DataRoots:
    """One folder of videos, or several told apart by the first part of the videos' names."""

    folders: tuple[tuple[str, Path], ...]
    """(prefix, folder); a single folder has the prefix ""."""
    fps: float | None = None
    """Pictures that are shown in a second, where a video is a folder of pictures."""

    @classmethod
    def single(cls, root: Path, fps: float | None = None) -> Self:
        """Return the roots of one folder."""
        return cls(folders=(("", root),), fps=fps)

    def absolute(self) -> Self:
        """Return the same folders for a process that is elsewhere."""
        return replace(self, folders=tuple((prefix, folder.absolute()) for prefix, folder in self.folders))

    def sample_paths(self, videos: Iterable[str]) -> tuple[Path, ...]:
        """Return one existing file of these videos for each folder: a machine that has these files sees the data."""
        found: dict[Path, Path] = {}
        for video in videos:
            folder, name = self.locate(video)
            if folder not in found:
                path, _ = path_on_disk(folder, name)
                for file in pieces_of(path)[:1]:
                    found[folder] = file
            if len(found) == len(self.folders):
                break
        return tuple(found.values())

    def locate(self, video: str) -> tuple[Path, str]:
        """Return the folder and the name in it of a video by its full name. Raises AnnotationError if unknown."""
        for prefix, folder in self.folders:
            if not prefix:
                return folder, video
            if video.startswith(prefix + "/"):
                return folder, video[len(prefix) + 1 :]
        raise AnnotationError(f"{video}: lies in none of the data roots {', '.join(p for p, _ in self.folders)}")

    @contextmanager
    def opened(self, video: str) -> Iterator[Path | BinaryIO | ImageSequence]:
        """Yield a video's path, stream or pictures, as of `open_file`; a stream is closed after the block."""
        file = open_file(*self.locate(video), self.fps)
        try:
            yield file
        finally:
            if not isinstance(file, Path):
                file.close()

    def display_name(self, video: str) -> str:
        """Return a video's name for messages."""
        folder, name = self.locate(video)
        return str(folder / name)

    def num_bytes(self, video: str) -> int | None:
        """Return a video's size, or None if it is gone."""
        stamp = self.stamp(video)
        return stamp.num_bytes if stamp else None

    def frame_files(self, video: str) -> FrameFiles:
        """Open the files of a clip that is a file a frame. Raises AnnotationError if there are none."""
        return open_frames(*path_on_disk(*self.locate(video)))

    def stamp(self, video: str) -> FileStamp | None:
        """Return a video's size and time of change, or None if it is gone."""
        path, member = path_on_disk(*self.locate(video))
        try:
            if is_sequence(video):
                return self._stamp_of_frames(video)
            if is_picture_folder(path, member, self.fps):
                sizes, times = zip(*stamps_of_pictures(path, member), strict=True)
                return FileStamp(sum(sizes), min(max(times), _LARGEST_TIME_NS), self.fps)
            files = [file.stat() for file in (pieces_of(path) if member else (path,))]
            mtime_ns = min(max(status.st_mtime_ns for status in files), _LARGEST_TIME_NS)
            info = open_archive(path).members.get(member) if member else None
        except (OSError, ValueError, AnnotationError, DecodeError):
            return None
        if member is None:
            return FileStamp(files[0].st_size, mtime_ns)
        return FileStamp(info.file_size, mtime_ns) if info else None

    def _stamp_of_frames(self, video: str) -> FileStamp:
        """Return the size of all frames and the latest time of change. Raises OSError or AnnotationError."""
        path, member = path_on_disk(*self.locate(video))
        if member is not None:
            times = [file.stat().st_mtime_ns for file in pieces_of(path)]
            return FileStamp(num_bytes_in_zip(path, member), min(max(times), _LARGEST_TIME_NS))
        prefix = path.name.removesuffix(SEQUENCE_SUFFIX)
        files = [file.stat() for _, file in files_in_folder(path.parent, prefix)]
        if not files:
            raise AnnotationError(f"{path}: there are no such files")
        latest = max(status.st_mtime_ns for status in files)
        return FileStamp(sum(status.st_size for status in files), min(latest, _LARGEST_TIME_NS))

    def content_hash(self, video: str, num_bytes: int | None = None) -> str | None:
        """Return the `content_hash` of a video, or None if it cannot be read."""
        try:
            if is_sequence(video):
                return self.frame_files(video).content_hash()
            with self.opened(video) as file:
                return content_hash(file, num_bytes)
        except (OSError, AnnotationError, DecodeError):
            return None


def content_hash(file: Path | BinaryIO | ImageSequence, num_bytes: int | None = None) -> str:
    """Return the BLAKE2b-128 of a file's bytes as 32 hexadecimal digits: the identity of a video, whatever its name.

    A stream is read from its start. With `num_bytes` only so many bytes from the start are hashed. The identity of
    pictures is that of `ImageSequence.content_hash`.
    """
    if isinstance(file, ImageSequence):
        return file.content_hash()
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return content_hash(opened, num_bytes)
    file.seek(0)
    digest, left = hashlib.blake2b(digest_size=16), sys.maxsize if num_bytes is None else num_bytes
    while left and (block := file.read(min(left, 2**20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


def hash_possible_duplicates(roots: DataRoots, videos: Iterable[str]) -> dict[str, str]:
    """Return the content hash of each video that may equal another one: only files of equal size are read.

    Videos that are gone or unreadable are left out: they fail later, one by one, with their reason.
    """
    by_size: dict[int, list[str]] = {}
    for video in dict.fromkeys(videos):
        size = roots.num_bytes(video)
        if size is not None:
            by_size.setdefault(size, []).append(video)
    hashes = {video: roots.content_hash(video) for same in by_size.values() if len(same) > 1 for video in same}
    return {video: digest for video, digest in hashes.items() if digest is not None}
