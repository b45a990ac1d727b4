"""Landmark files of other programs, one a video: `.pose` of pose-format, NPZ and Parquet, as docs/landmarks.md tells.

In: a file. Out: clips of landmarks, as of keypoints. Of a `.pose` file only the shown frames are read; the others are
read whole, since their frames are compressed together.
"""

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, MiddleWindow, Span
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.landmarks.keypoints import FRAMES_PER_SECOND, clips_of_landmarks
from signprep.pipeline.landmarks.points import (
    BODY,
    MEDIAPIPE_FACE,
    NUM_POINTS,
    OPENPOSE_FACE,
    PARTS,
    Points,
    mark_unseen,
)
from signprep.pipeline.runtime.text import first_line

MAX_BYTES = 2**30
"""Of the landmarks of an NPZ or Parquet file without compression: ten hours of 30 frames a second."""


_READ_ERRORS = (
    OSError, EOFError, ValueError, ArithmeticError, MemoryError, RuntimeError, SyntaxError, struct.error,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error, pa.ArrowException,
)  # fmt: skip
"""What the readers of damaged zips, arrays, whose header is Python, and tables raise."""

MAX_SECONDS = 1e7
"""Later times are no times of a video, and in nanoseconds more than 64 bits hold."""


class LandmarkFile(NamedTuple):
    """An open landmark file."""

    seconds: NDArray[np.float64]
    """When each frame is shown, ascending."""
    end_seconds: float
    size: tuple[int, int] | None
    """Width and height of the picture in pixels; None if the file does not say."""
    read: Callable[[NDArray[np.int64]], Points]
    """From frames' places to their points as they are written, float32 [n, 75, 3]: x and y in parts of the picture, of
    which some may lie outside, and confidence. Raises DecodeError if they cannot be read."""


def clips_of_landmark_file(
    source: Path | BinaryIO, spans: Sequence[Span | MiddleWindow], spec: ClipSpec, name: str
) -> list[Clip | DecodeError]:
    """Return for each span its clip of landmarks, or the DecodeError that tells why there is none.

    Args:
        source: a path or a seekable binary file of one of `LANDMARK_SUFFIXES`.
        spans: in any order.
        spec: with `landmarks`, and the size of the picture for files that do not say it.
        name: the file's name, whose suffix tells its form; errors begin with it.
    """
    with np.errstate(all="ignore"):  # numbers that are none are not seen
        try:
            with open_landmark_file(source, name) as opened:

                def read(frames: NDArray[np.int64]) -> Points:
                    return mark_unseen(opened.read(frames))

                size = opened.size or spec.picture_size
                return clips_of_landmarks(opened.seconds, opened.end_seconds, read, size, spans, spec, name)
        except DecodeError as error:
            return [DecodeError(f"{name}: {error}")] * len(spans)


@contextmanager
def open_landmark_file(source: Path | BinaryIO, name: str) -> Iterator[LandmarkFile]:
    """Open a landmark file for the block. Raises DecodeError, whose message does not name the file, if it is damaged.

    Args:
        source: a path or a seekable binary file of one of `LANDMARK_SUFFIXES`.
        name: the file's name, whose suffix tells its form.
    """
    with ExitStack() as stack:
        with _told():
            file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
            opened = _OPENERS[PurePosixPath(name).suffix.lower()](file)
        if not len(opened.seconds):
            raise DecodeError("holds no frame")
        if not (np.abs(opened.seconds) < MAX_SECONDS).all() or not (np.diff(opened.seconds) > 0).all():
            raise DecodeError("its frames' times do not ascend, or are no seconds")
        yield opened._replace(read=_told()(opened.read))


@contextmanager
def _told() -> Iterator[None]:
    """Raise DecodeError in the place of what readers of damaged files raise."""
    try:
        yield
    except _READ_ERRORS as error:
        raise DecodeError(f"cannot be read as landmarks ({first_line(error)})") from error


