"""Folders of pictures as videos: PNG, JPEG and WebP files in the order of their numbers, each shown 1 / fps seconds.

In: the files' names, a way to read one, and a frame rate. Out: for each asked time the picture that is shown then, as
I420 of its own size, so that clips are those of a lossless yuv420p video of the same pictures: RGB becomes BT.601 of
limited range, the YCbCr of JPEG and WebP stays as it is, in its own range, but for chroma finer than that of I420. Only
pictures that are asked for are read. The trade-off: the chroma of RGB pictures is halved before they are scaled, which
costs a little colour, and makes the clips equal whichever way somebody keeps the same frames.
"""

import math
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

import av
import numpy as np
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.video.demux import ERROR_DETECTION, MAX_FRAME_PIXELS, pixel_aspect_of
from signprep.pipeline.video.frame_times import MissingFrame, ShownFrame, nanoseconds, shown_or_raised
from signprep.pipeline.video.packets import READ_ERRORS, reason_of
from signprep.pipeline.video.preprocess import filter_graph

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
MAX_PICTURE_BYTES = 2**28
"""Larger files are refused before they are read: as RGB, a picture of `MAX_FRAME_PIXELS` has 200 MB."""
MIN_FPS, MAX_FPS = 0.01, 1000
MAX_PLACE = 10**7
"""Frames of days; larger numbers are times."""
_CODECS = {b"\x89PNG": "png", b"\xff\xd8\xff": "mjpeg", b"RIFF": "webp"}
"""By the first bytes of a file, since suffixes are as often wrong as right."""
_ENDS = {"png": (b"IDAT", b"IEND"), "mjpeg": (b"\xff\xda", b"\xff\xd9")}
"""What begins the last part of a whole file, and what ends it: of the very last bytes FFmpeg misses none."""
_FULL_RANGE = 2


def is_picture(name: str) -> bool:
    """Return True for the name of a picture, by its suffix; not for what macOS writes beside files."""
    place = name.rfind(".")  # without a path of each of a million names
    is_suffix = place > name.rfind("/") + 1 and name[place:].lower() in PICTURE_SUFFIXES
    return is_suffix and not name.startswith("._")


