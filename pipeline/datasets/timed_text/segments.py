"""A folder of videos with ELAN files or subtitles: each annotation, or cue, is a segment of the video of its base name.

In: a folder, in which video and file lie beside each other, or in folders of their own. Out: segments, and every
problem with its file. What `infer --timeline --subtitles` writes, and a person has corrected, is read so.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from signprep.pipeline.datasets.aihub import EmptyLabelError
from signprep.pipeline.datasets.annotations import DatasetOptions, Segment, normal_gloss, parse_name
from signprep.pipeline.datasets.files.data_root import (
    EMPTY_ANNOTATIONS,
    SAME_SIGNS,
    FoundFile,
    OnProblem,
    Problem,
    read_bytes,
    walk_files,
)
from signprep.pipeline.datasets.files.names import is_further_video, is_landmark_file, is_video
from signprep.pipeline.datasets.timed_text.elan import read_elan
from signprep.pipeline.datasets.timed_text.signs import TimedText
from signprep.pipeline.datasets.timed_text.subtitles import read_subtitles
from signprep.pipeline.errors import AnnotationError

TIMED_TEXT_SUFFIXES = (".eaf", ".vtt", ".srt")
"""Of several files of one video the first in this order is taken: the others are most often made from it."""
MAX_BYTES = 2**28
"""ELAN's largest files have tens of megabytes; larger ones are refused before they are read."""


def is_timed_text(name: str) -> bool:
    """Return True for the name of an ELAN or subtitle file, by its suffix."""
    return PurePosixPath(name).suffix.lower() in TIMED_TEXT_SUFFIXES


def timed_text_segments(root: Path, options: DatasetOptions, on_problem: OnProblem) -> Iterator[Segment]:
    """Yield the segments of all ELAN and subtitle files below a folder.

    Raises AnnotationError if it holds no such file, or no video.
    """
    is_source = is_landmark_file if options.landmarks == "files" else is_video
    videos = _Videos(root, on_problem)
    texts: list[FoundFile] = []
    wanted = walk_files(
        root, on_problem, wanted=lambda name: is_timed_text(name) or is_source(name), pictures=options.fps is not None
    )
    for file in wanted:
        if is_timed_text(file.file_name) and not file.is_folder:
            texts.append(file)
        else:
            videos.add(file)
    if not texts or not videos.files:
        have = "no video" if texts else "no .eaf, .vtt or .srt file"
        raise AnnotationError(f"{root}: holds {have}; expected videos, and files of their base names beside them")
    taken: dict[str, str] = {}  # videos, with the file whose segments they have
    contents: dict[str, int] = {}
    texts.sort(key=lambda file: (TIMED_TEXT_SUFFIXES.index(PurePosixPath(file.name).suffix.lower()), file.name))
    for file in texts:

        def problem(kind: str, message: str, name: str = file.name) -> None:
            on_problem(Problem(kind=kind, path=name, message=f"{root / name}: {message}"))

        try:
            text = _read(root, file, options)
        except AnnotationError as error:
            taken |= {video.name: file.name for video in videos.of_base_name(file)}
            kind = "label-empty" if isinstance(error, EmptyLabelError) else "label-unreadable"
            on_problem(Problem(kind=kind, path=file.name, message=str(error)))
            continue
        for message in text.problems:
            problem("label-incomplete", message)
        if text.empty:
            problem(EMPTY_ANNOTATIONS, text.empty)
        paired = videos.paired(file, text)
        if not paired:
            media = "".join(f", nor {name}" for name, _ in text.media[:3])
            problem("label-without-video", f"there is no video named {file.base_name}{media}")
        for view in paired:
            if taken.setdefault(view.video.name, file.name) != file.name:
                first = taken[view.video.name]
                if first not in contents:
                    problem(
                        "same-name", f"is about {view.video.name}, as {first} is, which comes first and is not read"
                    )
                elif contents[first] == text.content:
                    problem(SAME_SIGNS, f"has the signs of {first}, which is taken")
                else:
                    problem(
                        "same-name", f"is about {view.video.name}, as {first} is, which is taken; their signs differ"
                    )
                continue
            contents[file.name] = text.content
            yield from _segments(root, file, text, view, options, on_problem)
    for video in videos.files:
        if video.name not in taken:
            message = f"{root / video.name}: has no .eaf, .vtt or .srt file of its base name"
            on_problem(Problem(kind="video-without-label", path=video.name, message=message))