_BODY_OF_OPENPOSE = (
    "Nose", "LEye", "REye", "LEar", "REar", "LShoulder", "RShoulder", "LElbow", "RElbow", "LWrist", "RWrist", "LHip",
    "RHip",
)  # fmt: skip
"""The names of `BODY` in .pose files of OpenPose; those of MediaPipe are the same in capitals."""
_COMPONENTS = {
    "pose_keypoints_2d": ("body", None, 25),
    "hand_left_keypoints_2d": ("left_hand", None, 21),
    "hand_right_keypoints_2d": ("right_hand", None, 21),
    "face_keypoints_2d": ("face", OPENPOSE_FACE, 70),
    "POSE_LANDMARKS": ("body", None, 33),
    "LEFT_HAND_LANDMARKS": ("left_hand", None, 21),
    "RIGHT_HAND_LANDMARKS": ("right_hand", None, 21),
    "FACE_LANDMARKS": ("face", MEDIAPIPE_FACE, 468),
}
"""By the name of a .pose file's component: its part of signer75, the numbers of that part's points in it if they are
found by number, and how many points it has as a whole."""


class _Header:
    """The values of a .pose file, one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def numbers(self, form: str) -> tuple[Any, ...]:
        """Return little-endian numbers. Raises DecodeError if the file ends before them."""
        data = self.file.read(struct.calcsize(f"<{form}"))
        if len(data) < struct.calcsize(f"<{form}"):
            raise DecodeError("is cut off in its header, or is no .pose file")
        return struct.unpack(f"<{form}", data)

    def text(self) -> str:
        """Return a text with its length before it."""
        (num_bytes,) = self.numbers("H")
        return b"".join(self.numbers(f"{num_bytes}c")).decode("utf-8", "replace")

    def component(self) -> tuple[str, str, list[str]]:
        """Return the name, the format and the points' names of a component."""
        name, form = self.text(), self.text()
        num_points, num_limbs, num_colours = self.numbers("HHH")
        points = [self.text() for _ in range(num_points)]
        self.numbers(f"{2 * num_limbs + 3 * num_colours}H")
        return name, form, points


def _open_pose(file: BinaryIO) -> LandmarkFile:
    """Open a .pose file. Raises DecodeError if it is not one of version 0.1 or 0.2 with known components."""
    header = _Header(file)
    file.seek(0)
    version, width, height, _, num_components = header.numbers("f4H")
    if (version := round(version, 3)) not in (0.1, 0.2):
        raise DecodeError(f"is of version {version:g} of pose-format, or no .pose file; expected 0.1 or 0.2")
    components = [header.component() for _ in range(num_components)]
    places = _places(components)
    known = np.flatnonzero(places >= 0)
    fps, num_frames, num_people = header.numbers("HHH" if version == 0.1 else "fIH")
    start = file.tell()
    num_points, dims = sum(len(points) for _, _, points in components), max(len(form) for _, form, _ in components) - 1
    shape = num_people, num_points
    frame_bytes = 4 * num_people * num_points * (dims + 1)
    held = (file.seek(0, 2) - start) // max(1, frame_bytes)
    if version == 0.1 and held >= 2**16 - 1:  # its number of frames has 16 bits, which videos of an hour pass
        num_frames = held
    if held < num_frames or not frame_bytes:
        raise DecodeError(f"is cut off: it has {num_frames} frames of {num_people} people, and the bytes of {held}")
    if not (math.isfinite(fps) and fps > 0 and width and height):
        raise DecodeError(f"has {fps:g} frames/s of {width} x {height} pixels")

    def array(offset: int, frame: int, *shape: int) -> NDArray[np.float32]:
        file.seek(start + 4 * (offset + frame * math.prod(shape)))
        data = file.read(4 * math.prod(shape))
        return np.frombuffer(data, "<f4").reshape(shape)

    def read(frames: NDArray[np.int64]) -> Points:
        distinct, inverse = np.unique(frames, return_inverse=True)
        out = np.full((len(distinct), NUM_POINTS, 3), (np.nan, np.nan, 0), np.float32)
        for number, frame in enumerate(distinct.tolist()):
            confidence = array(num_frames * num_people * num_points * dims, frame, *shape)[:, places[known]]
            person = int(np.nan_to_num(confidence).sum(axis=1).argmax())
            xy = array(0, frame, *shape, dims)[person, places[known], :2]
            out[number, known, :2], out[number, known, 2] = xy / np.array((width, height), "f4"), confidence[person]
        return out[inverse]

    return LandmarkFile(np.arange(num_frames) / fps, num_frames / fps, (width, height), read)


