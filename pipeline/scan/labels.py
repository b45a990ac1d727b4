"""LabelFile files to rows, in worker processes: a worker gets names and gives back plain tuples."""

import json
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from signprep.pipeline.datasets.aihub import MAX_LABEL_BYTES, LabelFile, read_label
from signprep.pipeline.datasets.files import read_bytes
from signprep.pipeline.errors import AnnotationError


@dataclass(kw_only=True)
class LabelRows:
    """What a chunk of label files holds."""

    labels: list[tuple[str | None, float | None, bool, int]] = field(default_factory=list)
    """named_base, seconds, readable, id."""
    segments: list[tuple[int, int, int, float, float, str, str | None]] = field(default_factory=list)
    """label_id, number, place, start_seconds, end_seconds, gloss, raw_gloss where it differs."""
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """kind, path, message."""


def read_labels(root: Path, files: list[tuple[int, str]], attributes: str) -> LabelRows:
    """Read label files, given as (id, name); `attributes` as in SourceOptions."""
    rows = LabelRows()
    for label_id, name in files:
        data = b""
        try:
            data = read_bytes(root, name, MAX_LABEL_BYTES)
            label = read_label(data, name)
        except AnnotationError as error:
            kind = "label-empty" if _has_no_segments(data) else "label-unreadable"
            rows.problems.append((kind, name, without_name(str(error), root, name)))
            rows.labels.append((None, None, False, label_id))
            continue
        rows.labels.append((_base_name(label.video_name), label.duration_seconds, True, label_id))
        _add_segments(rows, label_id, name, label, data, attributes)
    return rows


def without_name(message: str, root: Path, name: str) -> str:
    """Return an error without the file's name before it: reports show the name in a column of its own."""
    for prefix in (f"{root / name}: ", f"{name}: ", f"{root}: ", f"{root}/"):
        message = message.removeprefix(prefix)
    return message


def _add_segments(rows: LabelRows, label_id: int, name: str, label: LabelFile, data: bytes, attributes: str) -> None:
    raw = _raw_glosses(data)
    for number, annotation in enumerate(label.annotations):
        if len(annotation.glosses) > 1:
            glosses = ", ".join(annotation.glosses)
            rows.problems.append(("several-attributes", name, f"segment {number}: {glosses}"))
        span = annotation.start_seconds, annotation.end_seconds
        taken = annotation.glosses if attributes == "all" else annotation.glosses[:1]
        for place, gloss in enumerate(taken):
            written = raw[number][place]
            rows.segments.append((label_id, number, place, *span, gloss, written if written != gloss else None))


def _raw_glosses(data: bytes) -> list[list[str]]:
    """Return the glosses of a readable label as they are written: `read_label` gives them normalised."""
    annotations = json.loads(data.decode("utf-8-sig"))["data"]
    return [
        [attribute["name"] for attribute in annotation["attributes"] if _is_gloss(attribute["name"])]
        for annotation in annotations
    ]


def _is_gloss(name: Any) -> bool:
    return isinstance(name, str) and bool(name.strip())


def _base_name(video_name: str | None) -> str | None:
    return Path(unicodedata.normalize("NFC", video_name)).stem if video_name else None


def _has_no_segments(data: bytes) -> bool:
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("data") == []
