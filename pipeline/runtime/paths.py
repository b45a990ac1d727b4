"""Paths as people give them from Python: text, pathlib.Path, or any object that stands for a path."""

import io
import os
from pathlib import Path
from typing import BinaryIO, TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]


def as_path(given: StrPath) -> Path:
    """Return what was given as a Path. Raises TypeError for anything else, bytes too.

    >>> as_path("best.ckpt") == as_path(Path("best.ckpt"))
    True
    """
    if isinstance(given, str | os.PathLike) and isinstance(path := os.fspath(given), str):
        return Path(path)
    raise TypeError(f"{given!r:.80} is of type {type(given).__name__}; expected a path, as text or as pathlib.Path")


def as_source(given: StrPath | BinaryIO) -> Path | BinaryIO:
    """Return a path as `as_path` does, and an open binary file as it is. Raises TypeError for anything else."""
    is_file = hasattr(given, "read") and hasattr(given, "seek") and not isinstance(given, io.TextIOBase)
    if is_file and not isinstance(given, str | os.PathLike):
        return given
    try:
        return as_path(given)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"{error}, or an open binary file") from None
