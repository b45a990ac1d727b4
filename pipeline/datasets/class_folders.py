"""Folders of videos named by their gloss: in folders `GLOSS/clip.mp4` each video is one segment."""

import re
import unicodedata
from collections.abc import Iterator, Set
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path, PurePosixPath

from signprep.pipeline.datasets.annotations import (
    SHARED_NAME,
    WHOLE_VIDEO_END,
    DatasetOptions,
    Segment,
    normal_gloss,
    parse_name,
)
from signprep.pipeline.datasets.files.data_root import FoundFile, OnProblem, Problem, walk_files
from signprep.pipeline.datasets.files.names import is_further_video, is_landmark_file, is_video
from signprep.pipeline.errors import AnnotationError


def class_folder_segments(root: Path, options: DatasetOptions, on_problem: OnProblem) -> Iterator[Segment]:
    """Yield a segment for each video, or landmark file, below a folder named by its gloss.

    With a frame rate a folder of pictures in it is a video, too. Raises AnnotationError if there is none.
    """
    ids: set[str] = set()
    wanted = is_landmark_file if options.landmarks == "files" else is_video
    files = walk_files(root, on_problem, wanted=wanted, pictures=options.fps is not None)
    for file in _one_of_each_name(files, root, on_problem):
        name = PurePosixPath(file.name)
        folder = re.sub(r"\.(zip|tar)!$", "", name.parent.name, flags=re.IGNORECASE)
        if not (gloss := normal_gloss(folder)):
            message = f"{root / file.name}: lies in no class folder"
            on_problem(Problem(kind="video-without-label", path=file.name, message=message))
            continue
        names = parse_name(file.base_name, options.pattern)
        # Two folders may hold files of one name: the whole path makes ids and takes unique.
        path = unicodedata.normalize("NFC", _without_suffix(file).as_posix())
        names = names if names.signer else replace(names, take=path)
        if path in ids:
            path = _free(unicodedata.normalize("NFC", file.name), ids)
            message = (
                f"{root / file.name}: has the name of another file beside it; both are taken, this one as {path}#0"
            )
            on_problem(Problem(kind=SHARED_NAME, path=file.name, message=message))
        ids.add(path)
        yield Segment(
            segment_id=f"{path}#0",
            video=file.name,
            start_seconds=0.0,
            end_seconds=WHOLE_VIDEO_END,
            gloss=gloss,
            **asdict(names),
        )
    if not ids:
        what, clip = ("landmark file", "clip.npz") if options.landmarks == "files" else ("video", "clip.mp4")
        reason = f"holds no {what} in a class folder; expected GLOSS/{clip}"
        found = walk_files(root, lambda problem: None, wanted=wanted, pictures=options.fps is None)
        if (first := next(found, None)) is not None and first.is_folder:
            reason = f"holds no video, but pictures, as in {first.name}; give the rate of their frames, as by --fps 25"
        raise AnnotationError(f"{root}: {reason}")


def _free(name: str, taken: Set[str]) -> str:
    return next(free for number in count(1) if (free := name if number == 1 else f"{name}~{number}") not in taken)


def _one_of_each_name(files: Iterator[FoundFile], root: Path, on_problem: OnProblem) -> Iterator[FoundFile]:
    """Yield all files but those of `FURTHER_VIDEO_SUFFIXES` that another one beside them was made from.

    Landmark files of one name are taken once, too; so are pictures with the name of the video that they are of.
    """
    further: list[FoundFile] = []
    paths: set[PurePosixPath] = set()
    for file in files:
        path = _without_suffix(file)
        if file.is_folder or is_further_video(file.name) or (is_landmark_file(file.name) and path in paths):
            further.append(file)
            continue
        paths.add(path)
        yield file
    for file in further:
        path = _without_suffix(file)
        if path in paths:
            message = f"{root / file.name}: has the name of another file beside it, which is taken"
            on_problem(Problem(kind="same-name", path=file.name, message=message))
            continue
        paths.add(path)
        yield file


def _without_suffix(file: FoundFile) -> PurePosixPath:
    """Return the path of a file without its suffix; a folder has none."""
    path = PurePosixPath(file.name)
    return path.with_name(file.base_name) if file.is_folder else path.with_suffix("")
