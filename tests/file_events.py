"""The file events of a process under a folder, and what may happen at one of them.

A file event is a file that is opened to be written, made durable, renamed or deleted, or a folder that is made or
deleted.
"""

# ruff: noqa: PTH109, PTH115, PTH116, PTH118  (an audit hook looks at plain strings)

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KILLED, TORN = "killed", "killed in the middle of a file"
DEEDS = {
    KILLED: signal.SIGKILL,
    TORN: signal.SIGKILL,
    "stopped by Ctrl-C": signal.SIGINT,
    "told to end": signal.SIGTERM,
    "out of room": errno.ENOSPC,
    "without permission": errno.EACCES,
}
"""What happens at an event: a signal; or an error, which all later events meet, too."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class FileEvent:
    """What is about to happen to a path."""

    name: str
    """Of Python's audit event, or `fsync`."""
    path: str
    opened: tuple[str, int] | None
    """The file that was opened last, and its bytes before that."""


class Watch:
    """Tells of the file events of this process under a folder; it sees those of all threads, one after another."""

    def __init__(self, folder: str, tell: Callable[[int, FileEvent], None]) -> None:
        self._folder, self._tell = folder + "/", tell
        self._count = 0
        self._opened: tuple[str, int] | None = None
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Watch from now on; it does not end before the process."""
        sys.addaudithook(self._hook)
        fsync = os.fsync

        def watched(file: int) -> None:
            path = os.readlink(f"/proc/self/fd/{file}")
            if path.startswith(self._folder):
                self._happens("fsync", path)
            fsync(file)

        os.fsync = watched

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS:
            path = _EVENTS[event](arguments)
            if path is not None and path.startswith(self._folder):
                self._happens(event, path)

    def _happens(self, event: str, path: str) -> None:
        with self._lock:
            number, self._count = self._count, self._count + 1
            self._tell(number, FileEvent(event, path, self._opened))
            if event == "open":
                self._opened = path, os.stat(path).st_size if os.access(path, os.F_OK) else 0


def grown(path: str, before: int) -> int:
    """Return by how many bytes a file has grown since it had so many."""
    return max(os.stat(path).st_size - before, 0) if os.access(path, os.F_OK) else 0


def tear(path: str, before: int) -> None:
    """Take away half of what a file has grown by since it had so many bytes."""
    if more := grown(path, before):
        os.truncate(path, before + more // 2)


def deed_at(number: int, deed: str) -> Callable[[int, FileEvent], None]:
    """Return what a `Watch` is to tell of events, so that a deed is done at the one of this number."""
    happens = DEEDS[deed]

    def tell(current: int, event: FileEvent) -> None:
        if isinstance(happens, signal.Signals):
            if current == number:
                if deed == TORN and event.opened is not None:
                    tear(*event.opened)
                os.kill(os.getpid(), happens)
            return
        # A full disk lets files be renamed and deleted.
        is_made = event.name not in ("os.remove", "os.rmdir", "os.rename")
        if current >= number and (is_made or happens == errno.EACCES):
            raise OSError(happens, os.strerror(happens), event.path)

    return tell


def _absolute(path: Any, dir_fd: int = -1) -> str | None:
    if isinstance(path, int):
        return None
    folder = f"/proc/self/fd/{dir_fd}"
    return os.path.join(os.readlink(folder) if dir_fd != -1 else os.getcwd(), os.fsdecode(path))


def _opened(arguments: tuple[Any, ...]) -> str | None:
    path, mode, flags = arguments
    writes = any(letter in mode for letter in "wax+") if mode else flags & _WRITES
    return _absolute(path) if writes else None


_EVENTS: dict[str, Callable[[tuple[Any, ...]], str | None]] = {
    "open": _opened,
    "os.rename": lambda arguments: _absolute(arguments[1], arguments[3]),
    "os.remove": lambda arguments: _absolute(*arguments),
    "os.rmdir": lambda arguments: _absolute(*arguments),
    "os.mkdir": lambda arguments: _absolute(arguments[0], arguments[2]),
    "os.link": lambda arguments: _absolute(arguments[1], arguments[3]),
    "os.symlink": lambda arguments: _absolute(arguments[1], arguments[2]),
    "os.truncate": lambda arguments: _absolute(arguments[0]),
    "sqlite3.connect": lambda arguments: _absolute(arguments[0]),
}
