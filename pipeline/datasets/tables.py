"""Tables of segments, CSV or Parquet, as WLASL has it: a path in, segments out, and a problem for each row without one.

A table has the columns `video` (path relative to the table's folder), `start`, `end` (seconds) and `gloss`, and perhaps
`item`, `source`, `signer`, `view`, `take` and `split`. Empty `start` and `end` mean the whole video. CSV is read by
Python's own reader, ten times slower than Arrow's (a second for 100,000 rows, much of it to look for the videos),
because there a row that is not well formed costs itself alone.
"""

import csv
import io
import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.pipeline.datasets.annotations import (
    LANDMARK_SUFFIXES,
    WHOLE_VIDEO_END,
    Segment,
    decoded,
    finite_number,
    is_landmark_file,
    is_text,
    is_video,
    normal_gloss,
)
from signprep.pipeline.datasets.files.archives import open_archive
from signprep.pipeline.datasets.files.data_root import OnProblem, Problem, split_member
from signprep.pipeline.errors import AnnotationError

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".parquet"})
REQUIRED = ("video", "start", "end", "gloss")
OPTIONAL = ("item", "source", "signer", "view", "take", "split")
COLUMNS = (*REQUIRED, *OPTIONAL)
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
SPLITS |= {"development": "val", "test": "test", "testing": "test"}
"""Words for splits, in lower case, and the split that each of them means."""
_ABSENT = frozenset({"na", "n/a", "#n/a", "<na>", "nan", "nat", "null", "none", "-"})
"""Words for a time or a split that is not there, in lower case, as pandas, R and Excel write them."""
_SEPARATORS = ",;\t|"
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\w\s]|\t)"?\s*', re.IGNORECASE)
"""The first line of tables that Excel is to open in any country."""

_COMMA = re.compile(r"(\s*\d+),(\d+\s*)")

Row = tuple[int, str, dict[str, Any] | str]
"""A row's number from 1, the words that name it, and its values by column, or what is wrong with it."""


def table_segments(path: Path, on_problem: OnProblem, *, landmark_files: bool = False) -> Iterator[Segment]:
    """Yield the segments of a table; a row that makes no segment is a problem that tells its number.

    With `landmark_files` a row means the landmark file beside its video, or in its place, and no video is needed.

    Raises AnnotationError if the table cannot be read, lacks a column or has one twice.
    """
    try:
        rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
        for number, name, row in rows:
            try:
                if isinstance(row, str):
                    raise ValueError(row)
                yield _segment(row, number, path.parent, landmark_files)
            except ValueError as error:
                message = f"{path}: {name}: {error}"
                on_problem(Problem(kind="row-unusable", path=path.name, message=message))
    except (OSError, pa.ArrowException) as error:
        raise AnnotationError(f"{path}: cannot be read as a table ({error})") from error