class PictureFiles(Protocol):
    """Files of pictures, in a folder or elsewhere."""

    @property
    def names(self) -> Sequence[str]:
        """Names of the files, in any order; those that are no pictures may be among them."""

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raises OSError or SignprepError if it cannot be read, or is too large."""

    def checksum(self, name: str) -> tuple[int, int]:
        """Return size and CRC-32 of a file. Raises as `read`."""


class FolderFiles:
    """The `PictureFiles` of a folder on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = [path.name for path in folder.iterdir()]

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raises OSError, or DecodeError if it is too large."""
        path = self._folder / name
        if (num_bytes := path.stat().st_size) > MAX_PICTURE_BYTES:
            raise DecodeError(f"has {num_bytes} bytes, over the limit of {MAX_PICTURE_BYTES}")
        return path.read_bytes()

    def checksum(self, name: str) -> tuple[int, int]:
        """Return size and CRC-32 of a file. Raises as `read`."""
        data = self.read(name)
        return len(data), zlib.crc32(data)


class NumberedPicture(NamedTuple):
    """A picture of a sequence."""

    place: int
    """In time, in frames from the first picture; a missing number leaves its place empty."""
    number: int
    """As its name has it."""
    name: str


_DIGITS = re.compile(r"(\d{1,18})")


def in_order(names: Iterable[str]) -> list[NumberedPicture]:
    """Return the pictures among files in the order of their numbers: `frame10.png` comes after `frame9.png`.

    Numbers that ascend by one step, 5, 10, 15, follow each other. Beside numbered pictures, those without a number are
    no frames (`cover.jpg`).

    Raises DecodeError if there is none, or if names do not tell an order: they are of several kinds, have a number
    twice, several numbers that tell different orders, or numbers that are too large for those of frames.

    >>> [(picture.place, picture.name) for picture in in_order(["a10.png", "a9.png", "a12.png", "cover.jpg"])]
    [(0, 'a9.png'), (1, 'a10.png'), (3, 'a12.png')]
    """
    kinds: dict[tuple[str, ...], list[tuple[str, list[int]]]] = {}
    for name in filter(is_picture, names):
        texts = _DIGITS.split(name.rpartition("/")[2].rpartition(".")[0])
        kinds.setdefault(tuple(texts[::2]), []).append((name, [int(digits) for digits in texts[1::2]]))
    numbered = {kind: found for kind, found in kinds.items() if len(kind) > 1}
    if len(numbered) != 1:
        if not kinds:
            raise DecodeError("holds no pictures (.png, .jpg, .webp)")
        shown = ", ".join(min(found)[0] for found in list((numbered or kinds).values())[:3])
        raise DecodeError(
            f"its pictures are of {len(numbered)} kinds of names ({shown}); expected those of one video, numbered"
            if numbered
            else f"its pictures have no numbers ({shown}), so that their order is not known"
        )
    [pictures] = numbered.values()
    numbers = _numbers([values for _, values in pictures], [name for name, _ in pictures])
    ordered = sorted(zip(numbers, (name for name, _ in pictures), strict=True))
    for (number, name), (other, other_name) in pairwise(ordered):
        if number == other:
            raise DecodeError(f"two of its pictures have the number {number} ({name}, {other_name})")
    first = ordered[0][0]
    step = math.gcd(*(number - first for number, _ in ordered)) or 1
    if (ordered[-1][0] - first) // step > MAX_PLACE:
        raise DecodeError(
            f"its pictures' numbers, {first} to {ordered[-1][0]}, are not those of frames; number them anew"
        )
    return [NumberedPicture((number - first) // step, number, name) for number, name in ordered]


def _numbers(values: Sequence[Sequence[int]], names: Sequence[str]) -> list[int]:
    """Return the number of each picture, of all numbers that stand in its name: the one that tells the order.

    Raises DecodeError if there is none, or several that tell different orders.
    """
    columns = [list(column) for column in zip(*values, strict=True)]
    if len(values) == 1:
        return columns[-1]
    varying = [column for column in columns if len(set(column)) > 1] or columns[-1:]
    telling = [column for column in varying if len(set(column)) == len(column)]
    if not telling and len(varying) == 1:
        return varying[0]  # a number is there twice
    orders = {tuple(sorted(range(len(column)), key=column.__getitem__)) for column in telling}
    if len(orders) != 1:
        raise DecodeError(
            f"its pictures' names do not tell one order ({min(names)}, {max(names)}); expected those of one video, "
            "told apart by one number"
        )
    return telling[0]


class ImageSequence:
    """Pictures that are the frames of a video, and their rate: what is opened in the place of a video file."""

    def __init__(self, files: PictureFiles, fps: float | Fraction | None, name: str) -> None:
        """Take the pictures among files.

        Args:
            files: the files.
            fps: pictures that are shown in a second, > 0.
            name: what errors call the video.

        Raises DecodeError as `in_order`, or if no rate is given, and ValueError for a rate that is none.
        """
        try:
            self.pictures = in_order(files.names)
        except DecodeError as error:
            raise DecodeError(f"{name}: {error}") from None
        if fps is None:
            raise DecodeError(f"{name}: is a folder of pictures; say how many are shown in a second, as by --fps 25")
        self.files, self.name, self.fps = files, name, Fraction(str(fps))
        if not MIN_FPS <= self.fps <= MAX_FPS:
            raise ValueError(f"fps is {fps}; it must be {MIN_FPS} to {MAX_FPS}")

    @classmethod
    def of_folder(cls, folder: Path, fps: float | Fraction | None, name: str) -> Self:
        """Return the sequence of a folder's pictures. Raises as the class, and DecodeError if it cannot be listed."""
        try:
            return cls(FolderFiles(folder), fps, name)
        except OSError as error:
            raise DecodeError(f"{name}: cannot be listed ({error.strerror})") from error

    def content_hash(self) -> str:
        """Return the video's identity, 32 hexadecimal digits: its rate, and each picture's place, size and CRC-32.

        Raises OSError or SignprepError if a picture cannot be read.
        """
        digest = blake2b(f"pictures {self.fps}".encode(), digest_size=16)
        for picture in self.pictures:
            digest.update(b" %d %d %d" % (picture.place, *self.files.checksum(picture.name)))
        return digest.hexdigest()

    def start_ns(self, place: int) -> int:
        """Return when a place's picture is shown, in nanoseconds, rounded once."""
        return (2 * place * 10**9 * self.fps.denominator + self.fps.numerator) // (2 * self.fps.numerator)

    def missing(self) -> Iterator[tuple[NumberedPicture, NumberedPicture]]:
        """Yield the pictures before and behind each gap in the numbers."""
        yield from ((one, other) for one, other in pairwise(self.pictures) if other.place > one.place + 1)

    def close(self) -> None:
        """Do nothing: each picture is opened when it is read."""


