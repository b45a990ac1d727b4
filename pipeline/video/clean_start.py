"""Where a video begins whose first packets cannot all be decoded.

A recording of a broadcast, or a cut stream, begins anywhere in a group of pictures: frames before its first key
frame are lost, and those shown before that one that were predicted from the group before. In: a way to open the video.
Out: the packet to begin with, and the time of the first frame that comes out. The trade-off: the first frames are
decoded once more, but only where the first packets leave a doubt.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from av.video.stream import VideoStream

from signprep.pipeline.errors import DecodeError
from signprep.pipeline.video.frame_times import LOOKAHEAD_PACKETS, CleanStart, PacketNumber
from signprep.pipeline.video.packets import READ_ERRORS, WITHOUT_LIST

_SEARCHED_PACKETS = 3000
"""A key frame that comes later is none to wait for: half a minute at a hundred frames a second."""

Reopen = Callable[[], tuple[InputContainer, VideoStream]]


_WAIT_FOR_KEY_FRAMES = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video"})
"""Codecs whose decoders give nothing before a frame that is whole, which need not be a key frame: pictures may be
renewed bit by bit. Others predict from grey."""
_MPEG2 = frozenset({"mpeg1video", "mpeg2video"})
_PREDICTED = frozenset({PictureType.P, PictureType.B, PictureType.S, PictureType.SP})
_MAKE_FRAMES_UP = frozenset(
    {"mpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "wmv3", "vc1", "rv10", "rv20"}
    | {"h261", "h263", "h263i", "h263p", "flv"}
)
"""Codecs whose decoders give grey frames in place of those that are missing, and say of these alone no kind."""


def stands_alone(frame: av.VideoFrame, codec: VideoCodecContext) -> bool:
    """Return True if a frame that comes out first is whole, and not predicted from others that are missing."""
    if frame.key_frame or codec.name in _WAIT_FOR_KEY_FRAMES:
        return True
    is_made_up = frame.pict_type == PictureType.NONE and codec.name in _MAKE_FRAMES_UP
    return not is_made_up and frame.pict_type not in _PREDICTED


def begins_with_a_key_frame(reopen: Reopen, container: InputContainer, codec_name: str) -> bool:
    """Return False if the first frame that comes out needs others, whatever the file calls its packet.

    Looked at only where decoders give such frames, or nothing in their place, and files are old and small: of H.264 and
    HEVC damage looks the same. Transport and program streams are not believed: FFmpeg looks at their pictures itself.
    """
    if codec_name not in _MAKE_FRAMES_UP | _MPEG2 or container.format.name in WITHOUT_LIST:
        return True
    container, stream = reopen()
    codec = stream.codec_context
    codec.copy_opaque = True
    with container:
        for number, packet in enumerate(chain(_packets(container, stream), (None,))):
            if packet is not None:
                if packet.is_discard and codec_name not in _MPEG2:
                    return True  # an edit list hides frames that are there, and that the first one needs
                packet.opaque = PacketNumber(number)
            try:
                frames = codec.decode(packet)
            except READ_ERRORS:
                return True  # damage, which hides what is shown until the next key frame
            if frames:
                return _number(frames[0]) == 0 and stands_alone(frames[0], codec)
    return True


class _Frame(NamedTuple):
    """What is kept of a decoded frame."""

    packet_number: int | None
    pts: int | None
    is_key: bool


@dataclass
class _Decoded:
    """What comes out of the decoder at the start of a video."""

    frames: list[_Frame] = field(default_factory=list)
    """From the first one on that stands alone."""
    damaged: set[int | None] = field(default_factory=set)
    """Numbers of packets that gave an error or a damaged frame."""
    has_others_before: bool = False
    """True if frames came out that need others, before the first that stands alone."""
    waits: bool = False
    """True if the decoder gives no such frames."""


def clean_start(reopen: Reopen, name: str) -> CleanStart:
    """Return where a video begins.

    A file may say wrongly that its first frame is no key frame: the decoder has the last word. Where there is no key
    frame at all, the first frame that comes out counts, if the decoder does not give such that need another one.

    Raises DecodeError, which calls the video by its name, if all frames need others that are missing.
    """
    found = _first_frames(reopen, 0)
    if not found.frames:
        if found.has_others_before:
            raise DecodeError(f"{name}: has no key frame to begin with: all its frames need others that are missing")
        return CleanStart(0, None)
    first = found.frames[0]
    if first.is_key and first.packet_number == 0:
        return CleanStart(0, first.pts)
    begin = _first_key_packet(reopen) if found.waits else first.packet_number or 0
    found = _first_frames(reopen, begin) if begin else found
    if not found.frames:
        return CleanStart(0, None)
    came_out = {frame.packet_number for frame in found.frames}
    return CleanStart(begin, found.frames[0].pts, _leading(begin, came_out, found.damaged))


def _leading(begin: int, came_out: set[int | None], damaged: set[int | None]) -> frozenset[int]:
    """Return the packets behind the first that give nothing because they refer back behind it.

    They follow the first at once, unless the picture is renewed bit by bit: what is missing later is damage.
    """
    numbers = range(begin, begin + LOOKAHEAD_PACKETS)
    silent = [number for number in numbers if number not in came_out | damaged]
    if begin in came_out:
        silent = [number for place, number in enumerate(silent, start=begin + 1) if number == place]
    return frozenset(silent)


def _first_key_packet(reopen: Reopen) -> int:
    container, stream = reopen()
    with container:
        return next((number for number, packet in enumerate(_packets(container, stream)) if packet.is_keyframe), 0)


def _first_frames(reopen: Reopen, begin: int) -> _Decoded:
    """Return the first whole frames that come out if the decoder is given the packets from that number on."""
    container, stream = reopen()
    codec = stream.codec_context
    codec.copy_opaque = True
    found, last = _Decoded(waits=codec.name in _WAIT_FOR_KEY_FRAMES), _SEARCHED_PACKETS
    with container:
        for number, packet in enumerate(chain(_packets(container, stream), (None,))):
            if packet is not None:
                packet.opaque = PacketNumber(number)
            try:
                frames = codec.decode(packet) if number >= begin or packet is None else []
            except READ_ERRORS:
                found.damaged.add(number)
                continue
            for frame in frames:
                if frame.is_corrupt:
                    found.damaged.add(_number(frame))
                elif found.frames or stands_alone(frame, codec):
                    last = last if found.frames else number + 2 * LOOKAHEAD_PACKETS
                    found.frames.append(_Frame(_number(frame), frame.pts, frame.key_frame))
                else:
                    found.has_others_before = True
            if number >= last:
                break
    return found


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    try:
        yield from islice((packet for packet in container.demux(stream) if packet.size), _SEARCHED_PACKETS)
    except READ_ERRORS:
        return


def _number(frame: av.VideoFrame) -> int | None:
    return frame.opaque.number if isinstance(frame.opaque, PacketNumber) else None
