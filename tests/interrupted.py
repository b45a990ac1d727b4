"""Commands that are interrupted at each of their file events, and given again.

`Interrupter` runs a command and keeps what lies in its folder at each of its file events: what it leaves if it is
killed there. For Ctrl-C, a full disk and a place that cannot be written it runs the command for each of its events
anew, and has that happen there. Then it looks what a reader says, gives the command again, and returns what was seen;
where two events leave the same files, that is done once. All of it runs in forks of a process that has imported
everything. Such a process starts commands for other tests, too, where theirs would import torch first, which takes
seconds.
"""

# ruff: noqa: SIM115  (streams of a process stay open)

import gc
import importlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TextIO

from tests.file_events import KILLED, FileEvent, Watch, deed_at
from tests.folder_states import FolderStates, copied, hashes_of, state_of

ROOT = Path(__file__).parent.parent
WITH_MODELS = (
    "PIL.GifImagePlugin",
    "PIL.JpegImagePlugin",
    "dateutil.relativedelta",
    "fsspec.implementations.chained",
    "fsspec.implementations.local",
    "jinja2",
    "pyarrow.dataset",
    "s3fs",  # Lightning looks whether a run's folder is an object store's
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
    "tensorboard.plugins.hparams.api_pb2",
    "torch.utils.tensorboard",
    "pytorchvideo.models",  # last: torchvision needs what signprep defines for it
    "pytorchvideo.models.accelerator.mobile_cpu.residual_blocks",
)
"""What commands import that train, evaluate and export."""


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

    deed: str
    event: str
    first: Ended
    reader: Ended
    again: Ended
    paths: dict[str, str]
    """Hash of each file in the end, by path, of a checkpoint that of what it has learnt; nothing for a folder."""
    state: str = ""
    """What `state_of` says of the folder that the interrupted command has left."""


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

    def has_ended(self) -> bool:
        """Return True if it runs no more."""
        if self._code is None:
            self._code = self._ask({"look": self.pid})
        return self._code is not None

    def kill_group(self) -> None:
        """Kill it and all processes that it has started."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Return its exit code, or minus the number of the signal that ended it."""
        if self._code is None:
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
        deeds: Collection[str] = (KILLED,),
        most: int | None = None,
    ) -> tuple[Seen, list[Seen]]:
        """Return what an undisturbed command leaves, and what was seen of interrupted ones.

        Args:
            command: words of the command line, behind `signprep`.
            prepared: folder that holds all that the command finds.
            work: where it is copied to, anew for each event.
            reader: another command, that only reads.
            deeds: some of `DEEDS`.
            most: so many events of each deed, spread over all, the last one among them, at which the command is killed
                by signals; None for all, of which what lies there when signals would come is kept.
        """
        job = {"prepared": str(prepared), "work": str(work), "deeds": [*deeds], "most": most}
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
        job = {"work": str(folder), "command": [str(word) for word in command]}
        return Ended(**self._answer(job))


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """Give a folder in memory where the system has one: what is made durable there waits for no disk."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


def _seen_of(fields: dict[str, Any]) -> Seen:
    ends = {name: Ended(**fields[name]) for name in ("first", "reader", "again")}
    return Seen(**(fields | ends))


_NOBODY = 65534


def _run(job: dict[str, Any], command: list[str], *, watch: Watch | None = None, as_nobody: bool = False) -> Ended:
    """Run a command in a forked process, watched or not; return how it ended."""
    folder = Path(job["work"]).parent
    return _ended(folder, _forked(folder, command, watch, as_nobody=as_nobody))


def _forked(folder: Path, command: list[str], watch: Watch | None, *, as_nobody: bool = False) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream, name in ((1, "out.txt"), (2, "err.txt")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        if as_nobody:
            os.setgroups([])
            os.setgid(_NOBODY)
            os.setuid(_NOBODY)
        if watch is not None:
            watch.begin()
        code = _main(command)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(folder: Path, child: int) -> Ended:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    out, err = ((folder / name).read_text(errors="replace") for name in ("out.txt", "err.txt"))
    return Ended(code=status, out=out, err=err)


def _start(job: dict[str, Any]) -> int:
    """Start a command in a forked process, which ends as Python does; return its number."""
    child = os.fork()
    if child:
        return child
    os.setsid()
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


def _undisturbed(job: dict[str, Any]) -> tuple[Ended, list[tuple[FileEvent, dict[str, Path]]]]:
    """Run the command to its end; return how it ended, and its events, each with what a kill would leave, if kept."""
    work = Path(job["work"])
    states, kept = FolderStates(work), []
    told, tell = os.pipe()
    seen, see = os.pipe()

    def wait_until_kept(_: int, event: FileEvent) -> None:
        os.write(tell, json.dumps(asdict(event)).encode() + b"\n")
        os.read(seen, 1)

    child = _forked(work.parent, job["command"], Watch(job["work"], wait_until_kept))
    os.close(tell)
    with os.fdopen(told, encoding="utf-8") as events:
        for line in events:
            fields = json.loads(line)
            event = FileEvent(fields["name"], fields["path"], fields["opened"] and tuple(fields["opened"]))
            kept.append((event, states.keep(event) if job["most"] is None else {}))
            os.write(see, b".")
    os.close(seen)
    os.close(see)
    return _ended(work.parent, child), kept


def _interrupt(job: dict[str, Any]) -> list[dict[str, Any]]:
    prepared, work, command = Path(job["prepared"]), Path(job["work"]), job["command"]
    copied(prepared, work)
    whole, events = _undisturbed(job)
    paths = hashes_of(work)
    reader = _run(job, job["reader"])
    found = [{"deed": "none", "event": "none", "first": whole, "reader": reader, "again": whole, "paths": paths}]
    known: dict[str, dict[str, Any]] = {}
    for deed in job["deeds"]:
        for number in _chosen(len(events), job["most"], command[0] + deed):
            event, left = events[number]
            if deed in left:
                copied(left[deed], work)
                first = Ended(code=-signal.SIGKILL, out="", err="")
            else:
                copied(prepared, work)
                first = _run(job, command, watch=Watch(job["work"], deed_at(number, deed)))
            state = state_of(work)
            if state not in known:
                ends = {"reader": _run(job, job["reader"]), "again": _run(job, command)}
                known[state] = ends | {"paths": hashes_of(work)}
            told = f"event {number} of {len(events)}, {event.name} {event.path.removeprefix(job['work'])}"
            found.append({"deed": deed, "event": told, "first": first, "state": state, **known[state]})
    ends = ("first", "reader", "again")
    return [seen | {name: asdict(seen[name]) for name in ends} for seen in found]


def _chosen(num_events: int, most: int | None, seed: str) -> list[int]:
    """Return the numbers of so many events, the last one among them; of all without a limit."""
    if most is None or most >= num_events:
        return list(range(num_events))
    return sorted({*random.Random(seed).sample(range(num_events), most - 1), num_events - 1})


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
        elif "look" in given:
            child, status = os.waitpid(given["look"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if child else None
        else:
            answer = asdict(_run(given, given["command"], as_nobody=True))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
