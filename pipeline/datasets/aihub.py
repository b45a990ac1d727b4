"""AIHub data roots: videos and `*_morpheme.json` at any depth and in zips, paired by base name.

In: a folder. Out: segments, and every problem with its file; one bad label never hides a good one. Rules about
folders contradict each other in the wild, so there are none: only file names count.
"""

import json
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signprep.pipeline.datasets.annotations import (
    VIDEO_SUFFIXES,
    Problem,
    Report,
    SourceOptions,
    normal_gloss,
    parse_name,
)
from signprep.pipeline.datasets.files import FoundFile, read_bytes, walk_files
from signprep.pipeline.datasets.segment import Segment
from signprep.pipeline.errors import AnnotationError

LABEL_SUFFIX = "_morpheme.json"
MAX_LABEL_BYTES = 16 * 2**20
"""LabelFile files are some kilobytes; larger ones are refused before they are read."""


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One annotated span as a label file has it, not yet checked against its video."""

    start_seconds: float
    end_seconds: float
    glosses: tuple[str, ...]
    """Names of its attributes, at least one."""


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """One label file."""

    annotations: tuple[Annotation, ...]
    video_name: str | None = None
    """`metaData.name`, where there is one."""
    duration_seconds: float | None = None
    """`metaData.duration`, where there is one."""


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """Videos and labels of a root by base name, NFC."""

    videos: dict[str, FoundFile]
    labels: dict[str, FoundFile]


def find_files(root: Path, report: Report) -> DataFiles:
    """Find videos and labels; a base name that comes twice is reported and its first file taken."""
    files = DataFiles(videos={}, labels={})

    def wanted(name: str) -> bool:
        return name.endswith(LABEL_SUFFIX) or Path(name).suffix.lower() in VIDEO_SUFFIXES

    def unreadable(path: str, message: str) -> None:
        report(Problem(kind="unreadable", path=path, message=message))

    for file in walk_files(root, unreadable, wanted=wanted):
        if file.file_name.endswith(LABEL_SUFFIX):
            known, base_name = files.labels, file.file_name.removesuffix(LABEL_SUFFIX)
        else:
            known, base_name = files.videos, Path(file.file_name).stem
        first = known.setdefault(base_name, file)
        if first is not file:
            message = f"{root / file.name}: has the same base name as {first.name}, which is taken"
            report(Problem(kind="same-name", path=file.name, message=message))
    return files


def aihub_segments(root: Path, options: SourceOptions, report: Report) -> Iterator[Segment]:
    """Yield the segments of all labels below a folder.

    Raises:
        AnnotationError: the folder holds no video or no label.
    """
    files = find_files(root, report)
    if not files.videos and not files.labels:
        raise AnnotationError(f"{root}: holds neither videos (*.mp4) nor labels (*{LABEL_SUFFIX})")
    if not files.labels:
        raise AnnotationError(
            f"{root}: {len(files.videos)} videos but no labels; expected files named *{LABEL_SUFFIX}, "
            "or --layout classes for folders named by their gloss"
        )
    labelled = set()
    for base_name, file in sorted(files.labels.items()):
        labelled.add(base_name)
        try:
            label = read_label(read_bytes(root, file.name, MAX_LABEL_BYTES), str(root / file.name))
        except AnnotationError as error:
            report(Problem(kind="label-unreadable", path=file.name, message=str(error)))
            continue
        video_base_name = paired_base_name(base_name, label, files)
        if video_base_name is None:
            message = f"{root / file.name}: there is no video named {base_name}"
            report(Problem(kind="label-without-video", path=file.name, message=message))
            continue
        labelled.add(video_base_name)
        yield from label_segments(label, file, files.videos[video_base_name], video_base_name, root, options, report)
    for base_name in sorted(files.videos.keys() - labelled):
        name = files.videos[base_name].name
        message = f"{root / name}: has no label *{LABEL_SUFFIX}"
        report(Problem(kind="video-without-label", path=name, message=message))


def paired_base_name(base_name: str, label: LabelFile, files: DataFiles) -> str | None:
    """Return the base name of a label's video: its own, or the one that its metaData names; None without one."""
    named = Path(unicodedata.normalize("NFC", label.video_name or "")).stem
    return next((name for name in (base_name, named) if name in files.videos), None)


def label_segments(
    label: LabelFile,
    file: FoundFile,
    video: FoundFile,
    base_name: str,
    root: Path,
    options: SourceOptions,
    report: Report,
) -> Iterator[Segment]:
    """Yield the segments of one label; spans that are inverted or empty are reported."""
    parts = parse_name(base_name, options.pattern)
    for number, annotation in enumerate(label.annotations):
        if not 0 <= annotation.start_seconds < annotation.end_seconds:
            span = f"from {annotation.start_seconds} to {annotation.end_seconds} s"
            message = f"{root / file.name}: segment {number} runs {span}"
            report(Problem(kind="segment-inverted", path=file.name, message=message))
            continue
        glosses = annotation.glosses if options.attributes == "all" else annotation.glosses[:1]
        for place, gloss in enumerate(glosses):
            yield Segment(
                segment_id=f"{base_name}#{number}" + (f".{place}" if place else ""),
                video=video.name,
                start_seconds=annotation.start_seconds,
                end_seconds=annotation.end_seconds,
                gloss=gloss,
                item=parts.item,
                source=parts.source,
                signer=parts.signer,
                view=parts.view,
                take=parts.take,
            )


def read_label(data: bytes, path: str) -> LabelFile:
    """Parse one morpheme JSON.

    Raises:
        AnnotationError: it is no JSON, or not of AIHub's form; the message starts with `path`.
    """
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: is not UTF-8 ({error})") from error
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: is no valid JSON ({error})") from error
    annotations = document.get("data") if isinstance(document, dict) else None
    if not isinstance(annotations, list):
        raise AnnotationError(f"{path}: has no list `data`; expected AIHub's metaData and data")
    if not annotations:
        raise AnnotationError(f"{path}: its list `data` is empty")
    metadata = document.get("metaData")
    metadata = metadata if isinstance(metadata, dict) else {}
    name, duration = metadata.get("name"), metadata.get("duration")
    return LabelFile(
        annotations=tuple(_annotation(path, number, entry) for number, entry in enumerate(annotations)),
        video_name=name if isinstance(name, str) else None,
        duration_seconds=float(duration) if isinstance(duration, int | float) and math.isfinite(duration) else None,
    )


def _annotation(path: str, number: int, entry: Any) -> Annotation:
    try:
        start_seconds, end_seconds = float(entry["start"]), float(entry["end"])
        names = [attribute["name"] for attribute in entry["attributes"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(
            f"{path}: annotation {number} is not of the form {{start, end, attributes: [{{name}}]}} ({error!r})"
        ) from error
    glosses = tuple(normal_gloss(name) for name in names if isinstance(name, str) and name.strip())
    if not glosses or not math.isfinite(start_seconds + end_seconds):
        raise AnnotationError(f"{path}: annotation {number} has no gloss or no finite times")
    return Annotation(start_seconds=start_seconds, end_seconds=end_seconds, glosses=glosses)
