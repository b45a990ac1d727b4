"""Video files to the frames shown at given times, decoded in one pass with PyAV.

In: a video and ascending times in seconds from the first presented frame. Out: for each time the decoded frame that
is shown then. Only packets up to the last wanted frame are decoded, and for H.264 FFmpeg skips unwanted frames that
no other frame refers to (bit-identical, about a quarter of the CPU saved on B-pyramids). The trade-off: one thread a
video, since a build has a video for every core; and no seeking, since AIHub's videos have a single keyframe.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

import av
import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.errors import DecodeError
from signprep.pipeline.runtime.paths import StrPath, as_source
from signprep.pipeline.video.bitstreams import has_whole_frames_only, is_disposable
from signprep.pipeline.video.clean_start import clean_start, stands_alone
from signprep.pipeline.video.demux import (
    PacketTimes,
    open_stream,
    packet_times,
    pixel_aspect_of,
    video_name,
    whole_duration_seconds,
)
from signprep.pipeline.video.frame_times import (
    CleanStart,
    MissingFrame,
    PacketNumber,
    PresentationOrder,
    ShownFrame,
    declared_seconds,
    nanoseconds,
    nanoseconds_of,
    number_of,
    shown_or_raised,
)
from signprep.pipeline.video.image_sequence import ImageSequence, ImageSequenceReader
from signprep.pipeline.video.packets import (
    CUT_OFF_SECONDS,
    READ_ERRORS,
    PacketQueue,
    reason_of,
)

DECODERS = ("pyav", "decord")
"""Readers that `open_video` offers, the default first."""

NONREF_SKIP_IS_EXACT = frozenset({"h264"})
"""Codecs whose decoder gives identical frames when unwanted non-reference frames are skipped. In a comparison of 144
files every H.264 one was identical, but 8 of the HEVC, AV1 and MPEG-4 ones had altered or missing frames."""

HIDES_FRAMES = frozenset({"vp8", "vp9", "mpeg4"})
"""Codecs in which a packet may lawfully give no frame: alternate references, and MPEG-4's frames "not coded"."""