def _places(components: Sequence[tuple[str, str, list[str]]]) -> NDArray[np.int64]:
    """Return for each point of signer75 its place among those of all components, -1 where there is none.

    Body and face are found by their points' names, since parts of them are often left out; hands are whole. Raises
    DecodeError if there is none of the known components.
    """
    places = np.full(NUM_POINTS, -1)
    first = 0
    for name, form, points in components:
        if name in _COMPONENTS:
            part, numbers, whole = _COMPONENTS[name]
            if not form.startswith("XY"):
                raise DecodeError(f"its {name} has points of the form {form}, expected XYC or XYZC")
            if part == "body":
                wanted = _BODY_OF_OPENPOSE if whole == 25 else [point.upper() for point in BODY]
                found = [points.index(point) if point in points else -1 for point in wanted]
            elif numbers is None:
                if len(points) != whole:
                    raise DecodeError(f"its {name} has {len(points)} points, expected {whole}")
                found = list(range(whole))
            else:
                by_number = {point.rpartition("_")[2]: place for place, point in enumerate(points)}
                found = [by_number.get(str(number), -1) for number in numbers]
            places[PARTS[part]] = [first + place if place >= 0 else -1 for place in found]
        first += len(points)
    if (places < 0).all():
        raise DecodeError(
            f"has the components {', '.join(name for name, _, _ in components) or 'none'}; expected those of OpenPose "
            "(pose_keypoints_2d, hand_left_keypoints_2d, ...) or MediaPipe (POSE_LANDMARKS, LEFT_HAND_LANDMARKS, ...)"
        )
    return places


def _open_npz(file: BinaryIO) -> LandmarkFile:
    """Open an NPZ file. Raises DecodeError if it is not of the documented shape."""
    with zipfile.ZipFile(file) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
        if "landmarks" not in names or not names & {"fps", "seconds"}:
            raise DecodeError(
                f"has {', '.join(sorted(names))[:200] or 'nothing'}; expected landmarks, and fps or seconds"
            )
        landmarks = _array(archive, "landmarks")
        times = _array(archive, "seconds" if "seconds" in names else "fps").astype(np.float64)
        size = _array(archive, "size").ravel().tolist() if "size" in names else None
    if landmarks.ndim != 3:
        raise DecodeError(f"its landmarks have the shape {landmarks.shape}, expected (N, {NUM_POINTS}, 3)")
    return _in_memory(landmarks, times, is_rate="seconds" not in names, size=size)


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Return an array of numbers. Raises DecodeError before it would take more memory than it has bytes."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(member)
    if dtype.kind not in "fiu" or math.prod(shape) * dtype.itemsize > min(info.file_size, MAX_BYTES):
        raise DecodeError(f"its {name} are {dtype} of the shape {shape} in {info.file_size} bytes, expected numbers")
    with archive.open(info) as member:
        return np.asarray(np.lib.format.read_array(member, allow_pickle=False))


