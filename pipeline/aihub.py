"""AIHub data roots: `*.mp4` and `*_morpheme.json`, paired by base name, to Segments.

In: a folder, searched at any depth. Out: segments, and every problem with its file; one bad label never hides a good
one. Names of AIHub's form tell item, source, signer and view; any other name is a take of its own.
"""

import json
import math
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.segment import Segment

LABEL_SUFFIX = "_morpheme.json"
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm"})
MAX_LABEL_BYTES = 16 * 2**20
"""Label files are some kilobytes; larger ones are refused before they are read."""

_NAME = re.compile(r"NIA_SL_(?P<item>(?:WORD|SEN|FS)\d+)_(?P<source>REAL|SYN|CROWD)(?P<signer>\d+)_(?P<view>[FUDLR])")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in a data set that cost or may cost segments."""

    path: str
    """Relative to the data root."""
    message: str


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """What a data root holds."""

    root: Path
    segments: tuple[Segment, ...]
    """In the order of their videos' paths and their starts."""
    problems: tuple[Problem, ...]


def parse_name(base_name: str) -> dict[str, str]:
    """Return the Segment fields that an AIHub base name tells.

    >>> parse_name("NIA_SL_WORD0001_REAL17_F")
    {'item': 'WORD0001', 'source': 'REAL', 'signer': 'REAL17', 'view': 'F', 'take': 'REAL17_WORD0001'}
    >>> parse_name("video1")
    {'take': 'video1'}
    """
    match = _NAME.fullmatch(base_name)
    if match is None:
        return {"take": base_name}
    signer = match["source"] + match["signer"]
    return {
        "item": match["item"],
        "source": match["source"],
        "signer": signer,
        "view": match["view"],
        "take": f"{signer}_{match['item']}",
    }


def read_data_root(root: Path) -> Annotations:
    """Read all labels below a folder.

    Raises:
        AnnotationError: the folder is missing, or holds no video, no label, or no usable segment.
    """
    if not root.is_dir():
        raise AnnotationError(f"{root}: there is no such data root; expected a folder with video/ and label/ in it")
    videos, labels = _find_files(root)
    if not videos and not labels:
        raise AnnotationError(f"{root}: holds neither videos (*.mp4) nor labels (*{LABEL_SUFFIX})")
    if not labels:
        raise AnnotationError(f"{root}: {len(videos)} videos but no labels; expected files named *{LABEL_SUFFIX}")
    segments: list[Segment] = []
    problems: list[Problem] = []
    for base_name, label in sorted(labels.items()):
        relative = label.relative_to(root).as_posix()
        video = videos.pop(base_name, None)
        try:
            annotated = list(read_label(label))
        except AnnotationError as error:
            problems.append(Problem(path=relative, message=str(error)))
            continue
        if video is None:
            problems.append(Problem(path=relative, message=f"{label}: there is no video named {base_name}"))
            continue
        for number, (start_seconds, end_seconds, gloss) in enumerate(annotated):
            if not 0 <= start_seconds < end_seconds:
                message = f"{label}: segment {number} runs from {start_seconds} to {end_seconds} s"
                problems.append(Problem(path=relative, message=message))
                continue
            segments.append(
                Segment(
                    segment_id=f"{base_name}#{number}",
                    video=video.relative_to(root).as_posix(),
                    start_seconds=start_seconds,
                    end_seconds=end_seconds,
                    gloss=gloss,
                    **parse_name(base_name),
                )
            )
    for video in videos.values():
        relative = video.relative_to(root).as_posix()
        problems.append(Problem(path=relative, message=f"{video}: has no label *{LABEL_SUFFIX}"))
    if not segments:
        first = f"; the first problem: {problems[0].message}" if problems else ""
        raise AnnotationError(f"{root}: no usable segment in {len(labels)} labels{first}")
    return Annotations(root=root, segments=tuple(segments), problems=tuple(problems))


def _find_files(root: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return videos and labels by base name (NFC)."""
    videos: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.endswith(".zarr"))
        for name in sorted(names):
            normal = unicodedata.normalize("NFC", name)
            path = Path(folder) / name
            if normal.endswith(LABEL_SUFFIX):
                labels.setdefault(normal.removesuffix(LABEL_SUFFIX), path)
            elif path.suffix.lower() in VIDEO_SUFFIXES:
                videos.setdefault(normal[: -len(path.suffix)], path)
    return videos, labels


def read_label(path: Path) -> Iterator[tuple[float, float, str]]:
    """Yield (start_seconds, end_seconds, gloss) of each annotation of one morpheme JSON.

    Raises:
        AnnotationError: the file cannot be read, is no JSON, or is not of AIHub's form.
    """
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise AnnotationError(f"{path}: is larger than a label file can be ({MAX_LABEL_BYTES} bytes)")
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path}: cannot be read ({error})") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise AnnotationError(f"{path}: is no valid JSON ({error})") from error
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, list):
        raise AnnotationError(f"{path}: has no list `data`; expected AIHub's metaData and data")
    if not data:
        raise AnnotationError(f"{path}: its list `data` is empty")
    for number, annotation in enumerate(data):
        yield _read_annotation(path, number, annotation)


def _read_annotation(path: Path, number: int, annotation: Any) -> tuple[float, float, str]:
    try:
        start_seconds, end_seconds = float(annotation["start"]), float(annotation["end"])
        gloss = annotation["attributes"][0]["name"]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise AnnotationError(
            f"{path}: annotation {number} is not of the form {{start, end, attributes: [{{name}}]}} ({error!r})"
        ) from error
    if not isinstance(gloss, str) or not gloss.strip() or not math.isfinite(start_seconds + end_seconds):
        raise AnnotationError(f"{path}: annotation {number} has no gloss or no finite times")
    return start_seconds, end_seconds, unicodedata.normalize("NFC", gloss.strip())
