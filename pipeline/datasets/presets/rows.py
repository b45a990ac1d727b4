"""The rows of a preset's files, tables, JSON documents or names of videos, as fields with their texts.

Only fields that the preset names are read. Rows of other files that belong to a row add their fields to it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from signprep.pipeline.datasets.annotations import decoded
from signprep.pipeline.datasets.files.data_root import read_bytes
from signprep.pipeline.datasets.presets.listing import Listing
from signprep.pipeline.datasets.presets.spec import JSON, VIDEOS, Join, Preset, Source
from signprep.pipeline.datasets.tables.class_map import code_of
from signprep.pipeline.datasets.tables.rows import CsvForm, csv_rows
from signprep.pipeline.errors import AnnotationError

MAX_BYTES = 2**31
"""Larger label files are refused; WLASL's has 12 MB."""
Row = dict[str, str]
NamedRow = tuple[str, Row | str]
"""Words that name a row, and its fields, or what is wrong with it."""


class Rows:
    """The rows of all sources of a preset."""

    def __init__(self, root: Path, preset: Preset, listing: Listing) -> None:
        self._folder, self._preset, self._listing = (root.parent if root.is_file() else root), preset, listing
        self._used = _used_fields(preset)
        self.columns: set[str] = set()
        """The columns of all tables that were read, those that are not used, too."""
        self.used_columns: dict[str, frozenset[str]] = {}
        """By table of rows, the columns that the preset names and the table has."""
        self.absent: list[tuple[str, ...]] = []
        """The patterns of files that are not there, and need not be."""
        only_one = [root.name] if root.is_file() else None
        self.copies: list[tuple[str, str]] = []
        """Label files that are not read, each with the one of its content that is."""
        self.files: list[tuple[Source, list[str]]] = []
        """The label files of each source."""
        for source in preset.sources:
            names = self._once(listing.matching(source.files)) if only_one is None else only_one
            if source.form != VIDEOS and not names:
                if not source.optional:
                    raise self._without(source.files)
                self.absent.append(source.files)
            self.files.append((source, names if source.form != VIDEOS else []))
            if only_one is not None and source.form != VIDEOS:
                break
        self._partners = [self._by_key(join) for join in preset.joins]

    def _once(self, names: list[str]) -> list[str]:
        """Return the files without those that are copies of another: their rows would count twice."""
        if len(names) < 2:
            return names
        first: dict[bytes, str] = {}
        for name in names:
            content = hashlib.sha256(read_bytes(self._folder, name, MAX_BYTES)).digest()
            if (of := first.setdefault(content, name)) != name:
                self.copies.append((name, of))
        return list(first.values())

    def _without(self, patterns: tuple[str, ...]) -> AnnotationError:
        return AnnotationError(
            f"{self._folder}: holds no file {' or '.join(patterns)}, as --preset {self._preset.name} expects"
        )

    def __iter__(self) -> Iterator[NamedRow]:
        for source, names in self.files:
            for where, row in self._of_source(source, names):
                if isinstance(row, str):
                    yield where, row
                    continue
                if any((of.fill(row) or "").lower() not in values for of, values in source.only):
                    continue
                yield where, self._joined(row)

    def _of_source(self, source: Source, names: Sequence[str]) -> Iterator[NamedRow]:
        """Yield the rows of a source's files with the fields that its patterns find."""
        rows = (row for name in names for row in self._of_file(name, source))
        for where, row in self._of_videos(source) if source.form == VIDEOS else rows:
            if isinstance(row, dict):
                row.update(source.constants)
                for extract in source.extracts:
                    extract.add_to(row)
            yield where, row

    def _of_videos(self, source: Source) -> Iterator[NamedRow]:
        whole = tail_pattern(source)
        for name in self._listing.videos:
            if match := whole.fullmatch(name):
                fields = {field: value for field, value in match.groupdict().items() if value}
                yield name, {**fields, "path": name}

    def _of_file(self, name: str, source: Source) -> Iterator[NamedRow]:
        data = read_bytes(self._folder, name, MAX_BYTES)
        path = self._folder / name
        if source.form == JSON:
            yield from ((f"{path}: {where}", row) for where, row in _json_rows(data, path, source.rows, self._used))
            return
        usual = "\t" if name.lower().endswith((".tsv", ".txt")) else ","
        form = CsvForm(
            names=source.columns, separator=source.separator, quotes=source.quotes, usual=usual, known=self._used
        )

        def places(header: Sequence[str]) -> Mapping[str, int]:
            if source in self._preset.sources:
                self.used_columns[name] = self._used.intersection(header)
            return self._places(header, path)

        for number, named, row in csv_rows(data, path, form, places):
            if isinstance(row, dict):
                row = {field: value.strip() for field, value in row.items()}
                row["row"] = str(number - 1)
            yield f"{path}: {named}", row

    def _places(self, header: Sequence[str], path: Path) -> Mapping[str, int]:
        """Return the place of each column that is used, by its name. Raises AnnotationError if one is there twice."""
        self.columns.update(header)
        for name in self._used.intersection(header):
            if (count := list(header).count(name)) > 1:
                raise AnnotationError(f"{path}: has {count} columns named {name}; rename or delete all but one of them")
        return {name: place for place, name in enumerate(header) if name in self._used}

    def _by_key(self, join: Join) -> dict[str, Row]:
        """Return the rows of a join's files by their keys; the first one of a key counts."""
        names = self._listing.matching(join.source.files)
        if not names and join.required:
            raise self._without(join.source.files)
        if not names:
            self.absent.append(join.source.files)
        found: dict[str, Row] = {}
        for where, row in self._of_source(join.source, names):
            if isinstance(row, str):
                raise AnnotationError(f"{where}: {row}")
            if (key := join.key.fill(row)) is not None:
                found.setdefault(code_of(key), {field: row[field] for field in row if field != "row"})
        return found

    def _joined(self, row: Row) -> Row | str:
        """Return a row with the fields of its partners and of the preset's patterns, or what it lacks."""
        for join, partners in zip(self._preset.joins, self._partners, strict=True):
            key = join.of.fill(row)
            partner = partners.get(code_of(key)) if key is not None else None
            if partner is not None:
                row = {**partner, **row}
            elif join.required:
                return f"{key!r:.60} is in none of {' or '.join(join.source.files)}"
        for extract in self._preset.extracts:
            extract.add_to(row)
        return row


