"""Clips as a cache stores them, sent as a .npy: their bytes as an array, and the answer for each.

In: an open file and a query, in the event loop. Out: a document as `infer` has it, but without times; for several clips
a list, in their order, in which a clip that has no answer stands as its error. As many of a request go to the model at
a time as of a video, so that there is room for others.
"""

import asyncio
import io
import math
from collections import deque
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.batches import Batches, Row
from signprep.inference.serve.options import MAX_ANSWERS, MAX_PROBABILITIES, Query, ServeOptions
from signprep.inference.videos.results import Prediction
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import SignprepError

IN_MEMORY = 2**20
"""Clips of no more bytes need no file."""
_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
"""Bytes of the header of an array; one of a clip has 128."""


class Room:
    """How many answers a request may still get, of all its files together."""

    def __init__(self, recognizer: Recognizer, query: Query) -> None:
        num_glosses = len(recognizer.glosses)
        shown = num_glosses if query.options.with_probabilities else min(query.options.top_k, num_glosses)
        self.most = self._left = min(MAX_ANSWERS, MAX_PROBABILITIES // shown)

    def take(self, number: int = 1) -> bool:
        """Count answers; return False, and count none, if there may not be so many."""
        if number > self._left:
            return False
        self._left -= number
        return True


async def answer_clips(
    recognizer: Recognizer, batches: Batches, file: BinaryIO, query: Query, options: ServeOptions, room: Room
) -> Any:
    """Return the answer for a clip, [T, ...], or a list of answers and errors for [B, T, ...].

    Raises SignprepError if they are other clips than the model was trained on, or too many, or if the only one has no
    answer.
    """
    if len(recognizer.clip_specs) > 1:
        raise SignprepError("the models take different clips of a window: send a video")
    [spec] = recognizer.clip_specs
    is_small = file.seek(0, io.SEEK_END) <= IN_MEMORY
    file.seek(0)
    reading = (file, spec, query.name)
    clips, is_infinite = read_clips(*reading) if is_small else await asyncio.to_thread(read_clips, *reading)
    if not room.take(len(is_infinite)):
        raise SignprepError(
            f"{query.name}: has {len(is_infinite):,} clips; at most {room.most:,} are answered here with these "
            "options; send fewer"
        )
    if clips.ndim == len(spec.clip_shape):
        if is_infinite[0]:
            raise _infinite(query.name)
        return _document(await batches.submit_here([clips]), recognizer, query)
    waiting: deque[asyncio.Future[Row] | SignprepError] = deque()
    answers = []
    try:
        for number, clip in enumerate(clips):
            clip_name = f"{query.name}: clip {number + 1}"
            waiting.append(_infinite(clip_name) if is_infinite[number] else batches.submit_here([clip]))
            if len(waiting) > 2 * options.batch_size:
                answers.append(await _answer(waiting.popleft(), recognizer, query))
        while waiting:
            answers.append(await _answer(waiting.popleft(), recognizer, query))
    finally:
        for left in waiting:
            if isinstance(left, asyncio.Future):
                left.cancel()
    return answers


async def _answer(waiting: "asyncio.Future[Row] | SignprepError", recognizer: Recognizer, query: Query) -> Any:
    if isinstance(waiting, SignprepError):
        return waiting
    try:
        return _document(await waiting, recognizer, query)
    except SignprepError as error:
        return error


def _document(row: Row, recognizer: Recognizer, query: Query) -> dict[str, Any]:
    answer = Prediction.of(
        row,
        recognizer.glosses,
        query.options,
        video_path=query.name,
        start_seconds=0.0,
        end_seconds=0.0,
        clip_duration=0.0,
    ).to_dict()
    for of_a_video in ("start_time", "end_time", "clip_duration"):
        del answer[of_a_video]
    return answer


def _infinite(name: str) -> SignprepError:
    return SignprepError(f"{name}: has points that are infinite; what was not seen is NaN")


def read_clips(file: BinaryIO, spec: ClipSpec, name: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return a clip, [T, ...], or clips, [B, T, ...], and of each whether it has infinite points, bool [B].

    Raises SignprepError if the file is no .npy of such clips.
    """
    expected = f"{np.dtype(spec.dtype).name} [B, {', '.join(map(str, spec.clip_shape))}], as `Cache.read` gives them"
    try:
        shape, is_fortran, dtype = _described(_head(file))
    except ValueError as error:
        raise SignprepError(f"{name}: is no .npy of clips; expected {expected}") from error
    size = math.prod(shape) if shape else 0
    start = file.tell()
    fits = shape[-len(spec.clip_shape) :] == tuple(spec.clip_shape) and len(shape) - len(spec.clip_shape) <= 1
    if not fits or dtype != np.dtype(spec.dtype) or is_fortran or not size:
        raise SignprepError(f"{name}: clips are {dtype.name} {list(shape)}; expected {expected}")
    num_bytes = file.seek(0, io.SEEK_END) - start
    if size * dtype.itemsize != num_bytes:
        raise SignprepError(
            f"{name}: has {num_bytes:,} bytes of clips, and tells of {size * dtype.itemsize:,}; send the whole .npy"
        )
    file.seek(start)
    if num_bytes <= IN_MEMORY:
        clips = np.frombuffer(file.read(), dtype).reshape(shape)
    else:  # they stay in their file, so that many requests take no memory
        clips = np.memmap(file, dtype, mode="r", offset=start, shape=shape).view(np.ndarray)
    number = size // math.prod(spec.clip_shape)
    if dtype.kind != "f":
        return clips, np.zeros(number, np.bool_)
    return clips, np.array([np.isinf(clip).any() for clip in clips.reshape(number, -1)])


def _head(file: BinaryIO) -> bytes:
    """Return what is before the values of an array. Raises ValueError if it is none."""
    first = file.read(12)
    if first[:6] != _MAGIC or len(first) < 12:
        raise ValueError
    length = 10 + int.from_bytes(first[8:10], "little") if first[6] == 1 else 12 + int.from_bytes(first[8:], "little")
    if length > _LONGEST_HEADER:
        raise ValueError
    file.seek(0)
    return file.read(length)


@lru_cache(maxsize=64)
def _described(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type that the head of an array tells of; those of a program's requests are the same."""
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file, max_header_size=_LONGEST_HEADER)
    return tuple(int(side) for side in shape), is_fortran, dtype
