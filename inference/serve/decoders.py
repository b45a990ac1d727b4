"""Processes that decode what strangers send: each has bounded memory and time, and is killed and started anew beyond.

In: an open file and the windows that are wanted. Out: each window's clips as they are made. A file goes to the process
as a descriptor, so that it needs no name that could be left over; clips come back as bytes and plain JSON, so that
nothing is unpickled that a process says which has seen a hostile file. No torch here: a process starts in a second.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, reduction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from signprep.inference.options import WindowOptions
from signprep.inference.serve.options import MAX_ANSWERS
from signprep.inference.videos.windows import clips_of_windows, window_spans
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Span
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.runtime.text import byte_size
from signprep.pipeline.video.pyav_reader import VideoReader, open_video

MEMORY_BYTES = 4_000_000_000
"""What a process may take beyond what it has when it starts, on Linux. A frame of 8192 x 8192 takes 0.1 GB."""
START_SECONDS = 120.0
"""Time that a process has to start."""
_POLL_SECONDS = 0.1


class TooSlowError(SignprepError):
    """The time for an answer is over."""


class LeftError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is wanted of a video."""

    name: str
    """What errors call it."""
    windows: WindowOptions
    specs: tuple[ClipSpec, ...]
    max_seconds: float
    """The longest video."""


@dataclass(frozen=True, kw_only=True)
class DecodedWindow:
    """The clips of a window, or why it has none, or why there are no more windows."""

    number: float
    """Infinity, without a span, for what ended the video."""
    asked: Span | None
    ends: float = 0.0
    """Where the clips' span ends, after clipping to the video."""
    clips: tuple[Any, ...] = ()
    missing: str | None = None


class Decoder:
    """A process that decodes one video at a time. One thread uses it at a time."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=work, args=(other, MEMORY_BYTES), name="signprep-decoder", daemon=True)
        self._process.start()
        other.close()
        self._is_ready = False

    @property
    def process_id(self) -> int | None:
        """The process's id."""
        return self._process.pid

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def windows(
        self, job: Job, file: BinaryIO, *, seconds: float, is_left: Callable[[], bool], restarted: Callable[[], None]
    ) -> Iterator[DecodedWindow]:
        """Yield the windows of a video.

        Args:
            job: what is wanted.
            file: the video, a file that the system knows.
            seconds: how long that may take altogether, from when the process is ready.
            is_left: tells whether nobody waits any more.
            restarted: is called if the process had to be ended.

        Raises:
            DecodeError: the process died of it.
            TooSlowError: the time is over.
            LeftError: nobody waits any more.
        """
        is_whole = False
        try:
            if not self._is_ready:
                self._receive(job, time.monotonic() + START_SECONDS, is_left)
                self._is_ready = True
            end = time.monotonic() + seconds
            self._connection.send(job)
            reduction.send_handle(self._connection, _handle_of(file), self._process.pid)
            while True:
                try:
                    message = json.loads(self._receive(job, end, is_left))
                except TooSlowError:
                    raise TooSlowError(
                        f"{job.name}: no answer after {seconds:g} s; send a shorter video, or ask for fewer windows"
                    ) from None
                if message["kind"] == "window":
                    yield self._window(job, message, end, is_left)
                    continue
                is_whole = True
                if message["kind"] == "error":
                    yield DecodedWindow(number=math.inf, asked=None, missing=message["reason"])
                return
        finally:
            if not is_whole:
                self.close()
                self._start()
                restarted()

    def _window(self, job: Job, message: dict[str, Any], end: float, is_left: Callable[[], bool]) -> DecodedWindow:
        clips = [
            np.frombuffer(self._receive(job, end, is_left), spec.dtype).reshape(spec.clip_shape)
            for spec in (job.specs if message["missing"] is None else ())
        ]
        return DecodedWindow(
            number=message["number"],
            asked=Span(*message["asked"]),
            ends=message["ends"],
            clips=tuple(clips),
            missing=message["missing"],
        )

    def _receive(self, job: Job, end: float, is_left: Callable[[], bool]) -> bytes:
        try:
            has_come = False
            while not has_come:
                has_come = self._connection.poll(_POLL_SECONDS)
                if is_left():  # also while one window comes after the other
                    raise LeftError
                if time.monotonic() > end:
                    raise TooSlowError(f"{job.name}: its decoder does not start")
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            self._process.join()
            raise DecodeError(
                f"{job.name}: the process that decoded it has died ({_exit_text(self._process.exitcode)}); nothing "
                "else is affected"
            ) from None


def _exit_text(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _handle_of(file: BinaryIO) -> int:
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.get_osfhandle(file.fileno())
    return file.fileno()


def work(parent: "connection.Connection[Any, Any]", memory_bytes: int) -> None:
    """Decode videos until the parent has ended; what this process does is to call it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, too, and ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _bound_memory(memory_bytes)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        parent.send_bytes(b"ready")
        while True:
            job = parent.recv()
            handle = reduction.recv_handle(parent)
            if sys.platform == "win32":
                import msvcrt

                handle = msvcrt.open_osfhandle(handle, os.O_RDONLY)
            with os.fdopen(handle, "rb") as file:
                _answer(job, file, parent)


def _end_with_parent() -> None:
    """End this process with its parent, whatever it decodes then."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _bound_memory(most_bytes: int) -> None:
    """Let this process take no more memory than so much beyond what it has; only Linux counts it."""
    status = Path("/proc/self/status")
    if sys.platform != "linux" or not status.is_file():
        return
    import resource

    held = next(int(line.split()[1]) for line in status.read_text("utf-8").splitlines() if line.startswith("VmData"))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held * 1024 + most_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))


def _answer(job: Job, file: BinaryIO, parent: "connection.Connection[Any, Any]") -> None:
    def say(**message: object) -> None:
        parent.send_bytes(json.dumps(message).encode())

    try:
        with open_video(file, name=job.name) as reader:
            _require_short(job, reader)
            spans = window_spans(job.windows, reader)
            _require_few(job, spans)
            for number, clips in clips_of_windows(reader, spans, job.specs, job.windows):
                if isinstance(clips, DecodeError):
                    say(kind="window", number=number, asked=spans[number], ends=0.0, missing=str(clips))
                    continue
                ends = clips[0].span.end_seconds
                say(kind="window", number=number, asked=spans[number], ends=ends, missing=None)
                for clip in clips:
                    parent.send_bytes(np.ascontiguousarray(clip.frames).view(np.uint8).reshape(-1).data)
        say(kind="end")
    except MemoryError:
        allowed = byte_size(MEMORY_BYTES)
        say(kind="error", reason=f"{job.name}: needs more memory than the {allowed} of a decoder")
    except SignprepError as error:
        say(kind="error", reason=str(error))


def _require_short(job: Job, reader: VideoReader) -> None:
    if reader.ends_after(job.max_seconds):
        raise DecodeError(
            f"{job.name}: lasts longer than {job.max_seconds:g} s, which is the most that is answered here; cut it, or "
            "ask for a larger --max-video-seconds"
        )


def _require_few(job: Job, spans: list[Span]) -> None:
    if len(spans) > MAX_ANSWERS:
        raise DecodeError(
            f"{job.name}: has {len(spans):,} windows at a stride of {job.windows.stride:g} s; at most "
            f"{MAX_ANSWERS:,} are answered here; choose a larger --stride"
        )
