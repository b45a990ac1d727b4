"""AIHub data roots: videos and `*_morpheme.json` at any depth and in zips, paired by base name.

In: a folder. Out: segments, and every problem with its file; one bad label never hides a good one. Only file names
count, since the folders of different downloads contradict each other.
"""

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from signprep.pipeline.datasets.annotations import (
    SHARED_NAME,
    DatasetOptions,
    NameParts,
    Segment,
    decoded,
    finite_number,
    is_further_video,
    is_landmark_file,
    is_text,
    is_video,
    normal_gloss,
    parse_name,
)
from signprep.pipeline.datasets.files.data_root import FoundFile, OnProblem, Problem, read_bytes, walk_files
from signprep.pipeline.datasets.files.frame_files import base_name as base_name_of_frames
from signprep.pipeline.datasets.files.frame_files import is_sequence
from signprep.pipeline.errors import AnnotationError

LABEL_SUFFIX = "_morpheme.json"
MAX_LABEL_BYTES = 16 * 2**20
"""Label files have some kilobytes; larger ones are refused before they are read."""


class EmptyLabelError(AnnotationError):
    """The label file is well formed, but its list of segments is empty."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotated span as a label file has it, not yet checked against its video."""

    number: int
    """Its place in the label's list `data`."""
    start_seconds: float
    end_seconds: float
    written_glosses: tuple[str, ...]
    """The names of its attributes as they are written, at least one."""

    @property
    def glosses(self) -> tuple[str, ...]:
        """The names of its attributes as `normal_gloss` makes them."""
        return tuple(normal_gloss(name) for name in self.written_glosses)


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """One label file; the video's name and duration are those of its `metaData`, if it has them."""

    annotations: tuple[Annotation, ...]
    video_name: str | None = None
    duration_seconds: float | None = None
    problems: tuple[str, ...] = ()
    """Parts of the label that are of no use, in words."""

    @property
    def video_base_name(self) -> str | None:
        """The base name of the video that the label names, NFC."""
        name = unicodedata.normalize("NFC", self.video_name or "").replace("\\", "/")
        return PurePosixPath(name).stem or None


def aihub_segments(root: Path, options: DatasetOptions, on_problem: OnProblem) -> Iterator[Segment]:
    """Yield the segments of all labels below a folder. Raises AnnotationError if it holds no video or no label.

    With `options.landmarks` a label's keypoints or landmark file stand in its video's place, and no video is needed.
    """
    is_source, what = _SOURCES.get(options.landmarks or "", (is_video, "is no video named"))

    def problem(kind: str, path: str, message: str) -> None:
        on_problem(Problem(kind=kind, path=path, message=f"{root / path}: {message}"))

    videos: dict[str, FoundFile] = {}
    labels: dict[str, FoundFile] = {}
    for file in walk_files(root, on_problem, wanted=lambda name: name.endswith(LABEL_SUFFIX) or is_source(name)):
        is_label = file.file_name.endswith(LABEL_SUFFIX)
        base_name = file.file_name.removesuffix(LABEL_SUFFIX) if is_label else _base_name(file.file_name)
        files, spare = labels if is_label else videos, file
        first = files.setdefault(base_name, file)
        if first is not file:
            if is_further_video(first.name) and not is_further_video(file.name):
                files[base_name], spare = file, first
            message = f"has the same base name as {files[base_name].name}, which is taken"
            problem("same-name", spare.name, message)
    require_files(root, len(videos), len(labels))
    labelled = set()
    taken: dict[str, str] = {}  # videos by base name, with the label whose segments have that name
    for base_name, file in sorted(labels.items()):
        labelled.add(base_name)
        try:
            label = read_label(read_bytes(root, file.name, MAX_LABEL_BYTES), str(root / file.name))
        except AnnotationError as error:
            on_problem(Problem(kind="label-unreadable", path=file.name, message=str(error)))
            continue
        for message in label.problems:
            problem("label-incomplete", file.name, message)
        paired = next((name for name in (base_name, label.video_base_name) if name in videos), None)
        if paired is None:
            problem(
                "label-without-video",
                file.name,
                f"there {what} {base_name}",
            )
            continue
        labelled.add(paired)
        for annotation in label.annotations:
            if not _has_time(annotation):
                span = f"{annotation.start_seconds} to {annotation.end_seconds}"
                problem("segment-inverted", file.name, f"segment {annotation.number} runs from {span} s")
        usable = [annotation for annotation in label.annotations if _has_time(annotation)]
        if not usable:
            continue
        if paired != base_name and paired in labels and _is_usable(root, labels[paired]):
            taken[paired] = labels[paired].name
        name = paired
        if taken.setdefault(paired, file.name) != file.name:
            name = base_name
            message = f"labels {videos[paired].name}, as {taken[paired]} does; its clips are named {name}#..."
            problem(SHARED_NAME, file.name, message)
        for annotation in usable:
            yield from _segments(annotation, name, videos[paired].name, parse_name(paired, options.pattern), options)
    for base_name in sorted(videos.keys() - labelled):
        problem("video-without-label", videos[base_name].name, f"has no label *{LABEL_SUFFIX}")


_SOURCES = {
    "aihub": (is_sequence, "are no keypoints named"),
    "files": (is_landmark_file, "is no landmark file (.pose, .npz, .parquet) named"),
}
"""By the landmarks' origin, what stands in a video's place, and words for one that is missing."""


