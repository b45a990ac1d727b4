"""Glosses by their codes: a second table in, or a text file, and what each code of a data set means out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from signprep.pipeline.datasets.annotations import decoded, normal_gloss
from signprep.pipeline.datasets.tables.rows import SEPARATORS, CsvForm, csv_rows
from signprep.pipeline.errors import AnnotationError


class ClassMap:
    """Glosses by their codes; a code of digits is a number, so that 007 and 7 are one."""

    def __init__(self, glosses: Mapping[str, str], path: Path) -> None:
        self._glosses = {code_of(code): gloss for code, gloss in glosses.items()}
        self._path = path

    def gloss(self, code: str) -> str:
        """Return a code's gloss. Raises ValueError if it has none."""
        found = self._glosses.get(code_of(code))
        if not found:
            raise ValueError(f"its gloss {code[:40]!r} is no code of {self._path}")
        return found


def code_of(text: str) -> str:
    """Return a code for comparisons.

    >>> code_of("007"), code_of(" a07 ")
    ('7', 'a07')
    """
    text = normal_gloss(text)
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else text


def read_class_map(path: Path) -> ClassMap:
    """Read a table of codes and glosses, or a text file with a gloss a line.

    A table's codes are its first column, its glosses the one named gloss, else the second. Raises AnnotationError if it
    cannot be read, or gives a code two glosses.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read as codes and glosses ({error.strerror or error})") from error
    lines = [line.strip() for line in decoded(data).splitlines() if line.strip()]
    if not any(separator in "".join(lines[:1]) for separator in (";\t|" if path.suffix == ".txt" else SEPARATORS)):
        return ClassMap({str(number): line for number, line in enumerate(lines)}, path)
    pairs: list[tuple[str, str]] = []

    def places(header: Sequence[str]) -> dict[str, int]:
        names = [name.lower() for name in header]
        column = names.index("gloss") if "gloss" in names else 1
        if len(header) < 2:
            raise AnnotationError(f"{path}: has one column; expected codes and glosses")
        pairs.append((header[column == 0], header[column]))  # without a header it is a row, else a code of nobody
        return {"code": int(column == 0), "gloss": column}

    for _, name, row in csv_rows(data, path, CsvForm(), places):
        if isinstance(row, str):
            raise AnnotationError(f"{path}: {name} {row}")
        pairs.append((row["code"], row["gloss"]))
    glosses: dict[str, str] = {}
    for code, gloss in pairs:
        if glosses.setdefault(code_of(code), gloss) != gloss:
            raise AnnotationError(f"{path}: gives {code[:40]!r} two glosses, {glosses[code_of(code)]!r} and {gloss!r}")
    return ClassMap(glosses, path)
