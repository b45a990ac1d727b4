"""A video file's container: its video stream, its packets' times without decoding, and an MP4's boxes.

In: a path, or a seekable binary file such as a member of a zip file. Out: a stream to decode, and times. The
trade-off: the end of a video is read from all its packets, since the container may be wrong by seconds; that costs a
pass over the file, but no decoding.

The boxes say two things that FFmpeg does not tell before it decodes: the display matrix, and whether the index is
there at all. Only the boxes needed for that are read, a few hundred bytes; anything odd gives None rather than an
error, because FFmpeg has the last word on what is readable. Source: ISO/IEC 14496-12.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.clean_start import begins_with_a_key_frame, clean_start
from signprep.pipeline.video.frame_times import CleanStart, number_of
from signprep.pipeline.video.packets import READ_ERRORS, PacketQueue, reason_of

MAX_FRAME_PIXELS = 8192 * 8192
"""Frames larger than this are refused before memory is taken for them."""


SQUARE = Fraction(1)
"""The aspect of a pixel as wide as high."""

MAX_PIXEL_ASPECT = 8
"""Pixels that claim to be longer are a mistake."""

_PLAYLISTS = frozenset({"applehttp", "concat", "dash", "hls", "imf", "rtp", "rtsp", "sap", "sdp", "vobsub"})
"""Formats that name other files or addresses. What is read must be the file that is hashed, and nobody else's."""
_PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat version")
ONE_FILE = {"format_whitelist": ",".join(sorted(name for name in av.formats_available if name not in _PLAYLISTS))}
"""Options of FFmpeg, under which no playlist opens."""
_NO_OTHER_FILES = {"protocol_whitelist": "none"}
"""Of a file object, which may come from anybody."""

ERROR_DETECTION = "crccheck+bitstream+buffer+explode+careful"
"""FFmpeg's checks that no file seen in the wild fails for nothing. `compliant` and `aggressive` found nothing more in
CABAC streams, and might refuse what odd encoders write."""

MP4_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"})
"""One of these begins an MP4 or MOV."""

GET_AGAIN = "; get the file again"
"""The end of a message about a file whose bytes are to blame."""


class FileView:
    """A file object as PyAV reads it, with its own position, so that several containers can share the file."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Read from this view's position."""
        try:
            self._source.seek(self._position)
            data = self._source.read(size)
        except Exception as error:
            # A member of a zip file fails in its own ways (BadZipFile, zlib.error, EOFError); all are read errors here.
            raise OSError(f"cannot be read: {error}") from error
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move this view's position."""
        if whence == 0:
            self._position = offset
        elif whence == 1:
            self._position += offset
        else:
            try:
                self._position = self._source.seek(offset, whence)
            except Exception as error:
                raise OSError(f"cannot be read: {error}") from error
        return self._position

    def tell(self) -> int:
        """Return this view's position."""
        return self._position


def video_name(source: object, name: str | None) -> str:
    """Return a video's name for errors."""
    return name if name is not None else str(source if isinstance(source, Path) else getattr(source, "name", "video"))


def open_stream(source: Path | BinaryIO, name: str, *, decodes: bool = True) -> tuple[InputContainer, VideoStream]:
    """Open a container and choose its first video stream that is no attached picture.

    FFmpeg decodes pictures to learn about a stream, 15 ms of a 1080p file. An MP4's index says it all, so there it is
    told not to; other containers, and decoders that are not told how far frames are reordered, need it.

    Args:
        source: the video.
        name: its name in errors.
        decodes: False if frames are not going to be decoded, so that packets and the header are enough.
    """
    if _begins_as_mp4(source):
        container, stream = _open_stream(source, name, _WITHOUT_DECODING)
        if "mp4" in container.format.name and not (decodes and not stream.codec_context.has_b_frames):
            return container, stream
        container.close()
    return _open_stream(source, name, [])


def _begins_as_mp4(source: Path | BinaryIO) -> bool:
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
            file.seek(0)
            return file.read(8)[4:] in MP4_FIRST_BOXES
    except Exception:
        return False  # FFmpeg's word on what cannot be read is better


_WITHOUT_DECODING: list[Any] = [{"skip_frame": "all"}] * 64
"""Options for the first 64 streams of a file. PyAV takes dictionaries, whatever its type hints say."""


def _open_stream(source: Path | BinaryIO, name: str, stream_options: list[Any]) -> tuple[InputContainer, VideoStream]:
    try:
        # Names and tags in the wild are cp949 as often as UTF-8, and never needed here.
        container = av.open(
            # Absolute: a relative name with a colon would be taken for a protocol.
            str(source.absolute()) if isinstance(source, Path) else FileView(source),
            "r",
            metadata_errors="ignore",
            options={"max_pixels": str(MAX_FRAME_PIXELS)}
            | ONE_FILE
            | ({} if isinstance(source, Path) else _NO_OTHER_FILES),
            stream_options=stream_options,
        )
    except READ_ERRORS as error:
        raise DecodeError(f"{name}: {_why_closed(source, error)}") from error
    attached = av.stream.Disposition.attached_pic
    stream = next((s for s in container.streams.video if not s.disposition & attached), None)
    problem = None
    if stream is None:
        problem = "has no video stream"
    elif stream.codec_context is None:
        problem = "there is no decoder for its video stream"
    elif stream.codec_context.width * stream.codec_context.height > MAX_FRAME_PIXELS:
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
        problem = f"frames of {size} are over the limit of {MAX_FRAME_PIXELS} pixels"
    if problem is not None or stream is None:
        container.close()
        raise DecodeError(f"{name}: {problem}")
    stream.codec_context.thread_count = 1
    # Probing a file must not allocate more than decoding it, and neither must a size that changes midway.
    stream.codec_context.options = {"err_detect": ERROR_DETECTION, "max_pixels": str(MAX_FRAME_PIXELS)}
    return container, stream


def _why_closed(source: Path | BinaryIO, error: BaseException) -> str:
    """Return why a file does not open, and what to do where its bytes are to blame."""
    unopened, missing = f"does not open as a video ({reason_of(error)})", None
    with suppress(Exception), source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
        file.seek(0)
        if file.read(64).startswith(_PLAYLIST_STARTS):
            return "is a playlist, which names other files; make it one file: ffmpeg -i FILE -c copy NEW.mp4"
        num_bytes = file.seek(0, 2)
        missing = missing_index(mp4_boxes(file), num_bytes) if num_bytes else "the file is empty"
    return f"{missing or unopened}{GET_AGAIN}" if isinstance(error, av.error.InvalidDataError) else unopened


@dataclass(frozen=True, kw_only=True)
class PacketTimes:
    """The times at which the frames of a video are shown, from its packets alone."""

    starts_ns: NDArray[np.int64]
    """In nanoseconds from the first presented frame, ascending."""
    duration_seconds: float
    """End of the last presented frame."""
    cut: str | None
    """The reason why the file ends too early, or None if it is whole as far as its packets tell."""
    cut_ns: int
    """The time before which every frame is known, if the file was cut off."""
    ends_early: str | None
    """The reason why packets that are there are not read, such as a clock that starts again; None for all others."""
    num_left_out: int
    """Frames before the first one that can be decoded."""
    first_pts: int
    """Timestamp of time 0, in units of the stream's time base."""
    tell_order: bool
    """True if a frame is decoded before one that is shown earlier: times are then not those of decoding."""

    def from_later(self, seconds: float) -> Self:
        """Return the times from a frame that starts so much later."""
        starts = self.starts_ns - round(seconds * 1e9)
        return replace(
            self,
            starts_ns=starts[starts >= 0],
            duration_seconds=self.duration_seconds - seconds,
            cut_ns=self.cut_ns - round(seconds * 1e9),
            num_left_out=self.num_left_out + int((starts < 0).sum()),
        )


def pixel_aspect_of(stream: VideoStream | VideoCodecContext) -> Fraction:
    """Return the width of a pixel in parts of its height; square ones where the file tells nothing that can be."""
    aspect = stream.sample_aspect_ratio
    return aspect if aspect and 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else SQUARE


def packet_times(source: Path | BinaryIO, name: str, start: CleanStart | None = None) -> PacketTimes:
    """Read all packets of a video. Raises DecodeError if there are none, or none to begin with.

    `start` is where it begins, if that is known from its frames.
    """
    container, stream = open_stream(source, name, decodes=False)
    with container:
        packets = PacketQueue(container, stream, source, name)
        reopen, codec_name = partial(open_stream, source, name), stream.codec_context.name
        if start is not None or packets.is_start_in_doubt or not begins_with_a_key_frame(reopen, container, codec_name):
            packets.begin_at(start or clean_start(reopen, name))
        starts: list[int] = []
        tell_order = False
        last_pts, last_duration = None, 0
        while packets:
            packet = packets.popleft()
            if packet.pts is None or packet.is_discard:
                continue
            tell_order |= not number_of(packet).is_latest
            if number_of(packet).has_own_frame:
                starts.append(packet.pts)
                if last_pts is None or packet.pts >= last_pts:
                    last_pts, last_duration = packet.pts, packet.duration or 0
            elif last_pts is not None and packet.pts > last_pts:  # the second field of the last frame
                last_duration = packet.pts - last_pts + (packet.duration or 0)
        if not packets.tells_presentation:
            starts, last_duration = packets.places(), packets.frame_ticks()
        if not starts:
            raise DecodeError(f"{name}: its video stream is empty ({packets.cut or 'no packet has a timestamp'})")
        starts.sort()
        last_duration = last_duration or packets.frame_ticks()
        return PacketTimes(
            starts_ns=np.array([packets.to_ns(pts) for pts in starts], np.int64),
            duration_seconds=packets.to_ns(starts[-1] + last_duration) / 1e9,
            cut=packets.cut,
            cut_ns=packets.cut_ns(),
            ends_early=packets.ends_early,
            num_left_out=packets.num_left_out,
            first_pts=packets.first_pts,
            tell_order=tell_order,
        )