def _base_name(file_name: str) -> str:
    return base_name_of_frames(file_name) if is_sequence(file_name) else Path(file_name).stem


def require_files(root: Path, num_videos: int, num_labels: int, reason: str = "") -> None:
    """Raise AnnotationError, with a reason if there is one, unless a root holds labels."""
    if not num_videos and not num_labels:
        raise AnnotationError(f"{root}: holds neither videos (*.mp4) nor labels (*{LABEL_SUFFIX}){reason}")
    if not num_labels:
        raise AnnotationError(
            f"{root}: {num_videos} videos but no labels; expected files named *{LABEL_SUFFIX}, "
            "or --layout classes for folders named by their gloss"
        )


def _has_time(annotation: Annotation) -> bool:
    return 0 <= annotation.start_seconds < annotation.end_seconds


def _is_usable(root: Path, file: FoundFile) -> bool:
    """Return True if a label file makes segments of its video."""
    try:
        label = read_label(read_bytes(root, file.name, MAX_LABEL_BYTES), file.name)
    except AnnotationError:
        return False
    return any(map(_has_time, label.annotations))


def _segments(
    annotation: Annotation, name: str, video: str, parts: NameParts, options: DatasetOptions
) -> Iterator[Segment]:
    """Yield the segments of one annotation: one for each gloss that the options take."""
    for place, gloss in enumerate(taken_glosses(annotation.glosses, options.attributes)):
        yield Segment(
            segment_id=f"{name}#{annotation.number}" + (f".{place}" if place else ""),
            video=video,
            start_seconds=annotation.start_seconds,
            end_seconds=annotation.end_seconds,
            gloss=gloss,
            **asdict(parts),
        )


def taken_glosses(glosses: tuple[str, ...], attributes: str) -> tuple[str, ...]:
    """Return the glosses of an annotation that become segments; `attributes` is that of `DatasetOptions`."""
    return glosses if attributes == "all" else glosses[:1]


def read_label(data: bytes, path: str) -> LabelFile:
    """Parse one morpheme JSON. A value that is of no use costs itself, an annotation without gloss or times itself.

    Raises AnnotationError if it is no JSON, not of AIHub's form or has no usable annotation, EmptyLabelError if it has
    no segments; the message starts with `path`.
    """
    try:
        document = json.loads(decoded(data), parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: is no valid JSON ({error})") from error
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise AnnotationError(f"{path}: has no list `data`; expected AIHub's metaData and data")
    if not entries:
        raise EmptyLabelError(f"{path}: its list `data` is empty")
    problems: list[str] = []
    found = [_annotation(number, entry, problems) for number, entry in enumerate(entries)]
    annotations = tuple(annotation for annotation in found if annotation is not None)
    if not annotations:
        raise AnnotationError(f"{path}: {problems[0]}")
    metadata = document.get("metaData")
    metadata = metadata if isinstance(metadata, dict) else {}
    name, duration = metadata.get("name"), metadata.get("duration")
    if name is not None and not (isinstance(name, str) and is_text(name)):
        problems.append(f"metaData.name is {_shown(name)}, no file name")
        name = None
    try:
        duration = None if duration is None else _seconds(duration)
    except (TypeError, ValueError):
        problems.append(f"metaData.duration is {_shown(duration)}, no number of seconds")
        duration = None
    return LabelFile(
        annotations=annotations, video_name=name, duration_seconds=duration, problems=tuple(dict.fromkeys(problems))
    )


def _annotation(number: int, entry: Any, problems: list[str]) -> Annotation | None:
    """Return an annotation, or None if it is of no use; what is wrong is added to `problems`."""
    try:
        start_seconds, end_seconds, attributes = _seconds(entry["start"]), _seconds(entry["end"]), entry["attributes"]
        if not isinstance(attributes, list):
            raise TypeError(f"attributes is {_shown(attributes)}")
    except (KeyError, TypeError, ValueError) as error:
        form = "{start, end, attributes: [{name}]} with finite times"
        problems.append(f"annotation {number} is not of the form {form} ({_shown(error)})")
        return None
    glosses: list[str] = []
    strange = []
    for attribute in attributes:
        name = attribute.get("name") if isinstance(attribute, dict) else attribute
        if type(name) is int and isinstance(attribute, dict):
            name = str(name)  # a sign for a number
        if isinstance(name, str) and isinstance(attribute, dict) and is_text(name):
            glosses += [name] if name.strip() else []
        elif name is not None:
            strange.append(f"annotation {number} has the gloss {_shown(name)}, which is no text")
    problems += strange
    if not glosses:
        problems += [] if strange else [f"annotation {number} has no gloss"]
        return None
    return Annotation(
        number=number, start_seconds=start_seconds, end_seconds=end_seconds, written_glosses=tuple(glosses)
    )


def _seconds(value: Any) -> float:
    """Return a time of a label. Raises TypeError or ValueError unless it is a finite number, or one in quotes."""
    if isinstance(value, bool):
        raise TypeError(f"{value} is no number")
    return finite_number(value)


def _integer(digits: str) -> float:
    """Return an integer of JSON; one that is larger than any float is infinite, where `int` raises or takes minutes."""
    return int(digits) if len(digits) < 30 else float(digits)


def _shown(value: Any) -> str:
    return repr(value)[:80]
