"""Files that commands leave: whole or not there at all; a path that cannot be written is found before the work."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

    What processes that were killed have left of the same file is removed first.

    Raises SignprepError if the file cannot be written.
    """
    if _is_device(path):
        yield path
        return
    target = path.resolve()  # what a link points to is replaced, not the link
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        remove_torn(target.parent, target.name)
        yield beside
        beside.replace(target)
    except BaseException as error:
        with suppress(OSError):  # what went wrong before is what has to be known
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise SignprepError(f"{path}: cannot be written ({error.strerror})") from error
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill. After the block it takes the place of `path`, whatever is there.

    After an error it is removed, and what is at `path` stays. What killed processes have left is removed first.

    Raises SignprepError if the folder cannot be made or written.
    """
    target = path.resolve()
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    earlier = target.with_name(f".{target.name}-earlier.{os.getpid()}.part")
    try:
        remove_torn(target.parent, target.name)
        remove_torn(target.parent, f"{target.name}-earlier")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        yield beside
        if target.exists():
            target.replace(earlier)
        beside.replace(target)
        shutil.rmtree(earlier, ignore_errors=True)
    except BaseException as error:
        if earlier.exists() and not target.exists():
            earlier.replace(target)
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, OSError):
            where = path if error.filename is None else error.filename
            raise SignprepError(f"{path}: cannot be written ({error.strerror}: {where})") from error
        raise


def remove_torn(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes of this machine have left half-written in a folder, of one name or of all.

    Raises OSError.
    """
    for path in folder.iterdir():
        torn = _TORN.fullmatch(path.name)
        if torn and name in (None, torn[1]) and not _is_alive(int(torn[2])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


_TORN = re.compile(r"\.(.+)\.([0-9]+)\.part")


def _is_alive(process: int) -> bool:
    """Return False if no such process runs on this machine, as far as it can be known."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return process != os.getpid()  # its own file is still to come


def write_json(path: Path, document: Any) -> None:
    """Write a document as `json_text` and a newline, through `atomic_write`."""
    text = json_text(document) + "\n"
    with atomic_write(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _is_device(path: Path) -> bool:
    """Return True for what is there and is neither file nor folder, as /dev/stdout or a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()
