"""Paths as people give them from Python: text, pathlib.Path, or any object that stands for a path."""

import io
import os
import unicodedata
from pathlib import Path
from typing import BinaryIO, TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]


def as_path(value: StrPath) -> Path:
    """Return what was given as a Path. Raises TypeError for anything else, bytes too.

    >>> as_path("best.ckpt") == as_path(Path("best.ckpt"))
    True
    """
    if isinstance(value, str | os.PathLike) and isinstance(path := os.fspath(value), str):
        return Path(path)
    raise TypeError(f"{value!r:.80} is of type {type(value).__name__}; expected a path, as text or as pathlib.Path")


def spelt_otherwise(path: Path) -> str | None:
    """Return words on what is there in place of a path that is not: one of the same letters, composed otherwise.

    macOS decomposes letters (NFD), people type whole ones (NFC), and Linux takes the two for different names.
    """
    found, other = Path(path.anchor), ""
    for part in path.parts[bool(path.anchor) :]:
        forms = (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD")))
        there = next((form for form in forms if os.path.lexists(found / form)), None)
        if there is None:
            return None
        other = other or there * (there != part)
        found /= there
    how = "decomposed, as macOS writes them (NFD)" if unicodedata.is_normalized("NFD", other) else "composed (NFC)"
    return f"{other} is there with letters that are {how}: complete it by Tab, or rename it" if other else None


def as_source(value: StrPath | BinaryIO) -> Path | BinaryIO:
    """Return a path as `as_path` does, and an open binary file as it is. Raises TypeError for anything else."""
    is_file = hasattr(value, "read") and hasattr(value, "seek") and not isinstance(value, io.TextIOBase)
    if is_file and not isinstance(value, str | os.PathLike):
        return value
    try:
        return as_path(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"{error}, or an open binary file") from None
