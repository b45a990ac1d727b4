"""Find the videos that a user names: files, folders, zips and patterns."""

import glob
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from signprep.pipeline.datasets.annotations import is_video
from signprep.pipeline.datasets.files import Problem, open_file, walk_archive, walk_files
from signprep.pipeline.errors import SignprepError


@dataclass(frozen=True, kw_only=True)
class Video:
    """A file, or a member of a zip."""

    path: str
    """Its name in results: a path, or archive.zip!/member.mp4."""
    folder: Path
    name: str
    """Path inside `folder`, in the form that `open_file` takes."""

    @classmethod
    def at(cls, path: Path) -> Self:
        """Return the video that is a file of its own."""
        return cls(path=str(path), folder=path.parent, name=path.name)

    @contextmanager
    def opened(self) -> Iterator[Path | BinaryIO]:
        """Yield the path, or a stream that is closed at the end. Raises AnnotationError if a zip does not give it."""
        file = open_file(self.folder, self.name)
        try:
            yield file
        finally:
            if not isinstance(file, Path):
                file.close()


def find_videos(named: Iterable[str], log: Callable[[str], None]) -> list[Video]:
    """Return the videos that files, folders, zips and patterns mean, each once, in the order in which they were named.

    Args:
        named: paths, or patterns with *, ? or [...], ** for folders of any depth.
        log: takes a line about each file or folder that could not be looked into.

    Raises:
        SignprepError: something is not there, or holds no videos.
    """
    found: dict[str, Video] = {}
    for text in named:
        is_pattern = glob.has_magic(text) and not Path(text).exists()
        # Path.glob takes no absolute patterns.
        matches = sorted(glob.glob(text, recursive=True)) if is_pattern else [text]  # noqa: PTH207
        videos = [video for match in matches for video in _videos_at(Path(match), log)]
        if not videos:
            what = "holds no video" if Path(text).exists() else "no such video file"
            raise SignprepError(f"{text}: {what}; expected a file, a folder, a zip or a pattern")
        found.update((video.path, video) for video in videos)
    return list(found.values())


def _videos_at(path: Path, log: Callable[[str], None]) -> Iterator[Video]:
    def log_problem(problem: Problem) -> None:
        log(problem.message)

    if path.is_dir():
        folder, files = path, walk_files(path, log_problem, wanted=is_video)
    elif path.suffix.lower() == ".zip":
        folder, files = path.parent, walk_archive(path, path.name, log_problem, is_video)
    else:
        if path.exists():
            yield Video.at(path)
        return
    for file in files:
        yield Video(path=str(folder / file.name), folder=folder, name=file.name)