class ImageSequenceReader:
    """VideoReader over an `ImageSequence`.

    All pictures have to be of the size of the first one that can be decoded: one of another size is as one that is
    damaged or missing, and costs the clips that would show it.
    """

    ends_early = None

    def __init__(self, sequence: ImageSequence, *, name: str | None = None) -> None:
        self.name = sequence.name if name is None else name
        self.sequence = sequence
        self._starts_ns = np.array([sequence.start_ns(picture.place) for picture in sequence.pictures], np.int64)
        self._end_ns = sequence.start_ns(sequence.pictures[-1].place + 1)
        self._to_i420 = _ToI420()
        self._first: _Picture | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing: each picture is opened when it is read."""

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel in parts of its height, as the first picture says. Raises DecodeError if none is whole."""
        return self.first.pixel_aspect

    @property
    def duration_seconds(self) -> float:
        """End of the last picture, in seconds."""
        return self._end_ns / 1e9

    @property
    def num_frames(self) -> int:
        """Pictures that are there."""
        return len(self.sequence.pictures)

    @property
    def starts_seconds(self) -> NDArray[np.float64]:
        """When each picture starts to be shown."""
        return self._starts_ns / 1e9

    @property
    def first(self) -> "_Picture":
        """The first picture that can be decoded. Raises DecodeError, with the first one's reason, if there is none."""
        failure = None
        for picture in self.sequence.pictures if self._first is None else ():
            try:
                self._first = self._decoded(picture)
                break
            except DecodeError as error:
                failure = failure or error
        if self._first is None:
            assert failure is not None
            raise failure
        return self._first

    def ends_after(self, seconds: float) -> bool:
        """Return True if the video lasts longer than that."""
        return self.duration_seconds > seconds

    def frames_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame]:
        """Yield the frame shown at each of the ascending times; raise DecodeError at the first without one."""
        return shown_or_raised(self.answers_at(times))

    def answers_at(self, times: Sequence[float] | NDArray[np.float64]) -> Iterator[ShownFrame | MissingFrame]:
        """Yield for each of the ascending times its frame, or why there is none."""
        times_ns = nanoseconds(times)
        last, answer = -1, None
        for index, which in enumerate((np.searchsorted(self._starts_ns, times_ns, side="right") - 1).tolist()):
            time_ns = int(times_ns[index])
            if which != last or time_ns >= self._shown_until_ns(which):
                last, answer = which, self._answer(which, time_ns)
            if isinstance(answer, DecodeError):
                yield MissingFrame(index, answer)
            else:
                assert answer is not None
                yield ShownFrame(index, int(self._starts_ns[which]) / 1e9, answer)

    def _shown_until_ns(self, which: int) -> int:
        return self.sequence.start_ns(self.sequence.pictures[which].place + 1)

    def _answer(self, which: int, time_ns: int) -> VideoFrame | DecodeError:
        """Return the frame of one of the pictures, or why there is none at a time."""
        pictures, seconds = self.sequence.pictures, time_ns / 1e9
        if not 0 <= time_ns < self._end_ns:
            end = self._end_ns / 1e9
            return DecodeError(f"{self.name}: its frames end at {end:.3f} s, before the asked {seconds:.3f} s")
        if time_ns >= self._shown_until_ns(which):
            names = f"{pictures[which].name} and {pictures[which + 1].name}"
            return DecodeError(f"{self.name}: has no frame at {seconds:.3f} s: a picture between {names} is missing")
        try:
            first = self.first
            found = first if first.name == pictures[which].name else self._decoded(pictures[which])
            if found.size != first.size:
                size, others = (f"{width}x{height}" for width, height in (found.size, first.size))
                return DecodeError(
                    f"{self.name}: its picture {found.name} has {size} pixels, but {first.name} has {others}; the "
                    "pictures of a video are of one size"
                )
        except DecodeError as error:
            return error
        return found.frame

    def _decoded(self, picture: NumberedPicture) -> "_Picture":
        """Return a picture. Raises DecodeError, with its name, if it is damaged or cannot be read."""
        try:
            data = self.sequence.files.read(picture.name)
            frame, codec = _decoded(data)
            frame = self._to_i420(frame)
        except (SignprepError, *READ_ERRORS) as error:
            reason = str(error) if isinstance(error, SignprepError) else reason_of(error)
            raise DecodeError(f"{self.name}: its picture {picture.name} cannot be decoded ({reason})") from error
        frame.pts, frame.time_base = picture.place, 1 / self.sequence.fps
        return _Picture(picture.name, frame, codec.codec.canonical_name, pixel_aspect_of(codec))


