"""Commands that are interrupted at each of their file events, and given again.

A file event is a file that is opened to be written, made durable, renamed or deleted, or a folder that is made or
deleted, under one folder. `Interrupter` counts the events of a command; then, for each of them, it has the command
killed just there (or told of Ctrl-C, of a full disk, of a place that cannot be written), looks what a reader says,
gives the command again, and returns what was seen. All of it runs in forks of a process that has imported everything.
Such a process starts commands for other tests, too, where theirs would import torch first, which takes seconds.
"""

# ruff: noqa: PTH109, PTH115, PTH116, PTH118, SIM115  (an audit hook looks at plain strings)

import errno
import gc
import importlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TextIO

ROOT = Path(__file__).parent.parent
WITH_MODELS = (
    "dateutil.relativedelta",
    "fsspec.implementations.chained",
    "fsspec.implementations.local",
    "jinja2",
    "pyarrow.dataset",
    "signprep.cache_builder.remote.streaming",
    "signprep.cache_builder.report.terminal",
    "signprep.inference.cli.evaluate",
    "signprep.inference.cli.export",
    "signprep.inference.cli.infer",
    "signprep.inference.combination",
    "signprep.inference.evaluation.report",
    "signprep.inference.evaluation.run",
    "signprep.inference.evaluation.together",
    "signprep.inference.export.run",
    "signprep.training.cli.train",
    "signprep.training.run",
    "torch.utils.tensorboard",
    "pytorchvideo.models",  # last: torchvision needs what signprep defines for it
)
"""What commands import that train, evaluate and export."""
DEEDS = {
    "killed": signal.SIGKILL,
    "killed in the middle of a file": signal.SIGKILL,
    "stopped by Ctrl-C": signal.SIGINT,
    "told to end": signal.SIGTERM,
    "out of room": errno.ENOSPC,
    "without permission": errno.EACCES,
}
"""What happens at an event: a signal; or an error, which all later events meet, too."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command has said."""

    code: int
    """Its exit code, or minus the number of the signal that ended it."""
    out: str
    err: str


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of one interruption, or of none."""

    event: str
    first: Ended
    reader: Ended
    again: Ended
    paths: dict[str, str]
    """Hash of each file in the end, by path, of a checkpoint that of what it has learnt; nothing for a folder."""


class Started:
    """A command that goes on in a process of its own; what it writes on stderr is read as it comes."""

    def __init__(self, ask: Callable[[dict[str, Any]], Any], words: Sequence[str], folder: Path) -> None:
        self._ask, self._out, err = ask, folder / "out.txt", folder / "err.fifo"
        err.unlink(missing_ok=True)
        os.mkfifo(err)
        self.pid: int = ask({"start": list(words), "out": str(self._out), "err": str(err)})
        self.stderr: TextIO = err.open(encoding="utf-8", errors="replace")
        self._code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        self.stderr.close()

    def wait(self) -> int:
        """Return its exit code, or minus the number of the signal that ended it."""
        self._code = int(self._ask({"wait": self.pid}))
        return self._code

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self._out.read_text(encoding="utf-8", errors="replace")


class Interrupter:
    """A process that has imported everything, and runs commands in processes that it forks."""

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.interrupted", *modules],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def interrupt(
        self,
        command: Sequence[object],
        *,
        prepared: Path,
        work: Path,
        reader: Sequence[object],
        deed: str,
        most: int | None,
    ) -> tuple[Seen, list[Seen]]:
        """Return what an undisturbed command leaves, and what was seen of interrupted ones.

        Args:
            command: words of the command line, behind `signprep`.
            prepared: folder that holds all that the command finds.
            work: where it is copied to, anew for each event.
            reader: another command, that only reads.
            deed: one of `DEEDS`.
            most: so many events, spread over all, the last one among them; None for all.
        """
        job = {"prepared": str(prepared), "work": str(work), "deed": deed, "most": most}
        job |= {"command": [str(word) for word in command], "reader": [str(word) for word in reader]}
        undisturbed, *seen = (_seen_of(fields) for fields in self._answer(job))
        return undisturbed, seen

    def _answer(self, job: dict[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, program: Path, command: Sequence[object], folder: Path) -> Started:
        """Start a command in a folder that is there.

        Args:
            program: what starts it where it starts itself again: a file that runs `sys.argv` as a command line.
            command: words behind `signprep`.
            folder: of this command's stdout and stderr.
        """
        return Started(self._answer, [str(word) for word in (program, *command)], folder)

    def run_as_nobody(self, command: Sequence[object], folder: Path) -> Ended:
        """Run a command as another user, who may not open what is closed to others; only root can do so."""
        job = {"work": str(folder), "deed": "killed", "command": [str(word) for word in command]}
        return Ended(**self._answer(job))


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Give a folder in memory where the system has one: what is made durable there waits for no disk."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


def _seen_of(fields: dict[str, Any]) -> Seen:
    ends = {name: Ended(**fields[name]) for name in ("first", "reader", "again")}
    return Seen(event=fields["event"], paths=fields["paths"], **ends)


_NOBODY = 65534
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC


class _Watch:
    """Counts the file events of this process under a folder, and does a deed at one of them."""

    def __init__(self, folder: str, number: int | None, deed: str, log: int) -> None:
        self.folder, self.number, self.deed, self.log = folder + "/", number, deed, log
        self.count = 0
        self.opened: tuple[str, int] | None = None
        self.lock = threading.RLock()
        self.is_tearing = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _EVENTS and not self.is_tearing:
            path = _EVENTS[event](arguments)
            if path is not None and path.startswith(self.folder):
                self.happens(event, path)

    def happens(self, event: str, path: str) -> None:
        with self.lock:
            number, self.count = self.count, self.count + 1
            if self.number is None or number == self.number:
                os.write(self.log, f"{event} {path}\n".encode())
            if number == self.number:
                self.strike()
            is_made = event not in ("os.remove", "os.rmdir", "os.rename")
            if (
                self.number is not None
                and number >= self.number
                and self.errno
                and (is_made or self.errno == errno.EACCES)
            ):
                raise OSError(self.errno, os.strerror(self.errno), path)
            if event == "open":
                self.opened = path, os.stat(path).st_size if os.access(path, os.F_OK) else 0

    @property
    def errno(self) -> int:
        number = DEEDS[self.deed]
        return 0 if isinstance(number, signal.Signals) else number

    def strike(self) -> None:
        if "middle" in self.deed and self.opened is not None:
            path, before = self.opened
            if os.access(path, os.F_OK) and (size := os.stat(path).st_size) > before:
                self.is_tearing = True
                os.truncate(path, before + (size - before) // 2)
        if not self.errno:
            os.kill(os.getpid(), DEEDS[self.deed])


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


def _run(
    job: dict[str, Any], command: list[str], number: int | None, *, watched: bool, as_nobody: bool = False
) -> tuple[Ended, list[str]]:
    """Run a command in a forked process; return how it ended, and its events, or the one that was struck."""
    folder = Path(job["work"]).parent
    out, err, log = (folder / name for name in ("out.txt", "err.txt", "log.txt"))
    child = os.fork()
    if child == 0:
        code = 70
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            if as_nobody:
                os.setgroups([])
                os.setgid(_NOBODY)
                os.setuid(_NOBODY)
            if watched:
                _watch(_Watch(job["work"], number, job["deed"], file))
            code = _main(command)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    ended = Ended(code=status, out=out.read_text(errors="replace"), err=err.read_text(errors="replace"))
    return ended, log.read_text().splitlines()


def _start(job: dict[str, Any]) -> int:
    """Start a command in a forked process, which ends as Python does; return its number."""
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for stream, path in ((1, job["out"]), (2, job["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdin = open(0, closefd=False)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))
    sys.argv = job["start"]
    sys.modules["__main__"].__spec__ = None  # it was started by the program's path, not as a module
    sys.exit(_main(sys.argv[1:]))


def _main(command: list[str]) -> int:
    from signprep.pipeline.cli import main

    try:
        main(command)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 71
    return 0


def _watch(watch: _Watch) -> None:
    sys.addaudithook(watch)
    fsync = os.fsync

    def watched(file: int) -> None:
        path = os.readlink(f"/proc/self/fd/{file}")
        if path.startswith(watch.folder):
            watch.happens("fsync", path)
        fsync(file)

    os.fsync = watched


_OF_ONE_PROCESS = ("callbacks", "loops")
"""What tells in a checkpoint how often a run was begun, and when."""


def _paths(work: Path) -> dict[str, str]:
    paths = sorted(work.rglob("*"))
    return {path.relative_to(work).as_posix(): _hash_of(path) if path.is_file() else "" for path in paths}


def _hash_of(path: Path) -> str:
    """Return the hash of a file; of a checkpoint without what is `_OF_ONE_PROCESS`."""
    from signprep.pipeline.datasets.files.video_files import content_hash

    if path.suffix != ".ckpt":
        return content_hash(path)
    import torch

    contents = torch.load(path, weights_only=True)
    kept = {name: value for name, value in contents.items() if name not in _OF_ONE_PROCESS}
    return content_hash(io.BytesIO(json.dumps(kept, default=_plain).encode()))


def _plain(value: Any) -> Any:
    """Return what JSON does not know, a tensor or the like, as what it does."""
    return [str(value.dtype), value.tolist()] if hasattr(value, "tolist") else repr(value)


def _prepare(job: dict[str, Any]) -> Path:
    work = Path(job["work"])
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(job["prepared"], work, symlinks=True)
    return work


def _interrupt(job: dict[str, Any]) -> list[dict[str, Any]]:
    work, command, most = _prepare(job), job["command"], job["most"]
    undisturbed, events = _run(job, command, None, watched=True)
    paths = _paths(work)
    reader, _ = _run(job, job["reader"], None, watched=False)
    found = [{"event": "none", "first": undisturbed, "reader": reader, "again": undisturbed, "paths": paths}]
    numbers = list(range(len(events)))
    if most is not None and most < len(numbers):
        numbers = sorted({*random.Random(command[0] + job["deed"]).sample(numbers, most - 1), numbers[-1]})
    for number in numbers:
        work = _prepare(job)
        first, struck = _run(job, command, number, watched=True)
        reader, _ = _run(job, job["reader"], None, watched=False)
        again, _ = _run(job, command, None, watched=False)
        event = f"event {number} of {len(events)}, {struck[0].replace(job['work'], '') if struck else 'none'}"
        found.append({"event": event, "first": first, "reader": reader, "again": again, "paths": _paths(work)})
    ends = ("first", "reader", "again")
    return [seen | {name: asdict(seen[name]) for name in ends} for seen in found]


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    gc.freeze()  # so that what is forked shares the memory of all that is imported
    for line in sys.stdin:
        given = json.loads(line)
        if "prepared" in given:
            answer: Any = _interrupt(given)
        elif "start" in given:
            answer = _start(given)
        elif "wait" in given:
            answer = os.waitstatus_to_exitcode(os.waitpid(given["wait"], 0)[1])
        else:
            answer = asdict(_run(given, given["command"], None, watched=False, as_nobody=True)[0])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
