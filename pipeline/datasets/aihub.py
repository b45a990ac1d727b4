"""AIHub data roots: videos and labels at any depth and in zips, paired by base name.

Labels are `*_morpheme.json`, and JSON files with a `sign_script`, which stand for several views of one recording.

In: a folder. Out: segments, and every problem with its file; one bad label never hides a good one. Only file names
count, since the folders of different downloads contradict each other.
"""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from signprep.pipeline.datasets.annotations import (
    SHARED_NAME,
    DatasetOptions,
    NameParts,
    Segment,
    decoded,
    finite_number,
    is_text,
    normal_gloss,
    parse_name,
)
from signprep.pipeline.datasets.files.data_root import FoundFile, OnProblem, Problem, read_bytes, read_head, walk_files
from signprep.pipeline.datasets.files.names import (
    KEYPOINT_SUFFIX,
    is_further_video,
    is_landmark_file,
    is_sequence,
    is_video,
)
from signprep.pipeline.datasets.sign_script import (
    HEAD_BYTES,
    MAX_SCRIPT_BYTES,
    VIEW_ENDS,
    SignScript,
    is_script,
    read_script,
    script_of,
)
from signprep.pipeline.datasets.splits import OTHER_SIDE, split_of_path
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
    hand: str | None = None
    """both, strong or weak, in labels that tell it: gestures of different hands may overlap."""

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
    script: SignScript | None = None
    """A label of that form; None for one of videos' own."""

    @property
    def video_base_name(self) -> str | None:
        """The base name of the video that the label names, NFC."""
        name = unicodedata.normalize("NFC", self.video_name or "").replace("\\", "/")
        return PurePosixPath(name).stem or None

    def possible_videos(self, base_name: str) -> list[dict[str, str | None]]:
        """Return sets of videos' base names, with their views if they are known; the first that is there is labelled.

        `base_name` is that of the label file. A label with a `sign_script` labels all views of a set.
        """
        if self.script is None:
            return [{name: None} for name in (base_name, self.video_base_name) if name is not None]
        views = self.script.views
        return [{name + end: view for end, view in views.items()} for name in self.script.video_names]

    def parts(self, video: str, view: str | None, options: DatasetOptions) -> NameParts:
        """Return item, signer, view and take of a video that it labels, by the video's name or as the label says."""
        named = parse_name(video, options.pattern)
        if self.script is None:
            return named
        script = self.script
        signer, item = script.signer or named.signer, named.item or script.item
        take = script.video_names[0] if options.name_pattern is None else named.take
        return replace(named, signer=signer, item=item, view=named.view or view, take=take)


def aihub_segments(root: Path, options: DatasetOptions, on_problem: OnProblem) -> Iterator[Segment]:
    """Yield the segments of all labels below a folder. Raises AnnotationError if it holds no video or no label.

    With `options.landmarks` a label's keypoints or landmark file stand in its video's place, and no video is needed.
    """
    is_source, what = _SOURCES.get(options.landmarks or "", (is_video, "is no video named"))

    def problem(kind: str, path: str, message: str) -> None:
        on_problem(Problem(kind=kind, path=path, message=f"{root / path}: {message}"))

    videos: dict[str, FoundFile] = {}
    labels: dict[str, FoundFile] = {}
    found: list[tuple[dict[str, FoundFile], str, FoundFile]] = []
    for file in walk_files(root, on_problem, wanted=lambda name: may_be_label(name) or is_source(name)):
        if is_label_file(root, file):
            found.append((labels, base_name_of_label(file.file_name), file))
        elif is_source(file.file_name):
            found.append((videos, file.base_name, file))
    apart = _on_both_sides((base_name, file.name) for files, base_name, file in found if files is labels)
    apart &= _on_both_sides((base_name, file.name) for files, base_name, file in found if files is videos)
    for files, base_name, file in found:
        key = OTHER_SIDE + base_name if base_name in apart and split_of_path(file.name) == "val" else base_name
        first, spare = files.setdefault(key, file), file
        if first is not file:
            if is_further_video(first.name) and not is_further_video(file.name):
                files[key], spare = file, first
            message = f"has the same base name as {files[key].name}, which is taken"
            problem("same-name", spare.name, message)
    require_files(root, len(videos), len(labels))
    labelled = set()
    taken: dict[str, str] = {}  # videos by base name, with the label whose segments have that name
    for base_name, file in sorted(labels.items()):
        labelled.add(base_name)
        try:
            label = read_label_file(root, file.name, str(root / file.name), directions=options.class_by == "direction")
        except AnnotationError as error:
            on_problem(Problem(kind="label-unreadable", path=file.name, message=str(error)))
            labelled |= {base_name + end for end in VIEW_ENDS}  # there is a label, whatever is wrong with it
            continue
        for message in label.problems:
            problem("label-incomplete", file.name, message)
        side = OTHER_SIDE if base_name.startswith(OTHER_SIDE) else ""
        views: dict[str, str | None] = {}
        for names in label.possible_videos(base_name.removeprefix(side)):
            views = views or {side + name: view for name, view in names.items() if side + name in videos}
        if not views:
            problem(
                "label-without-video",
                file.name,
                f"there {what} {base_name}",
            )
            continue
        labelled |= views.keys()
        for annotation in label.annotations:
            if not _has_time(annotation):
                span = f"{annotation.start_seconds} to {annotation.end_seconds}"
                problem("segment-inverted", file.name, f"segment {annotation.number} runs from {span} s")
        usable = [annotation for annotation in label.annotations if _has_time(annotation)]
        if not usable:
            continue
        for paired, view in views.items():
            if paired != base_name and paired in labels and _is_usable(root, labels[paired]):
                taken[paired] = labels[paired].name
            name = paired
            if taken.setdefault(paired, file.name) != file.name:
                name = base_name
                message = f"labels {videos[paired].name}, as {taken[paired]} does; its clips are named {name}#..."
                problem(SHARED_NAME, file.name, message)
            parts = label.parts(paired.removeprefix(side), view, options)
            parts = replace(parts, take=side + parts.take)
            for annotation in usable:
                yield from _segments(annotation, name, videos[paired].name, parts, options)
    for base_name in sorted(videos.keys() - labelled):
        problem("video-without-label", videos[base_name].name, f"has no label *{LABEL_SUFFIX}")


