"""Label files to database rows. It runs in worker processes: names go in, plain tuples come out."""

from dataclasses import dataclass, field
from pathlib import Path

from signprep.pipeline.datasets.aihub import (
    MAX_LABEL_BYTES,
    EmptyLabelError,
    LabelFile,
    read_label,
    taken_glosses,
)
from signprep.pipeline.datasets.files import read_bytes
from signprep.pipeline.errors import AnnotationError


@dataclass(kw_only=True)
class LabelRows:
    """The contents of some label files, as rows of the database's tables."""

    labels: list[tuple[str | None, float | None, bool, int]] = field(default_factory=list)
    """named_base, seconds, readable, id."""
    segments: list[tuple[int, int, int, float, float, str, str | None]] = field(default_factory=list)
    """label_id, number, place, start_seconds, end_seconds, gloss, raw_gloss where it differs."""
    problems: list[tuple[str, str, str]] = field(default_factory=list)
    """kind, path, message."""


def read_labels(root: Path, files: list[tuple[int, str]], attributes: str) -> LabelRows:
    """Read label files, given as (id, name); `attributes` as in DatasetOptions."""
    rows = LabelRows()
    for label_id, name in files:
        try:
            label = read_label(read_bytes(root, name, MAX_LABEL_BYTES), name)
        except AnnotationError as error:
            kind = "label-empty" if isinstance(error, EmptyLabelError) else "label-unreadable"
            rows.problems.append((kind, name, without_name(str(error), root, name)))
            rows.labels.append((None, None, False, label_id))
            continue
        rows.labels.append((label.video_base_name, label.duration_seconds, True, label_id))
        _add_segments(rows, label_id, name, label, attributes)
    return rows


def without_name(message: str, root: Path, name: str) -> str:
    """Return an error message without the file's name before it, since reports show the name in its own column."""
    for prefix in (f"{root / name}: ", f"{name}: ", f"{root}: ", f"{root}/"):
        message = message.removeprefix(prefix)
    return message


def _add_segments(rows: LabelRows, label_id: int, name: str, label: LabelFile, attributes: str) -> None:
    for number, annotation in enumerate(label.annotations):
        if len(annotation.glosses) > 1:
            glosses = ", ".join(annotation.glosses)
            rows.problems.append(("several-attributes", name, f"segment {number}: {glosses}"))
        span = annotation.start_seconds, annotation.end_seconds
        for place, gloss in enumerate(taken_glosses(annotation.glosses, attributes)):
            written = annotation.written_glosses[place]
            rows.segments.append((label_id, number, place, *span, gloss, written if written != gloss else None))
