"""The rows of a table, CSV or Parquet: bytes in, values by column out, or what is wrong with a row.

CSV is read by Python's own reader, ten times slower than Arrow's (a second for 100,000 rows, much of it to look for the
videos), because there a row that is not well formed costs itself alone.
"""

import csv
import io
import re
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.pipeline.datasets.annotations import decoded
from signprep.pipeline.datasets.files.names import is_video
from signprep.pipeline.datasets.tables.options import NUMBERS
from signprep.pipeline.errors import AnnotationError

SEPARATORS = ",;\t|"
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\w\s]|\t)"?\s*', re.IGNORECASE)
"""The first line of tables that Excel is to open in any country."""

Row = tuple[int, str, dict[str, Any] | str]
"""A row's number from 1, the words that name it, and its values by field, or what is wrong with it."""
Places = Callable[[Sequence[str]], Mapping[str, int]]
"""Takes the names of columns, and returns the place of each field that is read. It may raise AnnotationError."""


@dataclass(frozen=True, kw_only=True)
class CsvForm:
    """The form of a CSV file, as far as it is known."""

    names: tuple[str, ...] | None = None
    """The names of its columns if it has no header."""
    separator: str | None = None
    """None for the one that the header tells: one of `SEPARATORS`, or another between known names."""
    quotes: bool = True
    """False if quotes mean nothing."""
    usual: str = ","
    """The separator where nothing tells it."""
    known: Collection[str] = ()
    """Names that a header may have, which tell its separator. Without any, it is the one that most cells come of."""


def csv_rows(data: bytes, path: Path, form: CsvForm, places: Places) -> Iterator[Row]:
    """Yield the rows of a CSV file in UTF-8, UTF-16 or cp949. Raises AnnotationError if its header cannot be read."""
    if data.startswith(b"PK\x03\x04"):
        raise AnnotationError(
            f"{path}: is an Excel file or a zip by its first bytes, whatever its name says; save it as CSV"
        )
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # that of Arrow, too
    lines = io.StringIO(decoded(data), newline="").readlines()
    separator, first = _separator(lines, form)
    records = _records(lines, separator, first) if form.quotes else _lines(lines, separator, first)
    number = 0
    if form.names is None:
        header = next((cells for _, cells in records if isinstance(cells, str) or _is_filled(cells)), [])
        if isinstance(header, str):
            raise AnnotationError(f"{path}: its header {header}")
        header = [unicodedata.normalize("NFC", name.strip()) for name in header]
        while header and not header[-1]:  # a separator at the end of the line
            header.pop()
    else:
        header = list(form.names)
    by_field = places(header)
    for line, cells in records:
        is_filled = isinstance(cells, str) or _is_filled(cells)
        number += is_filled or len(cells) > 1  # an empty line has no number
        if not is_filled:
            continue
        if isinstance(cells, list) and (len(cells) < len(header) or _is_filled(cells[len(header) :])):
            expected = "where the header has" if form.names is None else "where there should be"
            cells = f"has {len(cells)} cells, {expected} {len(header)}"
        row = cells if isinstance(cells, str) else {field: cells[place] for field, place in by_field.items()}
        if separator == ";" and isinstance(row, dict):  # of countries whose numbers have a comma
            row |= {name: _COMMA.sub(r"\1.\2", row[name]) for name in NUMBERS if name in row}
        is_as_counted = number == line + (form.names is not None)
        yield number, f"row {number}" + ("" if is_as_counted else f" (line {line + 1})"), row


_COMMA = re.compile(r"(\s*\d+),(\d+\s*)")


def _is_filled(cells: Sequence[str]) -> bool:
    return any(cell.strip() for cell in cells)


def _separator(lines: Sequence[str], form: CsvForm) -> tuple[str, int]:
    """Return what separates cells, as the header tells, and the number of the line that the table begins with."""
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines and (match := _SEPARATOR_LINE.fullmatch(lines[first])):
        return match[1], first + 1
    if form.separator is not None or not lines:
        return form.separator or form.usual, 0

    def fits(separator: str) -> int:
        cells = next(csv.reader([lines[first]], delimiter=separator))
        if form.names is not None:
            return -abs(len(cells) - len(form.names))
        if not form.known:
            return len(cells)
        names = {unicodedata.normalize("NFC", name.strip()) for name in cells}
        return len(names & set(form.known))

    usual = max(form.usual + SEPARATORS, key=fits)
    if not form.known or form.names is not None or fits(usual) > 0:
        return usual, first
    others = "".join(
        dict.fromkeys(letter for letter in lines[first].strip() if not (letter.isalnum() or letter in '_"'))
    )
    other = max(others, key=fits, default=usual)
    return (other if fits(other) > 1 else usual), first


def _lines(lines: Sequence[str], separator: str, first: int) -> Iterator[tuple[int, list[str] | str]]:
    """Yield the number and the cells of each line of a table without quotes."""
    yield from enumerate(csv.reader(lines[first:], delimiter=separator, quoting=csv.QUOTE_NONE), start=first)


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


def parquet_rows(path: Path, places: Places) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    # Arrow opens no path whose name is not UTF-8.
    with path.open("rb") as opened, pq.ParquetFile(opened) as file:
        header = file.schema_arrow.names
        by_field = places([unicodedata.normalize("NFC", name) for name in header])
        names = {field: header[place] for field, place in by_field.items()}
        number = 0
        for batch in file.iter_batches(batch_size=4096, columns=list(dict.fromkeys(names.values()))):
            for values in zip(*(_values(batch.column(name)) for name in names.values()), strict=True):
                number += 1
                yield number, f"row {number}", dict(zip(names, values, strict=True))


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