_SOURCES = {
    "aihub": (is_sequence, "are no keypoints named"),
    "files": (is_landmark_file, "is no landmark file (.pose, .npz, .parquet) named"),
}
"""By the landmarks' origin, what stands in a video's place, and words for one that is missing."""


def _on_both_sides(files: Iterable[tuple[str, str]]) -> set[str]:
    """Return the base names that files in folders of training and of validation have, given as (base name, path).

    AIHub numbers both from 1; their files are paired within their own side.
    """
    sides: dict[str, set[str | None]] = {}
    for base_name, path in files:
        sides.setdefault(base_name, set()).add(split_of_path(path))
    return {base_name for base_name, found in sides.items() if found >= {"train", "val"}}


def may_be_label(name: str) -> bool:
    """Return True for the name of a label, or of another JSON file that may turn out to be one."""
    return name.endswith(".json") and not name.endswith(KEYPOINT_SUFFIX)


def is_label_file(root: Path, file: FoundFile) -> bool:
    """Return True for a label: by its name, or by the keys that it begins with."""
    if file.file_name.endswith(LABEL_SUFFIX):
        return True
    return may_be_label(file.file_name) and is_script(read_head(root, file.name, HEAD_BYTES))


def base_name_of_label(file_name: str) -> str:
    """Return the name of a label's video, without its view if the label is one of all views."""
    return file_name.removesuffix(LABEL_SUFFIX).removesuffix(".json")


def read_label_file(root: Path, name: str, path: str, *, directions: bool = False) -> LabelFile:
    """Read one label file of a data root; args and errors are those of `read_label`."""
    limit = MAX_LABEL_BYTES if name.endswith(LABEL_SUFFIX) else MAX_SCRIPT_BYTES
    return read_label(read_bytes(root, name, limit), path, directions=directions)


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
        label = read_label_file(root, file.name, file.name)
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


def read_label(data: bytes, path: str, *, directions: bool = False) -> LabelFile:
    """Parse one label. A value that is of no use costs itself, an annotation without gloss or times itself.

    Raises AnnotationError if it is no JSON, not of AIHub's form or has no usable annotation, EmptyLabelError if it has
    no segments; the message starts with `path`. With `directions` gestures of a `sign_script` have glosses for them.
    """
    try:
        document = json.loads(decoded(data), parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: is no valid JSON ({error})") from error
    if (script := script_of(document)) is not None:
        return _label_of_script(script, path, directions)
    entries = document.get("data") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise AnnotationError(f"{path}: has no list `data`; expected AIHub's metaData and data, or a sign_script")
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


def _label_of_script(document: Mapping[str, Any], path: str, directions: bool) -> LabelFile:
    problems: list[str] = []
    base_name = base_name_of_label(unicodedata.normalize("NFC", path).rpartition("/")[2])
    script = read_script(document, base_name, problems, directions=directions)
    if not script.gestures:
        if problems:
            raise AnnotationError(f"{path}: {problems[0]}")
        raise EmptyLabelError(f"{path}: its sign_script has no gesture")
    annotations = tuple(
        Annotation(
            number=gesture.number,
            start_seconds=gesture.start_seconds,
            end_seconds=gesture.end_seconds,
            written_glosses=(gesture.gloss,),
            hand=gesture.hand,
        )
        for gesture in script.gestures
    )
    return LabelFile(annotations=annotations, script=script, problems=tuple(dict.fromkeys(problems)))


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
    """Return an integer of JSON; one of more digits than `int` takes (4,300 by default) is infinite, not an error."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _shown(value: Any) -> str:
    return repr(value)[:80]
