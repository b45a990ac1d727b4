"""Where the pictures of `signprep live` come from: a camera, a stream on standard input, or a video file.

In: what a user names. Out: decoded frames and when each is shown, in seconds from the first one, as they come. A file
tells its end, and so the windows that `infer` lays over it; a camera and a stream do not.
"""

import errno
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av import VideoFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from signprep.inference.options import WindowOptions
from signprep.inference.videos.windows import window_spans
from signprep.pipeline.clips import Span, clipped_span
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.runtime.text import first_line
from signprep.pipeline.video.demux import ONE_FILE, packet_times, pixel_aspect_of
from signprep.pipeline.video.frame_times import USUAL_FRAME_RATE, MissingFrame
from signprep.pipeline.video.pyav_reader import open_video

STDIN = "-"
CAMERA_FORMATS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's way to cameras, by `sys.platform`."""
_FORMATS = (*CAMERA_FORMATS.values(), "lavfi")
"""What may be named with a colon, as v4l2:/dev/video2; lavfi makes pictures of its own, for trials without a camera."""


class LiveFrame(NamedTuple):
    """A frame, None if it is damaged, and from when on it is shown, in seconds from the first one."""

    frame: VideoFrame | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Source:
    """Pictures that come one by one."""

    name: str
    """What errors call it."""
    is_camera: bool
    pixel_aspect: Fraction
    """Width of a pixel, as stored, by its height."""
    frame_seconds: float
    """How long a frame is shown, where nothing else says it."""
    frames: Generator[LiveFrame]
    """Raises DecodeError where none comes after, though more were to come. A camera is closed with it, by the thread
    that reads it: that one may wait for a frame that never comes."""
    windows: Sequence[Span] | None
    """All windows of a file; None where the end is not known."""


@contextmanager
def opened_source(
    named: str, windows: WindowOptions, *, size: str | None = None, fps: float | None = None
) -> Iterator[Source]:
    """Give the source that a user names, which is closed after the block.

    Args:
        named: a number or a device for a camera, - for standard input, FORMAT:NAME for a device of FFmpeg, or a file.
        windows: which windows are asked about.
        size: WIDTHxHEIGHT, which a camera is asked for.
        fps: frames a second, which a camera is asked for.

    Raises:
        SignprepError: there is no such camera or file, it is in use, may not be read, or gives no video.
        DecodeError: a file is damaged at its start, or shorter than a window.
    """
    format_, name = _device_of(named)
    if format_ is None and named != STDIN:
        with _opened_file(Path(named), windows) as source:
            yield source
        return
    if format_ is None and sys.stdin.isatty():
        raise SignprepError(
            "standard input is a terminal; pipe a video in: ffmpeg ... -f mpegts - | signprep live --source -"
        )
    asked = {"video_size": size, "framerate": None if fps is None else f"{fps:g}"}
    options = {key: value for key, value in asked.items() if value is not None and format_ != "lavfi"}
    shown = named if format_ is not None else "standard input"
    try:
        container = av.open(
            name if format_ is not None else "pipe:0",
            format=format_,
            options=options if format_ is not None else ONE_FILE,
            metadata_errors="ignore",
        )
    except (FFmpegError, OSError, ValueError) as error:
        raise SignprepError(f"{shown}: {_why_not(error, format_)}") from error
    if not container.streams.video:
        container.close()
        raise SignprepError(f"{shown}: has no video stream")
    stream = container.streams.video[0]
    rate = stream.average_rate or stream.guessed_rate or Fraction(USUAL_FRAME_RATE)
    yield Source(
        name=shown,
        is_camera=format_ is not None,
        pixel_aspect=pixel_aspect_of(stream),
        frame_seconds=float(1 / rate),
        frames=_stream_frames(container, stream, shown, 1 / rate),
        windows=None,
    )


def _device_of(named: str) -> tuple[str | None, str]:
    """Return FFmpeg's format and name of a device, None for a file or standard input.

    Raises SignprepError for a number where cameras are not numbered.
    """
    prefix, colon, rest = named.partition(":")
    if colon and prefix in _FORMATS:
        return prefix, rest
    format_ = CAMERA_FORMATS.get(sys.platform)
    if named.isdecimal() and format_ is not None and not Path(named).exists():
        if format_ == "v4l2":
            return format_, f"/dev/video{named}"
        return format_, named if format_ == "avfoundation" else f"video={_dshow_name(int(named))}"
    if format_ == "v4l2" and (named.startswith("/dev/video") or Path(named).is_char_device()):
        return format_, named
    return None, named


