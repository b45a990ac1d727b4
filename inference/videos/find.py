"""Videos as a user names them: files, folders, zips and patterns, to what can be opened."""

import glob
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from signprep.pipeline.datasets.annotations import VIDEO_SUFFIXES
from signprep.pipeline.datasets.files import FoundFile, Problem, open_file, walk_archive, walk_files
from signprep.pipeline.errors import SignprepError


@dataclass(frozen=True, kw_only=True)
class Video:
    """A file, or a member of a zip."""

    path: str
    """As results call it: a path, or archive.zip!/member.mp4."""
    folder: Path
    """In which `name` lies."""
    name: str

    @classmethod
    def at(cls, path: Path) -> Self:
        """Return the video that is a file of its own."""
        return cls(path=str(path), folder=path.parent, name=path.name)

    @contextmanager
    def opened(self) -> Iterator[Path | BinaryIO]:
        """Give the path, or a stream that is closed at the end. Raises AnnotationError if a zip does not give it."""
        file = open_file(self.folder, self.name)
        try:
            yield file
        finally:
            if not isinstance(file, Path):
                file.close()


def find_videos(named: Iterable[str], report: Callable[[str], None]) -> list[Video]:
    """Return the videos that files, folders, zips and patterns mean, each once, in the order in which they were named.

    Args:
        named: paths, or patterns with *, ? or [...], ** for folders of any depth.
        report: is told what could not be looked into.

    Raises:
        SignprepError: something is not there, or holds no videos.
    """
    found: dict[str, Video] = {}
    for text in named:
        matches = [text] if Path(text).exists() or not glob.has_magic(text) else _matches(text)
        videos = [video for match in matches for video in _videos_at(Path(match), report)]
        if not videos:
            what = "holds no video" if Path(text).exists() else "no such video file"
            raise SignprepError(f"{text}: {what}; expected a file, a folder, a zip or a pattern")
        found.update((video.path, video) for video in videos)
    return list(found.values())


def _matches(pattern: str) -> list[str]:
    """Return what a pattern means, in order; Path.glob takes no absolute ones."""
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207


def _videos_at(path: Path, report: Callable[[str], None]) -> Iterator[Video]:
    def on_problem(problem: Problem) -> None:
        report(problem.message)

    if path.is_dir():
        for file in walk_files(path, on_problem, wanted=_is_video):
            yield _video(path, file)
    elif path.suffix.lower() == ".zip":
        for file in walk_archive(path, path.name, on_problem, _is_video):
            yield _video(path.parent, file)
    elif path.exists():
        yield Video.at(path)


def _video(folder: Path, file: FoundFile) -> Video:
    return Video(path=str(folder / file.name), folder=folder, name=file.name)


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES
