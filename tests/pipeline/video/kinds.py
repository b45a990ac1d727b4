"""Videos of every kind that the muxers allow: containers x codecs x timing, each frame telling its number.

A `Kind` is written by `write_kind`, which returns when each frame starts, as far as the container can keep it. What a
muxer or an encoder refuses raises `RefusedError`: such a combination does not exist.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from tests.generated_videos import numbered_frame, ordinary_priority

CONTAINERS = {
    "mp4": (".mp4", "mp4"), "mov": (".mov", "mov"), "mkv": (".mkv", "matroska"), "webm": (".webm", "webm"),
    "avi": (".avi", "avi"), "ts": (".ts", "mpegts"), "mpg": (".mpg", "mpeg"), "vob": (".vob", "vob"),
    "flv": (".flv", "flv"), "3gp": (".3gp", "3gp"),
}  # fmt: skip
"""File suffix and FFmpeg's name of the muxer."""

CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", {"x264-params": "keyint=250:bframes=0:scenecut=0", "crf": "18"}),
    "h264 B": ("libx264", {"x264-params": "keyint=250:bframes=3:b-pyramid=normal:scenecut=0", "crf": "18"}),
    "h264 interlaced": ("libx264", {"x264-params": "keyint=30:bframes=2:interlaced=1", "crf": "18"}),
    "hevc B": ("libx265", {"x265-params": "log-level=none:keyint=250:bframes=3", "crf": "18"}),
    "mpeg1": ("mpeg1video", {"bf": "0", "g": "12", "b": "2M"}),
    "mpeg2 B": ("mpeg2video", {"bf": "2", "g": "12", "b": "2M"}),
    "mpeg4": ("mpeg4", {"bf": "0", "g": "12", "b": "2M"}),
    "mpeg4 B": ("mpeg4", {"bf": "2", "g": "250", "b": "2M"}),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "1M"}),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}),
    "av1": ("libsvtav1", {"preset": "12", "b": "4M", "svtav1-params": "keyint=250"}),
    "mjpeg": ("mjpeg", {"q": "2"}),
}  # fmt: skip

TIMINGS = (
    "constant",
    "variable",
    "offset",
    "edit list",
    "held last",
    "one frame",
    "equal times",
    "gap",
    "late last",
    "late by 5",
)

RATE = 30
NUM_FRAMES = 40
FRAME_SECONDS = 1 / RATE
DECODE_TIMES_ONLY = frozenset({"avi"})
"""Containers without times of presentation: every frame lasts a whole number of the stream's frame lengths."""
KEEPS_DURATIONS = frozenset({"mp4", "mov", "mkv", "webm", "3gp"})
"""Containers that tell how long the last frame is shown."""
EDIT_LISTS = frozenset({"mp4", "mov", "3gp"})
HELD_SECONDS = 0.5
CUT_FRAMES = 5
"""Frames that an edit list leaves out at the start."""


class RefusedError(Exception):
    """The muxer or the encoder does not make such a file."""


class Kind(NamedTuple):
    """One combination."""

    container: str
    codec: str
    timing: str

    def __str__(self) -> str:
        return "-".join(self).replace(" ", "_")


class Written(NamedTuple):
    """A file, and the truth about it."""

    path: Path
    starts: list[float]
    """Seconds at which each frame starts, from the first presented one, ascending."""
    numbers: list[int]
    """The number that each frame shows."""
    end_seconds: float
    """End of the last frame, as far as the container keeps it."""


def kinds() -> Iterator[Kind]:
    """All combinations, those too that a muxer refuses."""
    for container in CONTAINERS:
        for codec in CODECS:
            for timing in TIMINGS:
                yield Kind(container, codec, timing)


def times_of(timing: str) -> list[float]:
    """Return when each frame starts, in seconds."""
    steps = [FRAME_SECONDS] * (0 if timing == "one frame" else NUM_FRAMES - 1)
    if timing == "variable":
        steps = [FRAME_SECONDS * (1 + number * 7 % 4) for number in range(NUM_FRAMES - 1)]
    elif timing == "gap":
        steps[20] = 3.0
    elif timing == "late last":
        steps[-1] = 3.0
    elif timing == "late by 5":
        steps[-1] = 5 * FRAME_SECONDS
    times = [1.0 if timing == "offset" else 0.0]
    for step in steps:
        times.append(times[-1] + step)
    return times


def keeps_durations(kind: Kind) -> bool:
    """Whether it can be known how long the last frame is shown: FFmpeg's parsers of some codecs overrule containers."""
    overruled = kind.container not in ("mkv", "webm") and kind.codec in ("mpeg1", "mpeg2 B", "vp9")
    return kind.container in KEEPS_DURATIONS and not overruled


@ordinary_priority()
def write_kind(folder: Path, kind: Kind) -> Written:
    """Write a video of this kind. Raises RefusedError if there is none."""
    if kind.timing == "edit list" and kind.container not in EDIT_LISTS:
        raise RefusedError("the container has no edit lists")
    if kind.timing == "edit list" and kind.codec == "mpeg1":
        raise RefusedError("the muxer's edit begins one frame early")
    if kind.timing == "offset" and kind.container in DECODE_TIMES_ONLY:
        raise RefusedError("the container begins at 0")
    if kind.timing == "one frame" and kind.container == "ts" and kind.codec in ("mpeg1", "mpeg2 B"):
        raise RefusedError("FFmpeg takes a file as short as this for a bare stream")
    if kind.timing in ("variable", "gap", "late last", "late by 5") and kind.container in ("mpg", "vob"):
        raise RefusedError("program streams tell the time of some frames only: their rate is constant")
    suffix, muxer = CONTAINERS[kind.container]
    codec, options = CODECS[kind.codec]
    path = folder / f"{kind}{suffix}"
    times = times_of(kind.timing)
    try:
        packets = _encoded(codec, options, times)
    except (av.error.FFmpegError, ValueError) as error:
        raise RefusedError(str(error)) from error
    late = any(packet.pts != packet.dts for packet in packets[0])
    if late and kind.container in DECODE_TIMES_ONLY and kind.timing in ("variable", "gap", "late last", "late by 5"):
        raise RefusedError("where only decode times are kept, steps between reordered frames are lost")
    if kind.timing == "equal times" and late:
        raise RefusedError("equal times are made of frames that are not reordered")
    if kind.timing == "held last" and packets[0][-1].pts != max(packet.pts or 0 for packet in packets[0]):
        raise RefusedError("a container knows the length of the packet that is decoded last")
    try:
        _mux(path, muxer, *packets, kind)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise RefusedError(str(error)) from error
    return _truth(path, times, kind)


TICKS = 90_000


def _encoded(codec: str, options: dict[str, str], times: list[float]) -> tuple[list[av.Packet], av.VideoCodecContext]:
    base = Fraction(1, RATE if codec.startswith("mpeg") else TICKS)
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 160, 96, "yuv420p"
    if codec == "mjpeg":
        context.pix_fmt = "yuvj420p"
    context.time_base, context.framerate, context.options, context.thread_count = base, Fraction(RATE), options, 1
    packets = []
    for number, seconds in enumerate(times):
        image = numbered_frame(number, context.width, context.height)
        frame = av.VideoFrame.from_ndarray(image, format="yuv420p").reformat(format=context.pix_fmt)
        frame.pts, frame.time_base = round(seconds / base), base
        packets += context.encode(frame)
    packets += context.encode()
    return packets, context


def _mux(path: Path, muxer: str, packets: list[av.Packet], encoder: av.VideoCodecContext, kind: Kind) -> None:
    base = packets[0].time_base
    assert base is not None
    options = {}
    if kind.timing == "edit list":
        options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    if kind.timing == "offset":
        options = {"avoid_negative_ts": "disabled"}
    with av.open(str(path), "w", format=muxer, options=options) as container:
        stream = container.add_stream(encoder.name, rate=RATE, options=dict(CODECS[kind.codec][1]))
        stream.width, stream.height, stream.pix_fmt = encoder.width, encoder.height, encoder.pix_fmt
        stream.codec_context.time_base = base
        stream.codec_context.thread_count = 1
        container.start_encoding()
        if encoder.extradata:
            stream.codec_context.extradata = encoder.extradata
        last = max(packets, key=lambda packet: packet.pts or 0)
        for number, packet in enumerate(packets):
            packet.stream = stream
            packet.time_base = base
            if kind.timing == "equal times" and number % 2 and packet.pts is not None:
                packet.pts = packet.dts = packets[number - 1].pts
            if kind.timing == "edit list" and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = (
                    packet.pts - round(CUT_FRAMES / RATE / base),
                    packet.dts - round(CUT_FRAMES / RATE / base),
                )
            packet.duration = round(FRAME_SECONDS / base)
            if packet is last and kind.timing == "held last":
                packet.duration = round(HELD_SECONDS / base)
            container.mux(packet)


def _truth(path: Path, times: list[float], kind: Kind) -> Written:
    starts, numbers = times, list(range(len(times)))
    if kind.timing == "equal times":
        starts, numbers = starts[::2], numbers[1::2]
    if kind.timing == "edit list":
        starts, numbers = starts[CUT_FRAMES:], numbers[CUT_FRAMES:]
    starts = [start - starts[0] for start in starts]
    held = kind.timing == "held last" and keeps_durations(kind)
    return Written(path, starts, numbers, starts[-1] + (HELD_SECONDS if held else FRAME_SECONDS))
