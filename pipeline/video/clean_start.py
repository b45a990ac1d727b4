"""Where a video begins whose first packets cannot all be decoded.

A recording of a broadcast, or a cut stream, begins anywhere in a group of pictures: frames before its first key
frame are lost, and those shown before that one that were predicted from the group before. In: a way to open the video.
Out: the packet to begin with, and the time of the first frame that comes out. The trade-off: the first frames are
decoded once more, but only where the first packets leave a doubt.
"""

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from signprep.pipeline.video.packets import LOOKAHEAD_PACKETS, READ_ERRORS, CleanStart, PacketNumber

_SEARCHED_PACKETS = 3000
"""A key frame that comes later is none to wait for: half a minute at a hundred frames a second."""

Reopen = Callable[[], tuple[InputContainer, VideoStream]]


class _Frame(NamedTuple):
    """What is kept of a decoded frame."""

    packet_number: int | None
    pts: int | None
    is_key: bool


def clean_start(reopen: Reopen) -> CleanStart:
    """Return where a video begins.

    A file may say wrongly that its first frame is no key frame: the decoder has the last word. Where there is no key
    frame at all, the first frame that comes out counts.
    """
    found = _first_frames(reopen, 0)
    if found and found[0].is_key and found[0].packet_number == 0:
        return CleanStart(0, found[0].pts)
    begin = _first_key_packet(reopen)
    found = _first_frames(reopen, begin) if begin else found
    if not found:
        return CleanStart(0, None)
    came_out = {frame.packet_number for frame in found}
    lost = frozenset(number for number in range(begin, begin + LOOKAHEAD_PACKETS) if number not in came_out)
    return CleanStart(begin, found[0].pts, lost)


def _first_key_packet(reopen: Reopen) -> int:
    container, stream = reopen()
    with container:
        return next((number for number, packet in enumerate(_packets(container, stream)) if packet.is_keyframe), 0)


def _first_frames(reopen: Reopen, begin: int) -> list[_Frame]:
    """Return the first whole frames that come out if the decoder is given the packets from that number on."""
    container, stream = reopen()
    codec = stream.codec_context
    codec.copy_opaque = True
    found: list[_Frame] = []
    last = _SEARCHED_PACKETS
    with container:
        for number, packet in enumerate(chain(_packets(container, stream), (None,))):
            if packet is not None:
                packet.opaque = PacketNumber(number)
            try:
                frames = codec.decode(packet) if number >= begin or packet is None else []
            except READ_ERRORS:
                continue
            if frames and not found:
                last = number + 2 * LOOKAHEAD_PACKETS
            found += [_Frame(_number(frame), frame.pts, frame.key_frame) for frame in frames if not frame.is_corrupt]
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