def _open_parquet(file: BinaryIO) -> LandmarkFile:
    """Open a Parquet file. Raises DecodeError if it is not of the documented shape."""
    with pq.ParquetFile(file) as table:
        names = table.schema_arrow.names
        time = "seconds" if "seconds" in names else "frame"
        if "landmarks" not in names or time not in names:
            raise DecodeError(f"has {', '.join(names)[:200]}; expected landmarks, and seconds or frame")
        groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
        num_values = sum(group.column(number).num_values for group in groups for number in range(group.num_columns))
        if num_values * 4 > MAX_BYTES:
            raise DecodeError(f"holds {num_values} numbers, over the limit of {MAX_BYTES // 4}")
        tags = {key.decode("utf-8", "replace"): float(value) for key, value in (table.metadata.metadata or {}).items()
                if key in (b"fps", b"width", b"height")}  # fmt: skip
        times, landmarks = (table.read([name]).column(name).combine_chunks() for name in (time, "landmarks"))
    rows = np.flatnonzero(np.asarray(landmarks.is_valid()))  # nobody is seen in a row without landmarks
    values, sizes = landmarks.drop_null(), list[int]()
    while isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        sizes += pc.list_value_length(values).unique().to_pylist()  # one, unless lists differ
        values = values.flatten()
    if len(rows) and sizes not in ([NUM_POINTS * 3], [NUM_POINTS, 3]):
        raise DecodeError(f"its landmarks are lists of {sizes[:5]}, expected {NUM_POINTS * 3} numbers in each row")
    numbers = values.cast(pa.float32()).to_numpy(zero_copy_only=False)
    shown = np.full((len(landmarks), NUM_POINTS, 3), np.nan, np.float32)
    shown[rows] = numbers.reshape(-1, NUM_POINTS, 3)
    seconds = times.cast(pa.float64()).to_numpy(zero_copy_only=False)
    if time == "frame":
        seconds = seconds / tags.get("fps", float(FRAMES_PER_SECOND))
    order = np.argsort(seconds, kind="stable")
    size = [tags["width"], tags["height"]] if {"width", "height"} <= tags.keys() else None
    return _in_memory(shown[order], seconds[order], is_rate=False, size=size)


def _in_memory(
    landmarks: NDArray[Any], times: NDArray[np.float64], *, is_rate: bool, size: Sequence[float] | None
) -> LandmarkFile:
    """Return landmarks as an open file. Raises DecodeError if they contradict their times.

    Args:
        landmarks: [N, 75, 3], x and y in parts of the picture and confidence.
        times: seconds of N frames, or with `is_rate` the number of frames in a second.
        is_rate: what `times` are.
        size: width and height of the picture in pixels, if the file says so.
    """
    if landmarks.shape[1:] != (NUM_POINTS, 3):
        raise DecodeError(f"its landmarks have the shape {landmarks.shape}, expected (N, {NUM_POINTS}, 3)")
    if is_rate:
        if times.size != 1 or not (np.isfinite(times).all() and times.min() > 0):
            raise DecodeError(f"its fps are {times.ravel()[:3].tolist()}, expected one number above 0")
        times = np.arange(len(landmarks) + 1) / times.ravel()[0]
        seconds, end = times[:-1], float(times[-1])
    else:
        if times.shape != (len(landmarks),):
            raise DecodeError(f"it has times of the shape {times.shape} for {len(landmarks)} frames")
        # The last frame is shown as long as the one before.
        last = times[-1] - times[-2] if len(times) > 1 else 1 / FRAMES_PER_SECOND
        seconds, end = times, float(times[-1] + last) if len(times) else 0.0
    if size is not None and (len(size) != 2 or not all(math.isfinite(side) and side >= 1 for side in size)):
        raise DecodeError(f"its picture has the size {list(size)[:3]}, expected width and height in pixels")
    width_height = None if size is None else (round(size[0]), round(size[1]))

    def read(frames: NDArray[np.int64]) -> Points:
        return landmarks[frames].astype(np.float32)

    return LandmarkFile(seconds, end, width_height, read)


_OPENERS: dict[str, Callable[[BinaryIO], LandmarkFile]] = {
    ".pose": _open_pose,
    ".npz": _open_npz,
    ".parquet": _open_parquet,
}
