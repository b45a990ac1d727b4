"""The same frames with decord: a second `VideoReader`, to check the first one and to compare speeds.

In and out as in `pyav_reader.py`. The times of frames come from the packets, since decord's own timestamps are float32
and wrong after discarded frames; decord only decodes, by position. The trade-off: decord 0.6 (2021) gives RGB, so that
frames are converted twice and differ by rounding. It opens no AV1, and it does not notice damage: it replaces frames
that fail by the last good one. If it is known to give other frames, this reader raises DecodeError instead. decord
reads ahead without bound (350 MiB after one 1080p frame), so that every video gets a fresh reader.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from weakref import WeakSet

import av
import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.video.clean_start import stands_alone
from signprep.pipeline.video.demux import open_stream, packet_times, pixel_aspect_of, video_name, whole_duration_seconds
from signprep.pipeline.video.frame_times import MissingFrame, ShownFrame, nanoseconds, shown_or_raised
from signprep.pipeline.video.packets import READ_ERRORS, reason_of
from signprep.pipeline.video.preprocess import display_matrix

WRONG_CONTAINERS = frozenset({"mpegts"})
"""Formats whose first frames decord loses, giving others in their place without an error."""

NO_FAULTS = 1e-9
"""decord's `fault_tol`, a fraction of all frames: not one may be replaced by another."""

_open_readers: WeakSet["DecordReader"] = WeakSet()