class VideoReader(Protocol):
    """One open video. Readers are not shared between threads or processes."""

    name: str
    """Names the video in errors."""

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel, as stored, in parts of its height."""

    @property
    def duration_seconds(self) -> float:
        """End of the last presented frame, from the first presented frame."""

    @property
    def ends_early(self) -> str | None:
        """Why the video ends before its file does, None if it does not."""

    def ends_after(self, seconds: float) -> bool:
        """Return True if the video certainly lasts longer than that; cheap, False when in doubt."""

    def frames_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame]:
        """Yield the frame shown at each of the ascending times; raise DecodeError at the first without one."""

    def answers_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame | MissingFrame]:
        """Yield for each of the ascending times its frame, or why there is none."""

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(kw_only=True)
class DecodeCounts:
    """What a reader has done so far, for tests and benchmarks."""

    packets_read: int = 0
    packets_unwanted: int = 0
    """Skipped by the decoder: not asked for, and no other frame refers to them."""
    frames_decoded: int = 0


class PyAVReader:
    """VideoReader over PyAV. Raises DecodeError if the file does not open or holds no video."""

    def __init__(self, source: Path | BinaryIO, *, name: str | None = None) -> None:
        self.name = video_name(source, name)
        self.counts = DecodeCounts()
        self._source = source
        self._first_pts: int | None = None
        self._start: CleanStart | None = None
        self._times: PacketTimes | None = None
        self._started = False
        self._is_fresh = True
        """True until a frame has come out from where decoding begins, or goes on behind damage."""
        self._open()

    def _open(self) -> None:
        self._container, self._stream = open_stream(self._source, self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a file object is left open, at its start."""
        self._container.close()
        if not isinstance(self._source, Path) and not self._source.closed:
            self._source.seek(0)

    def ends_after(self, seconds: float) -> bool:
        """Return True if the container declares half a second more than that, or else a frame starts after it."""
        if declared_seconds(self._container, self._stream) > seconds + CUT_OFF_SECONDS:
            return True
        return bool(self._packet_times().starts_ns[-1] > seconds * 1e9)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel, as stored, in parts of its height."""
        return pixel_aspect_of(self._stream)

    @property
    def duration_seconds(self) -> float:
        """End of the last presented frame, in seconds from the first one, read from all packets.

        Raises DecodeError if the file was cut off.
        """
        return whole_duration_seconds(self._packet_times(), self.name)

    @property
    def ends_early(self) -> str | None:
        """Why the video ends before its file does, None if it does not."""
        return self._packet_times().ends_early

    def _packet_times(self) -> PacketTimes:
        if self._times is None:
            self._times = packet_times(self._source, self.name, self._start)
        return self._times

    def frames_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame]:
        """Yield the frame shown at each of the ascending times (seconds from the first presented frame).

        Raises DecodeError at the first time whose frame is missing, damaged, or hidden by damage; answers before it
        have been given by then.
        """
        return shown_or_raised(self.answers_at(times))

    def answers_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame | MissingFrame]:
        """Yield for each of the ascending times its frame, or why there is none.

        Decodes once, from the start of the file to the last wanted frame. Behind damage it goes on with the next key
        frame: frames from there on are those of the undamaged file.
        """
        times_ns = nanoseconds(times)
        if not len(times_ns):
            return
        assert (np.diff(times_ns) >= 0).all(), "times must ascend"
        if self._started:
            self.close()
            self._open()
        self._started = True
        try:
            yield from self._answers_in_one_pass(times_ns)
        except _LaterStartError:
            self._start = clean_start(partial(open_stream, self._source, self.name), self.name)
            self._times = self._first_pts = None
            self.close()
            self._open()
            yield from self._answers_in_one_pass(times_ns)
        except _OriginMovedError as moved:
            # Leading packets gave no frame, and no answer yet: time 0 is the first frame that did come out.
            if self._first_pts is not None and self._stream.time_base is not None:
                known = self._packet_times()
                self._times = known.from_later(float((moved.first_pts - known.first_pts) * self._stream.time_base))
            self._first_pts = moved.first_pts
            self.close()
            self._open()
            yield from self._answers_in_one_pass(times_ns)

    def _answers_in_one_pass(self, times_ns: NDArray[np.int64]) -> Iterator[ShownFrame | MissingFrame]:
        codec = self._stream.codec_context
        codec.copy_opaque = True
        packets = PacketQueue(self._container, self._stream, self._source, self.name)
        if self._start is not None or packets.is_start_in_doubt:
            self._start = self._start or clean_start(partial(open_stream, self._source, self.name), self.name)
            packets.begin_at(self._start)
        packets.first_pts = self._first_pts = packets.first_pts if self._first_pts is None else self._first_pts
        may_skip = codec.name in NONREF_SKIP_IS_EXACT and has_whole_frames_only(codec.extradata)
        hides_frames = codec.name in HIDES_FRAMES or codec.codec.canonical_name in HIDES_FRAMES
        base = self._stream.time_base
        presentation = PresentationOrder(
            self.name,
            times_ns,
            every_packet_shows=not hides_frames,
            ticks_to_ns=float(base * 10**9) if base is not None and packets.tells_presentation else 0.0,
        )
        last_ns = int(times_ns[-1])
        self._is_fresh = True
        while True:
            while packets and not presentation.done and not presentation.damage_found and not packets.is_past(last_ns):
                yield from self._next_packet(packets, presentation, times_ns, may_skip=may_skip)
            if presentation.done:
                return
            # What the decoder holds back comes out without reading on, and tells whether it is clean.
            yield from self._received(None, packets, presentation)
            yield from presentation.end(packets.starts_ns(), nanoseconds_of(packets.frame_ticks(), base))
            can_resume = packets.tells_presentation and not presentation.is_out_of_order
            if presentation.done or not presentation.damage_found or not can_resume:
                break
            start_ns = packets.skip_to_key_frame()
            if start_ns is None:
                break
            codec.flush_buffers()
            self._is_fresh = True
            yield from presentation.resumed(start_ns)
        yield from presentation.rest(packets.ends_early)

    def _next_packet(
        self, packets: PacketQueue, presentation: PresentationOrder, times_ns: NDArray[np.int64], *, may_skip: bool
    ) -> Iterator[ShownFrame | MissingFrame]:
        codec = self._stream.codec_context
        packet = packets.popleft()
        if packets.cut is not None:
            presentation.cut(packets.cut, packets.cut_ns())
        skipped = (
            may_skip
            and self.counts.frames_decoded > 0
            and not packets.is_wanted(packet, times_ns)
            and is_disposable(packet, codec.extradata, is_latest=number_of(packet).is_latest)
        )
        if may_skip:
            codec.skip_frame = "NONREF" if skipped else "DEFAULT"
        if skipped:
            self.counts.packets_unwanted += 1
        shows = not skipped and not packet.is_discard and number_of(packet).has_own_frame
        if packet.is_discard:  # the first frame that comes out may need those that an edit list hides
            self._is_fresh = False
        presentation.sent(number_of(packet).number, packets.start_of_packet(packet), shows=shows)
        yield from self._received(packet, packets, presentation)
        self.counts.packets_read = packets.packets_read

    def _received(
        self, packet: av.Packet | None, packets: PacketQueue, presentation: PresentationOrder
    ) -> Iterator[ShownFrame | MissingFrame]:
        """Decode a packet, or with None what the decoder holds back; yield the answers that its frames make certain."""
        try:
            frames = self._stream.codec_context.decode(packet)
        except READ_ERRORS as error:
            if packet is not None and number_of(packet).is_before_start:
                return
            presentation.damaged(reason_of(error), packets.starts_ns())
            if packets.ended:  # what would have been decoded next is not known, and may be shown before this packet
                presentation.cut(reason_of(error), packets.cut_ns())
            return
        for frame in frames:
            self.counts.frames_decoded += 1
            assert isinstance(frame.opaque, PacketNumber)
            if frame.opaque.is_before_start:
                continue
            if self._is_fresh and not stands_alone(frame, self._stream.codec_context):
                # What the file calls a key frame is none.
                if self._start is None and self.counts.frames_decoded == 1:
                    raise _LaterStartError
                reason = "what is called a key frame needs others, which are missing"
                presentation.damaged(reason, packets.starts_ns(), decode_index=frame.opaque.number)
                return
            self._is_fresh = False
            if frame.opaque.has_second_field:
                frame.duration *= 2  # which is that of the packet
            pts = packets.pts_of_frame(frame)
            if pts is None:
                raise DecodeError(
                    f"{self.name}: a frame has no timestamp, so when it is shown is not known; write the video into "
                    "another container, for instance by ffmpeg -i FILE NEW.mp4"
                )
            if self.counts.frames_decoded == 1 and self._first_pts is not None and pts > self._first_pts:
                raise _OriginMovedError(pts)
            yield from presentation.came_out(packets.to_ns(pts), frame, frame.opaque.number, packets.starts_ns)


class _LaterStartError(Exception):
    """The first frame that came out needs others, which are missing."""


class _OriginMovedError(Exception):
    """The first decoded frame is not the one that the packets announced."""

    def __init__(self, first_pts: int) -> None:
        self.first_pts = first_pts


def open_video(
    source: StrPath | BinaryIO | ImageSequence,
    *,
    name: str | None = None,
    decoder: str = "pyav",
    fps: float | None = None,
) -> VideoReader:
    """Open a video: a path, a seekable binary file such as a member of a zip file, or pictures.

    Args:
        source: where the video is; the path of a folder means the pictures in it, in the order of their numbers.
        name: what errors call it; the path by default.
        decoder: one of `DECODERS`; pictures are decoded by PyAV in any case.
        fps: pictures of a folder that are shown in a second.

    Raises:
        DecodeError: it does not open; the error names the file and the reason.
        ValueError: there is no such decoder or rate.
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder is {decoder!r}; it must be one of {', '.join(DECODERS)}")
    if isinstance(source, ImageSequence):
        return ImageSequenceReader(source, name=name)
    source = as_source(source)
    if isinstance(source, Path) and source.is_dir():
        name = video_name(source, name)
        return ImageSequenceReader(ImageSequence.of_folder(source, fps, name))
    if isinstance(source, Path) and not source.is_file():
        raise DecodeError(f"{video_name(source, name)}: there is no such video file")
    if decoder == "decord":
        from signprep.pipeline.video.decord_reader import DecordReader

        return DecordReader(source, name=name)
    return PyAVReader(source, name=name)
