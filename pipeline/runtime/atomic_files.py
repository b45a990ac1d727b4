"""Files that commands leave: whole or not there at all; a path that cannot be written is found before the work."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.text import json_text


def require_writable(path: Path) -> None:
    """Raise SignprepError unless a file can be made at this path. Leaves nothing there."""
    if _is_device(path):
        return
    if not path.parent.is_dir():
        raise SignprepError(f"{path}: cannot be written: there is no folder {path.parent}; create it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SignprepError(f"{path}: cannot be written ({error.strerror})") from error
    if path.is_dir():
        raise SignprepError(f"{path}: cannot be written (it is a folder)")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to. After the block it is renamed to `path`; after an error it is removed.

    Raises SignprepError if the file cannot be written.
    """
    if _is_device(path):
        yield path
        return
    target = path.resolve()  # what a link points to is replaced, not the link
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(target)
    except OSError as error:
        raise SignprepError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write a document as `json_text` and a newline, through `atomic_write`."""
    text = json_text(document) + "\n"
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _is_device(path: Path) -> bool:
    """Return True for what is there and is neither file nor folder, as /dev/stdout or a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()