def _read(root: Path, file: FoundFile, options: DatasetOptions) -> TimedText:
    """Return the contents of a file. Raises AnnotationError if it cannot be read."""
    data, path = read_bytes(root, file.name, MAX_BYTES), str(root / file.name)
    return read_elan(data, path, options.tiers) if file.name.lower().endswith(".eaf") else read_subtitles(data, path)


class _Paired(NamedTuple):
    """A video that a file is about."""

    video: FoundFile
    later_seconds: float
    """By so much its time is later than that of the file."""
    take: str | None = None
    """What it is a view of, if there are several."""


class _Videos:
    """The videos of a folder, to be found by the files about them."""

    def __init__(self, root: Path, on_problem: OnProblem) -> None:
        self.files: list[FoundFile] = []
        self._root, self._on_problem = root, on_problem
        self._by_path: dict[str, FoundFile] = {}
        self._by_base_name: dict[str, list[FoundFile]] = {}

    def add(self, file: FoundFile) -> None:
        """Take one more video; of two with one path but for the suffix, the one that no other was made from."""
        path = _path(file)
        first = self._by_path.get(path)
        if first is not None:
            spare = file
            if is_further_video(first.name) and not (is_further_video(file.name) or file.is_folder):
                self.files.remove(first)
                self._by_base_name[file.base_name].remove(first)
                spare = first
            kept = file if spare is first else first
            message = f"{self._root / spare.name}: has the base name of {kept.name}, which is taken"
            self._on_problem(Problem(kind="same-name", path=spare.name, message=message))
            if spare is file:
                return
        self.files.append(file)
        self._by_path[path] = file
        self._by_base_name.setdefault(file.base_name, []).append(file)

    def of_base_name(self, text: FoundFile) -> list[FoundFile]:
        """Return the video of a file's base name: the one beside it, or the only one of that name."""
        base_name = text.base_name
        for name in (base_name, PurePosixPath(base_name).stem):  # talk.eaf and talk.mp4.eaf, talk.ko.srt
            beside = self._by_path.get(_beside(text, name))
            found = [beside] if beside is not None else self._by_base_name.get(name, [])
            if len(found) == 1:
                return found
        return []

    def paired(self, text: FoundFile, contents: TimedText) -> list[_Paired]:
        """Return the videos that a file is about.

        They are found by the file's own name, or else by those of the videos that it names, which are views of one
        take.
        """
        named = dict(contents.media)
        found = self.of_base_name(text)
        if found:
            return [_Paired(video, named.get(video.file_name, 0.0)) for video in found]
        views: dict[str, _Paired] = {}
        for name, later in contents.media:
            base_name = PurePosixPath(name).stem
            beside = self._by_path.get(_beside(text, base_name))
            candidates = [beside] if beside is not None else self._by_base_name.get(base_name, [])
            if len(candidates) == 1:
                views.setdefault(candidates[0].name, _Paired(candidates[0], later, text.base_name))
        return list(views.values())


def _path(file: FoundFile) -> str:
    return _beside(file, file.base_name)


def _beside(file: FoundFile, base_name: str) -> str:
    """Return the path of another file in the same folder, without its suffix, NFC."""
    return unicodedata.normalize("NFC", PurePosixPath(file.name).with_name(base_name or "-").as_posix())


def _segments(
    root: Path,
    file: FoundFile,
    text: TimedText,
    paired: _Paired,
    options: DatasetOptions,
    on_problem: OnProblem,
) -> Iterator[Segment]:
    """Yield the segments of one of the videos that a file is about."""
    video = paired.video
    names = parse_name(video.base_name, options.pattern)
    base_name = _path(video) if names.signer is None else video.base_name
    names = replace(names, take=paired.take or base_name) if names.signer is None else names
    for sign in text.signs:
        start, end = (round(s + paired.later_seconds, 6) for s in (sign.start_seconds, sign.end_seconds))
        if not 0 <= start < end:
            message = f"{root / file.name}: segment {sign.number} runs from {start} to {end} s"
            on_problem(Problem(kind="segment-inverted", path=file.name, message=message))
            continue
        yield Segment(
            segment_id=f"{base_name}#{sign.number}",
            video=video.name,
            start_seconds=start,
            end_seconds=end,
            gloss=normal_gloss(sign.gloss),
            **asdict(names),
        )