def tail_pattern(source: Source) -> "re.Pattern[str]":
    """Return the pattern of whole paths whose ends a source's pattern matches."""
    assert source.pattern is not None
    return re.compile(f"(?:.*?/)?(?:{source.pattern.pattern})", source.pattern.flags)


def _used_fields(preset: Preset) -> frozenset[str]:
    """Return the names of all fields that a preset's texts have."""
    found = {field for templates in preset.templates.values() for one in templates for field in one.fields}
    for source in (*preset.sources, *(join.source for join in preset.joins)):
        found.update(field for extract in source.extracts for of in extract.of for field in of.fields)
        found.update(field for of, _ in source.only for field in of.fields)
    found.update(field for join in preset.joins for field in join.key.fields)
    return frozenset(found)


def _json_rows(data: bytes, path: Path, steps: Sequence[str], used: Iterable[str]) -> Iterator[NamedRow]:
    """Yield the rows of a document: with the fields of the objects around them, and the `key` in the last object."""
    try:
        document = json.loads(decoded(data))
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: is no valid JSON ({error})") from error
    getters = [(field, _getter(field)) for field in used if field not in ("key", "row")]
    number = 0
    for number, (levels, key) in enumerate(_elements([document], "", steps), start=1):
        row = {"row": str(number - 1), "key": key}
        for field, get in getters:
            for level in levels:  # the innermost first
                if (value := get(level)) is not None:
                    row[field] = _json_text(value)
                    break
        yield f"row {number}", row
    if not number:
        raise AnnotationError(f"{path}: has no rows at {'.'.join(steps)}, as the preset expects")


def _elements(levels: list[Any], key: str, steps: Sequence[str]) -> Iterator[tuple[list[Any], str]]:
    if not steps:
        yield levels, key
        return
    step, *others = steps
    value = levels[0]
    if step != "*":
        if isinstance(value, dict) and step in value:
            yield from _elements([value[step], *levels], key, others)
        return
    elements: Iterable[tuple[str, Any]] = ()
    if isinstance(value, dict):
        elements = value.items()
    elif isinstance(value, list):
        elements = ((key, one) for one in value)
    for name, inner in elements:
        yield from _elements([inner, *levels], name, others)


def _getter(field: str) -> Callable[[Any], Any]:
    """Return a function that gives a field of an object, None without one: `bbox.0` is the first of a list."""
    steps = field.split(".")

    def get(value: Any) -> Any:
        if isinstance(value, dict) and field in value:
            return value[field]
        for step in steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return get


def _json_text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else "" if isinstance(value, list | dict) else str(value)
