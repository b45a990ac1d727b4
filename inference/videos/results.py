"""Predictions as values, and the files that they are written to: JSON, JSON lines or CSV, by the name's ending.

A video's document is what a program gets: a prediction's object, a list of them for `--multiple-clips`, or an object
with `clips`, and `timeline` or `errors` where there are such. Without a file, JSON goes to stdout.

Glosses and names are not trusted. JSON holds them as they are; a table, which people open in spreadsheets, has U+FFFD
for characters that steer a terminal, and an apostrophe before a text that a spreadsheet would compute.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from signprep.inference.options import InferOptions
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import json_text, printable

COLUMNS = (
    "video_path", "start_time", "end_time", "predicted_class_idx", "predicted_class_name", "confidence",
    "clip_duration", "segment_id", "error",
)  # fmt: skip

_COMPUTED = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Beginnings of texts that a spreadsheet takes for formulas, full-width signs too; apostrophes may be before them."""


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One gloss and its probability."""

    label: int
    gloss: str
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "predicted_class_idx": self.label,
            "predicted_class_name": self.gloss,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The prediction for one window of one video."""

    video_path: str
    start_seconds: float
    end_seconds: float
    classes: tuple[ClassScore, ...]
    """The most probable first; one unless more were asked for."""
    clip_duration: float
    """The window's length that was asked for, in seconds."""
    probabilities: dict[str, float] | None = None
    """Probability of every gloss, where asked for."""
    segment_id: str | None = None
    """The segment that the clip was cut from, where it is one of a cache."""

    @classmethod
    def of(cls, row: NDArray[np.float32], glosses: Sequence[str], options: InferOptions, **window: Any) -> Self:
        """Return the prediction for a window from its class probabilities, float32 [classes], and its other fields."""
        best = np.argsort(-row, kind="stable")[: options.top_k].tolist()  # of equal ones the first, as in `argmax`
        return cls(
            classes=tuple(ClassScore(label=k, gloss=glosses[k], confidence=float(row[k])) for k in best),
            probabilities=dict(zip(glosses, row.tolist(), strict=True)) if options.with_probabilities else None,
            **window,
        )

    @property
    def label(self) -> int:
        """Label of the most probable gloss."""
        return self.classes[0].label

    @property
    def gloss(self) -> str:
        """The most probable gloss."""
        return self.classes[0].gloss

    @property
    def confidence(self) -> float:
        """Probability of `gloss`, 0 to 1."""
        return self.classes[0].confidence

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object, with the key names of the old inference.py."""
        document: dict[str, Any] = {
            "video_path": self.video_path,
            "start_time": self.start_seconds,
            "end_time": self.end_seconds,
            **self.classes[0].to_dict(),
            "clip_duration": self.clip_duration,
        }
        if self.segment_id is not None:
            document["segment_id"] = self.segment_id
        if len(self.classes) > 1:
            document["top_k"] = [score.to_dict() for score in self.classes]
        if self.probabilities is not None:
            document["probabilities"] = self.probabilities
        return document


def require_known_suffix(path: Path) -> None:
    """Raise SignprepError if a result file's name ends like another kind of file; without an ending it is JSON."""
    if path.suffix.lower() not in ("", ".json", ".jsonl", ".csv"):
        raise SignprepError(f"{path}: ends in {path.suffix}; expected .json, .jsonl, .csv")


def write_results(documents: Iterable[Any], path: StrPath | None, *, single: bool, csv_bom: bool = False) -> None:
    """Write the documents of videos as they come, in the kind of file that the path's ending tells; None for stdout.

    `single` says that there is one video, whose document then is the whole of a .json file. With `csv_bom`, a .csv file
    begins with a byte-order mark.
    """
    path = None if path is None else as_path(path)
    if path is None:
        _write_json(sys.stdout, documents, single=single)
        return
    encoding = "utf-8-sig" if csv_bom else "utf-8"
    with atomic_write(path) as beside, beside.open("w", encoding=encoding, newline="") as file:
        if path.suffix.lower() == ".csv":
            table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="")
            table.writeheader()
            for document in documents:
                table.writerows({name: cell(value) for name, value in row.items()} for row in _rows(document))
        elif path.suffix.lower() == ".jsonl":
            for document in documents:
                file.write(json_text(document, indent=None) + "\n")
        else:
            _write_json(file, documents, single=single)


def cell(value: Any) -> Any:
    """Return a value as the cell of a table that people open in a spreadsheet; numbers stay what they are.

    What begins like a formula, after any apostrophes, gets an apostrophe before it. Who removes one from every text
    that matches `'+[=+-@...]` has the texts as they were.

    >>> cell("위"), cell("=cmd|' /C calc'!A0"), cell("'=1"), cell("'s"), cell(-0.5)
    ('위', "'=cmd|' /C calc'!A0", "''=1", "'s", -0.5)
    """
    if not isinstance(value, str):
        return value
    text = printable(value, keep="\t\r\n")
    return f"'{text}" if _COMPUTED.match(text) else text


def _write_json(file: TextIO, documents: Iterable[Any], *, single: bool) -> None:
    """Write one document, or a list of them one by one, so that all of them never are in memory."""
    if single:
        [document] = documents
        file.write(json_text(document) + "\n")
        return
    begin = "[\n"
    for document in documents:
        file.write(begin + json_text(document))
        begin = ",\n"
    file.write("[]\n" if begin == "[\n" else "\n]\n")


def _rows(document: Any) -> Iterator[dict[str, Any]]:
    """Yield a row for each clip of a document, and for each error."""
    if isinstance(document, list):
        yield from document
    elif "clips" in document or "errors" in document:
        yield from document.get("clips", [])
        for error in document.get("errors", []):
            yield {"video_path": document["video_path"], **error}
    else:
        yield document
