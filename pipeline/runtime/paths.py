"""Paths as people give them from Python: text, pathlib.Path, or any object that stands for a path."""

import io
import os
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


def as_source(value: StrPath | BinaryIO) -> Path | BinaryIO:
    """Return a path as `as_path` does, and an open binary file as it is. Raises TypeError for anything else."""
    is_file = hasattr(value, "read") and hasattr(value, "seek") and not isinstance(value, io.TextIOBase)
    if is_file and not isinstance(value, str | os.PathLike):
        return value
    try:
        return as_path(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"{error}, or an open binary file") from None