def _places(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Return the place of each column that is used. Raises AnnotationError if one is missing, or there twice."""
    places = {name: place for place, name in enumerate(names) if name in COLUMNS}
    missing = [name for name in REQUIRED if name not in places]
    if missing:
        raise AnnotationError(
            f"{path}: has no column {', '.join(missing)}; expected {', '.join(REQUIRED)} and perhaps "
            f"{', '.join(OPTIONAL)}; found {', '.join(names)[:200]}"
        )
    for name in places:
        if (count := list(names).count(name)) > 1:
            raise AnnotationError(f"{path}: has {count} columns named {name}; rename or delete all but one of them")
    return places


def _csv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a CSV file in UTF-8, UTF-16 or cp949, with commas, semicolons, tabs or bars between cells."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # that of Arrow, too
    lines = io.StringIO(decoded(path.read_bytes()), newline="").readlines()
    separator, first = _separator(lines, "\t" if path.suffix.lower() == ".tsv" else ",")
    records = _records(lines, separator, first)
    header = next((cells for _, cells in records if isinstance(cells, str) or _is_filled(cells)), [])
    if isinstance(header, str):
        raise AnnotationError(f"{path}: its header {header}")
    header = [name.strip() for name in header]
    while header and not header[-1]:  # a separator at the end of the line
        header.pop()
    places = _places(path, header)
    number = 0
    for line, cells in records:
        is_filled = isinstance(cells, str) or _is_filled(cells)
        number += is_filled or len(cells) > 1  # an empty line has no number
        if not is_filled:
            continue
        if isinstance(cells, list) and (len(cells) < len(header) or _is_filled(cells[len(header) :])):
            cells = f"has {len(cells)} cells, where the header has {len(header)}"
        row = cells if isinstance(cells, str) else {name: cells[place] for name, place in places.items()}
        if separator == ";" and isinstance(row, dict):  # of countries whose numbers have a comma
            row |= {name: _COMMA.sub(r"\1.\2", row[name]) for name in ("start", "end")}
        yield number, f"row {number}" + (f" (line {line + 1})" if line != number else ""), row


def _is_filled(cells: Sequence[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _separator(lines: Sequence[str], usual: str) -> tuple[str, int]:
    """Return what separates cells, as the header tells, and the number of the line that the table begins with."""
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines and (match := _SEPARATOR_LINE.fullmatch(lines[first])):
        return match[1], first + 1

    if not lines:
        return usual, 0

    def num_known(separator: str) -> int:
        return len(set(COLUMNS) & {name.strip() for name in next(csv.reader([lines[first]], delimiter=separator))})

    return max(usual + _SEPARATORS, key=num_known), first


def _records(lines: Sequence[str], separator: str, first: int) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number of the first line of each record, and its cells, or what is wrong with it.

    A quote that is not closed would swallow all rows up to the next quote, and their glosses with them. Where a record
    does not end, or holds lines that are rows themselves, its first line is refused, and the next is a row again.
    """
    unclosed = "has a quote that is not closed; rows go on in the next line"
    doubtful = num_cells = 0
    while first < len(lines):
        reader = csv.reader((lines[line] for line in range(first, len(lines))), delimiter=separator, strict=True)
        begin = start = first
        try:
            for cells in reader:
                end, num_cells = begin + reader.line_num, num_cells or len(cells)
                if end > start + 1 and _holds_rows(lines[start + 1 : end], separator, num_cells):
                    doubtful = max(doubtful, end)
                    break
                if start < doubtful and lines[start].count('"') % 2:
                    break
                yield start, cells
                first = start = end
            else:
                return
            yield start, unclosed
        except csv.Error:
            # Text behind a closing quote is no fault of a line by itself, for Python and for other readers.
            rows = list(csv.reader([lines[start], "\n"], delimiter=separator))
            yield start, rows[0] if len(rows) == 2 else unclosed
        first = start + 1


def _holds_rows(lines: Iterable[str], separator: str, num_cells: int) -> bool:
    """Return True if one of the lines is a row by itself: it has as many cells as the header, a video among them."""
    rows = (next(csv.reader([line], delimiter=separator), []) for line in lines)
    return any(len(cells) == num_cells and any(is_video(cell.strip()) for cell in cells) for cells in rows)


def _parquet_rows(path: Path) -> Iterator[Row]:
    # Arrow opens no path whose name is not UTF-8.
    with path.open("rb") as opened, pq.ParquetFile(opened) as file:
        places = _places(path, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(batch_size=4096, columns=list(places)):
            for values in zip(*(_values(batch.column(name)) for name in places), strict=True):
                number += 1
                yield number, f"row {number}", dict(zip(places, values, strict=True))


def _values(column: "pa.Array[Any]") -> list[Any]:
    """Return a column's values; the error stands in the place of one that Python cannot hold, as the year 30,000."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException):
        return [_value(scalar) for scalar in column]


def _value(scalar: "pa.Scalar[Any]") -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, pa.ArrowException) as error:
        return error


def _text(column: str, value: Any) -> str:
    """Return a value as text, empty if there is none. Raises ValueError if it is no text."""
    if isinstance(value, bytes):
        value = decoded(value)
    if isinstance(value, str):
        text = value.strip()
    elif value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    elif isinstance(value, list | dict | tuple | Exception):
        raise ValueError(f"its {column} is no text ({str(value)[:80]})")
    else:
        text = str(value)
    if not is_text(text):
        raise ValueError(f"its {column} has characters of another encoding; save the table as UTF-8")
    return text


def _segment(row: dict[str, Any], number: int, root: Path, landmark_files: bool) -> Segment:
    """Return a row's segment. Raises ValueError if it makes none."""
    text = {name: found for name, value in row.items() if (found := _text(name, value))}
    video, gloss = text.get("video"), text.get("gloss")
    if not video or not gloss:
        raise ValueError("has no video or no gloss")
    name = PurePosixPath(video.replace("\\", "/"))
    if landmark_files and not is_landmark_file(name.name):
        names = [name.with_suffix(suffix) for suffix in LANDMARK_SUFFIXES if name.name]
    else:
        names = [name]
    name = _existing(root, names)
    start_seconds, end_seconds = _seconds(text, "start", 0.0), _seconds(text, "end", WHOLE_VIDEO_END)
    if not 0 <= start_seconds < end_seconds:
        raise ValueError(f"runs from {start_seconds} to {end_seconds} s")
    split = text.pop("split", "-").lower()
    if split not in _ABSENT and split not in SPLITS:
        raise ValueError(f"its split {split[:40]!r} is none of {', '.join(dict.fromkeys(SPLITS.values()))}")
    return Segment(
        segment_id=f"{name.stem}#{number}",
        video=str(name),
        start_seconds=start_seconds,
        end_seconds=end_seconds,
        gloss=normal_gloss(gloss),
        take=text.get("take") or name.with_suffix("").as_posix(),
        split=SPLITS.get(split),
        **{column: text.get(column) for column in OPTIONAL if column not in ("take", "split")},
    )


def _existing(root: Path, names: Sequence[PurePosixPath]) -> PurePosixPath:
    """Return the first of a row's files that is there, as it lies on disk: macOS decomposes letters.

    Raises ValueError without one.
    """
    for name in names:
        if (found := _on_disk(root, name)) is not None:
            return found
    what = "video" if not is_landmark_file(names[0].name) else "landmark file"
    raise ValueError(f"there is no {what} {' or '.join(str(root / name) for name in names)}")


def _on_disk(root: Path, name: PurePosixPath) -> PurePosixPath | None:
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"its video {str(name)!r} leaves the table's folder")
    on_disk, member = split_member(str(name))
    try:
        if member is not None and member in open_archive(root / on_disk).members:
            return name
        for form in (None, "NFC", "NFD"):
            spelt = PurePosixPath(unicodedata.normalize(form, str(name))) if form else name
            if (root / spelt).is_file():
                return spelt
    except AnnotationError as error:
        raise ValueError(str(error)) from None
    except OSError:  # too long for the disk
        pass
    return None


def _seconds(text: dict[str, str], column: str, otherwise: float) -> float:
    if text.get(column, "-").lower() in _ABSENT:
        return otherwise
    try:
        return finite_number(text[column])
    except ValueError:
        raise ValueError(f"its {column} {text[column][:40]!r} is no number of seconds") from None
