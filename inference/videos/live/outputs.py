"""What `signprep live` tells: a line a sign or JSON lines on stdout, figures on stderr, and subtitles that grow."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.timeline.subtitles import subtitle_part
from signprep.inference.videos.live.recognizer import LiveAnswer
from signprep.inference.videos.live.session import Listener, Statistics
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.atomic_files import require_writable
from signprep.pipeline.runtime.text import counted, json_text

FIGURES_SECONDS = 10.0
"""Time between two lines of figures."""


class SignLines(Listener):
    """A line for each sign: when, which, how sure."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def sign(self, sign: TimelineSegment) -> None:
        """Write the line."""
        self._write(f"{_clock(sign.start_seconds)} - {_clock(sign.end_seconds)}  {sign.gloss}  {sign.confidence:.2f}")


class JsonLines(Listener):
    """A JSON object a line for each window and each sign."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def window(self, answer: LiveAnswer, latency_seconds: float) -> None:
        """Write the line of a window."""
        document = {
            "type": "window",
            "start_time": answer.span.start_seconds,
            "end_time": answer.span.end_seconds,
            "predicted_class_name": answer.gloss,
            "confidence": answer.confidence,
            "latency_seconds": round(latency_seconds, 6),
        }
        self._write(json_text(document, indent=None))

    def sign(self, sign: TimelineSegment) -> None:
        """Write the line of a sign, as in the timeline of `infer`."""
        self._write(json_text({"type": "sign"} | sign.to_dict(), indent=None))

    def end(self, statistics: Statistics) -> None:
        """Write the last line."""
        self._write(json_text({"type": "end"} | statistics.to_dict(), indent=None))


class Figures(Listener):
    """A line of figures now and then, and one at the end."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._next = say, time.monotonic() + FIGURES_SECONDS

    def statistics(self, statistics: Statistics) -> None:
        """Say the line, if it is time."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + FIGURES_SECONDS
            self._say(figures(statistics))

    def end(self, statistics: Statistics) -> None:
        """Say the last line."""
        self._say(figures(statistics))


def figures(statistics: Statistics) -> str:
    """Return the figures of a session as one line."""
    parts = [
        f"{counted(statistics.frames, 'frame')} in {statistics.seconds:.1f} s",
        f"{statistics.dropped_frames:,} dropped",
    ]
    if statistics.damaged_frames:
        parts.append(f"{statistics.damaged_frames:,} damaged")
    parts.append(counted(statistics.windows, "window"))
    if statistics.late_windows:
        parts.append(f"{statistics.late_windows:,} left out")
    parts.append(counted(statistics.signs, "sign"))
    half, most = statistics.latency(50), statistics.latency(99)
    if half is not None and most is not None:
        parts.append(f"latency {1000 * half:.0f} ms, 99 % within {1000 * most:.0f} ms")
    return ", ".join(parts)


class GrowingSubtitles(Listener):
    """Subtitles that are whole after each sign: what `infer --subtitles` would have written of the signs so far."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor, self._number = path, descriptor, 0
        self._write(subtitle_part(path.suffix.lower(), 0, None))

    def sign(self, sign: TimelineSegment) -> None:
        """Append the sign, in one write."""
        self._number += 1
        self._write(subtitle_part(self._path.suffix.lower(), self._number, sign))

    def _write(self, text: str) -> None:
        data = text.encode("utf-8")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise SignprepError(f"{self._path}: cannot be written ({error.strerror})") from error


def require_new(path: Path, *, overwrite: bool) -> None:
    """Raise SignprepError unless a file can be made at this path, where none is or one may be replaced."""
    require_writable(path)
    if os.path.lexists(path) and not overwrite:
        raise SignprepError(f"{path}: is there already; choose another name, or --overwrite to replace it")


@contextmanager
def growing_subtitles(path: Path, *, overwrite: bool) -> Iterator[GrowingSubtitles]:
    """Open a new .srt or .vtt file for the block. Raises SignprepError if it is there, or cannot be written."""
    require_new(path, overwrite=overwrite)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise SignprepError(f"{path}: cannot be written ({error.strerror})") from error
    try:
        yield GrowingSubtitles(path, descriptor)
    finally:
        os.close(descriptor)


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds, 2), 60)
    return f"{int(minutes) // 60:02d}:{int(minutes) % 60:02d}:{left:05.2f}"