class DecordReader:
    """VideoReader over decord. Belongs to the thread and the process that opened it.

    Raises:
        DecodeError: the file does not open, or decord is known to give other frames than are shown.
        SignprepError: decord is not installed.
    """

    def __init__(self, source: Path | BinaryIO, *, name: str | None = None) -> None:
        self.name = video_name(source, name)
        self._owner = threading.get_ident()
        self._source = source
        self._copy: Path | None = None
        self._reader: Any = None
        self._next_position = 0
        self._may_skip = False
        self._decord = _import_decord()
        self._times = packet_times(source, self.name)
        size = self._checked_size()
        self._open_decord()
        try:
            num_frames, shape = self._num_frames, self._next_pixels().shape
        except Exception as error:  # decord's own errors have no common parent
            self.close()
            raise DecodeError(f"{self.name}: decord gives no first frame ({_first_line(error)})") from error
        if num_frames != len(self._times.starts_ns):
            self.close()
            raise DecodeError(
                f"{self.name}: decord counts {num_frames} frames, but {len(self._times.starts_ns)} are presented; "
                "use the decoder pyav"
            )
        if sorted(shape[:2]) != sorted(size):
            self.close()
            raise DecodeError(
                f"{self.name}: decord gives frames of {shape[1]}x{shape[0]}, but the first video stream has "
                f"{size[0]}x{size[1]}; use the decoder pyav"
            )
        _open_readers.add(self)

    def _open_decord(self) -> None:
        try:
            # Native size: asked for another one, decord distorts the aspect.
            self._reader = self._decord.VideoReader(str(self._path().absolute()), num_threads=1, fault_tol=NO_FAULTS)
            self._num_frames = len(self._reader)
        except Exception as error:
            self.close()
            raise DecodeError(f"{self.name}: decord does not open it ({_first_line(error)})") from error
        self._next_position = 0

    def _checked_size(self) -> tuple[int, int]:
        """Return width and height; raise DecodeError for what decord is known to get wrong without an error."""
        container, stream = open_stream(self._source, self.name)
        with container:
            if container.format.name in WRONG_CONTAINERS:
                raise DecodeError(
                    f"{self.name}: decord finds wrong frames in {container.format.name} files; use the decoder pyav"
                )
            first, hides_frames = None, False
            try:
                for packet in container.demux(stream):
                    hides_frames = hides_frames or packet.is_discard
                    if (first := next(iter(packet.decode()), None)) is not None:
                        break
            except READ_ERRORS as error:
                raise DecodeError(f"{self.name}: its first frame is damaged ({reason_of(error)})") from error
            if first is None:
                raise DecodeError(f"{self.name}: its video stream gives no frame")
            codec = stream.codec_context
            if not stands_alone(first, codec):
                reason = (
                    "decord does not hide what its edit list hides" if hides_frames else "its first frame needs others"
                )
                raise DecodeError(f"{self.name}: {reason}; use the decoder pyav")
            matrix = display_matrix(first)
            if matrix is not None and matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0:
                raise DecodeError(f"{self.name}: decord does not mirror frames as its display matrix asks; use pyav")
            # decord finds what it skips by times: they must not be those of decoding, as in AVI.
            self._may_skip = codec.name == "h264" and (self._times.tell_order or not codec.has_b_frames)
            self.pixel_aspect = pixel_aspect_of(stream)
            return first.width, first.height

    def _path(self) -> Path:
        if isinstance(self._source, Path):
            return self._source
        if self._copy is not None:
            return self._copy
        # decord would read a file object into memory whole.
        self._source.seek(0)
        with tempfile.NamedTemporaryFile(suffix=".video", delete=False) as copy:
            self._copy = Path(copy.name)
            shutil.copyfileobj(self._source, copy)
        self._source.seek(0)
        return self._copy

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free decord's reader."""
        self._reader = None
        if self._copy is not None:
            self._copy.unlink(missing_ok=True)
            self._copy = None

    def ends_after(self, seconds: float) -> bool:
        """Return True if a frame starts after that."""
        return bool(self._times.starts_ns[-1] > seconds * 1e9)

    @property
    def duration_seconds(self) -> float:
        """End of the last presented frame. Raises DecodeError if the file was cut off."""
        return whole_duration_seconds(self._times, self.name)

    @property
    def ends_early(self) -> str | None:
        """Why the video ends before its file does, None if it does not."""
        return self._times.ends_early

    def frames_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame]:
        """Yield the frame shown at each of the ascending times (seconds from the first presented frame).

        Raises DecodeError at the first time that lies outside the video or behind the place where it was cut off.
        """
        return shown_or_raised(self.answers_at(times))

    def answers_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame | MissingFrame]:
        """Yield for each of the ascending times its frame, or why there is none: decord gives none behind damage."""
        num_answered = 0
        try:
            for shown in self._frames_at(times):
                num_answered += 1
                yield shown
        except DecodeError as error:
            yield from (MissingFrame(index, error) for index in range(num_answered, len(times)))

    def _frames_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame]:
        times_ns = nanoseconds(times)
        starts_ns = self._times.starts_ns
        end_ns = round(self._times.duration_seconds * 1e9) if self._times.cut is None else self._times.cut_ns
        positions = np.searchsorted(starts_ns, times_ns, side="right") - 1
        frame: av.VideoFrame | None = None
        for index, (time_ns, position) in enumerate(zip(times_ns.tolist(), positions.tolist(), strict=True)):
            if position < 0 or time_ns >= end_ns:
                reason = self._times.cut or f"its frames end at {end_ns / 1e9:.3f} s"
                raise DecodeError(f"{self.name}: there is no frame for {time_ns / 1e9:.3f} s ({reason})")
            if frame is None or position != positions[index - 1]:
                frame = self._decoded(position)
            yield ShownFrame(index, int(starts_ns[position]) / 1e9, frame)

    def _decoded(self, position: int) -> av.VideoFrame:
        if self._reader is None or threading.get_ident() != self._owner:
            raise DecodeError(
                f"{self.name}: this decord reader is closed, or belongs to another thread or process: open one in each"
            )
        if position < self._next_position:
            self._open_decord()
        try:
            # Never by decord's seeking, which loses frames after an open GOP; its skipping does, too, in HEVC.
            if self._may_skip and position > self._next_position:
                self._reader.skip_frames(position - self._next_position)
                self._next_position = position
            while self._next_position < position:
                self._next_pixels()
            pixels = self._next_pixels()
        except Exception as error:
            raise DecodeError(
                f"{self.name}: decord cannot decode frame {position} ({_first_line(error)}); the file is damaged there"
            ) from error
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts, frame.time_base = position, Fraction(1, 1000)
        return frame

    def _next_pixels(self) -> NDArray[np.uint8]:
        """Return the next frame, uint8 [H, W, 3]."""
        pixels: NDArray[np.uint8] = self._reader.next().asnumpy()
        self._next_position += 1
        return pixels


def _import_decord() -> Any:
    try:
        import decord
    except (ImportError, OSError) as error:
        raise SignprepError(
            f"decord cannot be imported ({error}): install it (`pip install decord`, on x86-64), "
            "or use the decoder pyav"
        ) from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _first_line(error: BaseException) -> str:
    """Return the message without decord's stack trace."""
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _abandon_readers() -> None:
    """Forget the parent's readers after a fork. Their threads are gone, and freeing them would wait forever."""
    for reader in _open_readers:
        if reader._reader is not None:
            reader._reader._handle = None
        reader._reader, reader._copy = None, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_readers)