def whole_duration_seconds(times: PacketTimes, name: str) -> float:
    """Return the end of the last frame. Raises DecodeError if the file was cut off, so that its end is not known."""
    if times.cut is not None:
        raise DecodeError(f"{name}: truncated or damaged at {times.cut_ns / 1e9:.3f} s ({times.cut})")
    return times.duration_seconds


_MAX_BOXES = 4096
_MATRIX = struct.Struct(">9i")


class _Box(NamedTuple):
    kind: bytes
    start: int
    """Start and end are those of the contents."""
    end: int


@dataclass(frozen=True, kw_only=True)
class Mp4Boxes:
    """The facts that are read from the boxes of a file."""

    has_index: bool
    """A `moov` box; without one nothing can be decoded."""
    orientation: str | None
    """`90`, `180` or `270` degrees clockwise, with `mirrored ` before it for reflections; None if shown as stored."""


def mp4_boxes(file: Path | BinaryIO) -> Mp4Boxes | None:
    """Read the boxes of an MP4 or MOV; None for other files."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return mp4_boxes(opened)
    num_bytes = file.seek(0, 2)
    top = list(_boxes(file, 0, num_bytes))
    if not top or top[0].kind not in MP4_FIRST_BOXES:
        return None
    index = next((box for box in top if box.kind == b"moov"), None)
    if index is None:
        return Mp4Boxes(has_index=False, orientation=None)
    for track in _boxes(file, index.start, index.end):
        if track.kind == b"trak" and _handler(file, track) == b"vide":
            return Mp4Boxes(has_index=True, orientation=_orientation(file, track))
    return Mp4Boxes(has_index=True, orientation=None)


def missing_index(boxes: Mp4Boxes | None, num_bytes: int) -> str | None:
    """Return a message if this is an MP4 or MOV that ends before its index, else None."""
    if boxes is None or boxes.has_index:
        return None
    return f"is cut off: no index (moov) in its {num_bytes:,} bytes"


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    for _ in range(_MAX_BOXES):
        if start + 8 > end:  # also of a size that no file has
            return
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return
        size, kind, body = int.from_bytes(header[:4]), header[4:8], start + 8
        if size == 1:
            size, body = int.from_bytes(header[8:16]), start + 16
        elif size == 0:
            size = end - start
        if size < body - start:
            return
        yield _Box(kind, body, min(end, start + size))
        start += size


def _handler(file: BinaryIO, track: _Box) -> bytes | None:
    for media in _boxes(file, track.start, track.end):
        if media.kind == b"mdia":
            for box in _boxes(file, media.start, media.end):
                if box.kind == b"hdlr":
                    file.seek(box.start + 8)
                    return file.read(4)
    return None


def _orientation(file: BinaryIO, track: _Box) -> str | None:
    header = next((box for box in _boxes(file, track.start, track.end) if box.kind == b"tkhd"), None)
    if header is None:
        return None
    file.seek(header.start)
    body = file.read(min(256, header.end - header.start))
    offset = 52 if body[:1] == b"\x01" else 40
    if len(body) < offset + _MATRIX.size:
        return None
    a, b, _, c, d, *_ = _MATRIX.unpack_from(body, offset)
    return orientation_of(a, b, c, d)


def orientation_of(a: int, b: int, c: int, d: int) -> str | None:
    """Name the orientation of a display matrix.

    >>> orientation_of(0, 65536, -65536, 0)
    '90'
    >>> orientation_of(65536, 0, 0, 65536) is None
    True
    """
    mirrored = a * d - b * c < 0
    degrees = round(math.degrees(math.atan2(b, a))) % 360 if a or b else 0
    if not degrees and not mirrored:
        return None
    return f"mirrored {degrees}" if mirrored else str(degrees)
