"""The files of a data set by the ends of their paths: a folder in, label files and videos out, of any depth and zip.

People unpack archives into folders of their own choice, so only the end of a path counts.
"""

import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from signprep.pipeline.datasets.files.data_root import OnProblem, walk_files
from signprep.pipeline.datasets.files.names import is_landmark_file, is_video
from signprep.pipeline.datasets.presets.spec import Preset
from signprep.pipeline.datasets.tables.segments import APPENDED, file_names


class Listing:
    """Names of label files, relative to the data root, and of videos, relative to their folder."""

    def __init__(
        self,
        root: Path,
        video_root: Path,
        preset: Preset,
        on_problem: OnProblem,
        *,
        landmark_files: bool = False,
        pictures: bool = False,
    ) -> None:
        self._landmark_files = landmark_files
        wanted = is_landmark_file if landmark_files else is_video
        sources = (*preset.sources, *(join.source for join in preset.joins))
        last_parts = {pattern.rpartition("/")[2] for source in sources for pattern in source.files}

        def is_label(name: str) -> bool:
            return any(fnmatchcase(name, pattern) for pattern in last_parts)

        def is_any(name: str) -> bool:
            return wanted(name) or is_label(name)

        self.labels: list[str] = []
        self.videos: list[str] = []
        folder = root.parent if root.is_file() else root
        same = folder.resolve() == video_root.resolve()
        for file in walk_files(folder, on_problem, wanted=is_any if same else is_label, pictures=same and pictures):
            (self.labels if is_label(file.file_name) else self.videos).append(file.name)
        if not same:
            self.videos = [file.name for file in walk_files(video_root, on_problem, wanted=wanted, pictures=pictures)]
        self._names = frozenset(self.videos)
        self._by_end: dict[int, dict[str, list[str]]] = {}

    def matching(self, patterns: tuple[str, ...]) -> list[str]:
        """Return the label files that the first of these patterns matches which matches any."""
        for pattern in patterns:
            if found := [name for name in self.labels if ends_as(name, pattern)]:
                return found
        return []

    def video(self, name: str) -> PurePosixPath | None:
        """Return the first video whose path ends so, as it lies on disk; names without a suffix get one."""
        if name in self._names:
            return PurePosixPath(name)
        name = name.replace("\\", "/").removeprefix("./")
        for one in self._spellings(name):
            if found := self._ending(one.count("/") + 1).get(_folded(one)):
                return PurePosixPath(next((path for path in found if path.endswith(one)), found[0]))
        return None

    def _spellings(self, name: str) -> Iterator[str]:
        """Yield the names that a file may have, as `file_names` does, one by one: the first is mostly there."""
        if self._landmark_files:
            yield from map(str, file_names(PurePosixPath(name), True))
            return
        yield name
        if not is_video(name):
            yield from (name + suffix for suffix in APPENDED)

    def _ending(self, num_parts: int) -> dict[str, list[str]]:
        """Return the videos by the last parts of their paths."""
        if num_parts not in self._by_end:
            by_end: dict[str, list[str]] = {}
            for name in self.videos:
                by_end.setdefault(_folded("/".join(name.split("/")[-num_parts:])), []).append(name)
            self._by_end[num_parts] = by_end
        return self._by_end[num_parts]


def _folded(name: str) -> str:
    """Return a path for comparisons: macOS decomposes letters, and cameras write .MOV."""
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).lower()


def ends_as(name: str, pattern: str) -> bool:
    """Return True if the last parts of a path match those of a pattern."""
    parts = unicodedata.normalize("NFC", name).split("/")
    wanted = pattern.split("/")
    ends = parts[-len(wanted) :]
    return len(ends) == len(wanted) and all(map(fnmatchcase, ends, wanted))
