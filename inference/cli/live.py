"""The command `live`."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signprep.inference.cli.infer import recognizer_of
from signprep.inference.options import (
    PER_CLIP,
    PER_VIDEO,
    TIMELINE_CLIP_SECONDS,
    TIMELINE_STRIDE_SECONDS,
    ModelOptions,
    TimelineOptions,
    WindowOptions,
)
from signprep.pipeline.cli.next_step import as_typed, free_path, next_step
from signprep.pipeline.cli.options import command, note_unused, reject_unused
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.options import Options, machine_option, option, output_option
from signprep.pipeline.runtime.installation import require_extra

if TYPE_CHECKING:
    from signprep.inference.videos.live.session import Listener


@dataclass(frozen=True, kw_only=True)
class LiveInput(Options, group="Data"):
    """The camera, stream or file that is watched, and the model."""

    source: str = option(
        "0",
        "Watch this camera (a number, /dev/video2, avfoundation:1, dshow:video=NAME), - for a stream on standard "
        "input, or a video file.",
    )
    real_time: bool = option(
        False, "Play a file at its speed, and drop frames of a file or stream that come late, as those of a camera are."
    )
    camera_size: str | None = option(None, "Ask the camera for pictures of this size.", metavar="WIDTHxHEIGHT")
    camera_fps: float | None = option(None, "Ask the camera for so many pictures a second.", above=0)
    model: ModelOptions
    precision: str = machine_option("32", "Compute with this precision.", choices=("32", "16-mixed", "bf16-mixed"))


@dataclass(frozen=True, kw_only=True)
class LiveWindows(Options, group="Windows"):
    """The windows that are laid over the stream."""

    clip_duration: float = option(TIMELINE_CLIP_SECONDS, "Make windows of so many seconds.", above=0)
    stride: float = option(TIMELINE_STRIDE_SECONDS, "Move windows by so many seconds.", above=0)
    landmark_tracking: str = option(
        PER_VIDEO,
        "Follow landmarks from frame to frame (video), or find them in each window anew (clip).",
        choices=(PER_CLIP, PER_VIDEO),
    )

    def windows(self) -> WindowOptions:
        """Return them as those of a video."""
        return WindowOptions(
            clip_duration=self.clip_duration, stride=self.stride, landmark_tracking=self.landmark_tracking
        )


@dataclass(frozen=True, kw_only=True)
class LiveOutput(Options, group="Output"):
    """Where the signs go, as they come."""

    as_json: bool = option(False, "Print windows and signs as JSON, an object a line.", name="--json")
    srt: Path | None = option(None, "Write the signs to this .srt file as they come.", metavar="FILE")
    vtt: Path | None = option(None, "Write the signs to this .vtt file as they come.", metavar="FILE")
    overwrite: bool = option(False, "Replace the files of --srt and --vtt if they are there.")
    preview: bool = option(False, "Show pictures and signs on a page of this machine, at an address that is printed.")
    port: int = output_option(
        0, "Serve the page of --preview at this port; 0 takes a free one.", minimum=0, maximum=65535
    )


@command("live", "Say which signs a camera sees, as they are made.")
def live(source: LiveInput, windows: LiveWindows, timeline: TimelineOptions, output: LiveOutput) -> None:
    """Say which signs a camera, a stream or a file shows, as they are made.

    Each sign is a line: when, which, how sure. A file is answered as by infer --timeline. Ctrl-C ends it.

    \b
    Examples:
      signprep live --checkpoint best.ckpt
      signprep live --checkpoint best.ckpt --source /dev/video2 --camera-size 640x480 --preview
      signprep live --checkpoint best.ckpt --source talk.mp4 --real-time --vtt talk.vtt
      ffmpeg -i rtsp://camera/1 -f mpegts - | signprep live --checkpoint best.ckpt --source - --real-time --json
    """
    if not output.preview:
        reject_unused(["port"], "--preview")
    if output.srt is None and output.vtt is None:
        reject_unused(["overwrite"], "--srt or --vtt")
    for path, suffix in ((output.srt, ".srt"), (output.vtt, ".vtt")):
        if path is not None and path.suffix.lower() != suffix:
            raise click.UsageError(f"{path}: the name of such subtitles must end in {suffix}")
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.inference.videos.live.outputs import require_new
    from signprep.inference.videos.live.session import LiveOptions, run_live
    from signprep.inference.videos.live.sources import opened_source

    asked = LiveOptions(windows=windows.windows(), timeline=timeline, real_time=source.real_time)
    for path in (output.srt, output.vtt):
        if path is not None:
            require_new(path, overwrite=output.overwrite)
    with ExitStack() as stack:
        recognizer = recognizer_of(source.model, source.precision)
        if all(spec.content != "landmarks" for spec in recognizer.clip_specs):
            note_unused(["landmark_tracking"], "a checkpoint of landmarks")
        size, fps = source.camera_size, source.camera_fps
        opened = stack.enter_context(opened_source(source.source, asked.windows, size=size, fps=fps))
        if not opened.is_camera:
            note_unused(["camera_size", "camera_fps"], "a camera")
        listeners = list(_listeners(output, stack))
        is_stopped = stack.enter_context(_stopped_by_key())
        if opened.is_camera:
            echo(f"watching {opened.name}; Ctrl-C ends", err=True)
        run_live(
            recognizer, opened, asked, listeners, is_stopped=is_stopped.is_set, say=lambda line: echo(line, err=True)
        )
    if not output.as_json:
        _propose(source.source, is_file=opened.windows is not None)


def _propose(source: str, *, is_file: bool) -> None:
    if is_file:
        subtitles = free_path(Path(f"{Path(source).stem}.eaf"))
        next_step("infer", Path(source), *as_typed(ModelOptions), *as_typed(TimelineOptions), "--subtitles", subtitles)
    else:
        next_step("live", "--help")


def _listeners(output: LiveOutput, stack: ExitStack) -> "Iterator[Listener]":
    """Yield what takes windows and signs; the stack closes it."""
    from signprep.inference.videos.live.outputs import Figures, JsonLines, SignLines, growing_subtitles

    yield JsonLines(echo) if output.as_json else SignLines(echo)
    yield Figures(lambda line: echo(line, err=True))
    for path in (output.srt, output.vtt):
        if path is not None:
            yield stack.enter_context(growing_subtitles(path, overwrite=output.overwrite))
    if output.preview:
        from signprep.inference.videos.live.preview import served_preview

        preview = stack.enter_context(served_preview(output.port))
        echo(f"preview: {preview.url}", err=True)
        yield preview


@contextmanager
def _stopped_by_key() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C sets, so that what is begun is told; the second one stops at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def on_key(number: int, frame: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = signal.signal(signal.SIGINT, on_key)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)