def _dshow_name(number: int) -> str:
    cameras = cameras_here("dshow")
    if number >= len(cameras):
        raise SignprepError(f"{number}: there is no such camera; {_listed(cameras)}")
    return cameras[number]


def cameras_here(format_: str | None) -> list[str]:
    """Return the names of the cameras that can be named, as far as the system tells."""
    if format_ == "v4l2":
        return sorted(str(path) for path in Path("/dev").glob("video*"))
    try:
        return [device.name for device in av.enumerate_input_devices(format_)] if format_ is not None else []
    except (FFmpegError, OSError, ValueError, RuntimeError, AttributeError):
        return []


def _listed(cameras: Sequence[str]) -> str:
    return f"cameras here: {', '.join(cameras)}" if cameras else "this machine shows no camera"


def _why_not(error: Exception, format_: str | None) -> str:
    """Return why a camera or stream cannot be opened, and what to do."""
    reason = getattr(error, "strerror", None) or first_line(error)
    if format_ is None:
        return f"gives no video that can be read ({reason}); pipe in MPEG-TS or Matroska, as ffmpeg -f mpegts -"
    if isinstance(error, ValueError) and not isinstance(error, FFmpegError):
        return f"this PyAV has no {format_}; pipe the camera in: ffmpeg ... -f mpegts - | signprep live --source -"
    if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) in (errno.ENODEV, errno.ENXIO):
        return f"there is no such camera; {_listed(cameras_here(format_))}"
    if isinstance(error, PermissionError):
        advice = "add yourself to the group video (sudo usermod -aG video $USER) and log in again"
        return f"may not be read; {advice if format_ == 'v4l2' else 'allow this program to use the camera'}"
    if getattr(error, "errno", None) == errno.EBUSY:
        return "another program uses it; close that one"
    return f"cannot be opened as a camera ({reason})"


def _stream_frames(container: InputContainer, stream: VideoStream, name: str, step: Fraction) -> Generator[LiveFrame]:
    """Yield the frames of a device or stream until it ends."""
    first: int | None = None
    last, shift = -1, 0
    try:
        for packet, frame in _decoded(container, stream):
            pts = packet.pts if frame is None else frame.pts
            step_ns = round(step * 10**9)
            own = last + step_ns if pts is None or packet.time_base is None else round(pts * packet.time_base * 10**9)
            first = own if first is None else first
            seconds = own - first + shift
            if seconds <= last:  # a clock that was set back
                shift += last + step_ns - seconds
                seconds = last + step_ns
            last = seconds
            yield LiveFrame(None if frame is None or frame.is_corrupt else frame, seconds / 1e9)
    except (FFmpegError, OSError) as error:
        if isinstance(error, av.error.EOFError):
            return
        reason = getattr(error, "strerror", None) or first_line(error)
        raise DecodeError(f"{name}: gives no more pictures ({reason})") from error
    finally:
        container.close()


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[tuple[av.Packet, VideoFrame | None]]:
    """Yield each frame with its packet, None where a packet is damaged."""
    for packet in container.demux(stream):
        try:
            for frame in packet.decode():
                yield packet, frame
        except av.error.InvalidDataError:
            yield packet, None


@contextmanager
def _opened_file(path: Path, windows: WindowOptions) -> Iterator[Source]:
    if path.is_dir():
        raise SignprepError(
            f"{path}: is a folder; --source is one video, and `signprep infer --timeline` takes folders"
        )
    if not path.is_file():
        told = _listed(cameras_here(CAMERA_FORMATS.get(sys.platform)))
        raise SignprepError(f"{path}: there is no such video file; {told}")
    name = str(path)
    times = packet_times(path, name).starts_ns / 1e9

    def frames() -> Generator[LiveFrame]:
        last: VideoFrame | None = None
        for shown in reader.answers_at(times):
            if isinstance(shown, MissingFrame):
                yield LiveFrame(None, float(times[shown.time_index]))
            elif shown.frame is not last:  # VP9 has packets that show the frame before again
                last = shown.frame
                yield LiveFrame(last, shown.timestamp_seconds)

    with open_video(path, name=name) as reader:
        yield Source(
            name=name,
            is_camera=False,
            pixel_aspect=reader.pixel_aspect,
            frame_seconds=1 / USUAL_FRAME_RATE,
            frames=frames(),
            windows=[clipped_span(span, reader) for span in window_spans(windows, reader, is_live=True)],
        )