class _Picture(NamedTuple):
    name: str
    frame: VideoFrame
    codec: str
    pixel_aspect: Fraction

    @property
    def size(self) -> tuple[int, int]:
        return self.frame.width, self.frame.height


def _decoded(data: bytes) -> tuple[VideoFrame, VideoCodecContext]:
    """Return a picture as it is in its file, and its decoder. Raises DecodeError or one of READ_ERRORS."""
    name = next((codec for magic, codec in _CODECS.items() if data.startswith(magic)), None)
    if name is None or (name == "webp" and data[8:12] != b"WEBP"):
        raise DecodeError("is no PNG, JPEG or WebP file" if data else "is empty")
    if name in _ENDS and data.find(_ENDS[name][1], data.rfind(_ENDS[name][0])) < 0:
        raise DecodeError("is cut off")
    codec = av.CodecContext.create(name, "r")
    assert isinstance(codec, VideoCodecContext)
    codec.thread_count = 1
    codec.options = {"err_detect": ERROR_DETECTION, "max_pixels": str(MAX_FRAME_PIXELS)}
    frames = codec.decode(av.Packet(data)) + codec.decode(None)
    if not frames or frames[0].is_corrupt:
        raise DecodeError("is damaged")
    return frames[0], codec


class _ToI420:
    """Callable that gives pictures as I420 of their own size; keeps a filter graph for each kind of picture it met."""

    def __init__(self) -> None:
        self._graphs: dict[tuple[object, ...], Graph] = {}

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        if frame.format.name in ("yuv420p", "yuvj420p"):
            return frame
        kind = (frame.format.name, frame.width, frame.height, frame.color_range, frame.colorspace)
        if kind not in self._graphs:
            is_grey = frame.format.name.startswith("gray") or frame.format.name.startswith("ya")
            if frame.format.is_rgb or frame.format.has_palette:
                ranges = "out_range=limited:out_color_matrix=bt601"
            elif is_grey:
                ranges = "in_range=full:out_range=limited:out_color_matrix=bt601"
            else:
                of = "full" if frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj") else "limited"
                ranges = f"in_range={of}:out_range={of}"
            steps = [f"scale=flags=area+accurate_rnd+bitexact:{ranges}", "format=yuv420p"]
            self._graphs[kind] = filter_graph(frame, steps)
        graph = self._graphs[kind]
        graph.push(frame)
        converted = graph.pull()
        assert isinstance(converted, VideoFrame)
        return converted
