"""Results of `infer` as files: JSON, JSON lines or CSV by the name's ending; JSON on stdout.

A video's document is what a program gets: a prediction's object, a list of them for `--multiple-clips`, or an object
with `clips`, and `timeline` or `errors` where there are such.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.text import json_text

SUFFIXES = (".json", ".jsonl", ".csv")
COLUMNS = (
    "video_path", "start_time", "end_time", "predicted_class_idx", "predicted_class_name", "confidence",
    "clip_duration", "segment_id", "error",
)  # fmt: skip


def require_known_suffix(path: Path) -> None:
    """Raise SignprepError if a result file's name ends like another kind of file; without an ending it is JSON."""
    if path.suffix and path.suffix.lower() not in SUFFIXES:
        raise SignprepError(f"{path}: ends in {path.suffix}; expected {', '.join(SUFFIXES)}")


def write_results(documents: Iterable[Any], path: Path | None, *, single: bool) -> None:
    """Write the documents of videos as they come.

    Args:
        documents: one a video.
        path: whose ending tells the kind; stdout and JSON without one.
        single: whether there is one video, whose document then is the whole of a .json file.
    """
    if path is None:
        _write_json(sys.stdout, documents, single=single)
        return
    with atomic_write(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".csv":
            _write_csv(file, documents)
        elif path.suffix.lower() == ".jsonl":
            for document in documents:
                file.write(json.dumps(document, ensure_ascii=False) + "\n")
        else:
            _write_json(file, documents, single=single)


def _write_json(file: TextIO, documents: Iterable[Any], *, single: bool) -> None:
    """Write one document, or a list of them one by one: all of them never are in memory."""
    if single:
        [document] = documents
        file.write(json_text(document) + "\n")
        return
    begin = "[\n"
    for document in documents:
        file.write(begin + json_text(document))
        begin = ",\n"
    file.write("[]\n" if begin == "[\n" else "\n]\n")


def _write_csv(file: TextIO, documents: Iterable[Any]) -> None:
    table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", restval="")
    table.writeheader()
    for document in documents:
        table.writerows(_rows(document))


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
