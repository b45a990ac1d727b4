"""One request's answer: the decoder's clips through the model's batches, and the document that `infer` would give.

In: an open file and a query, in a thread of its own. Out: events as they come, a window's each, and at last the
document or why there is none. A few windows of a request are on their way at a time, so that a long video takes no
memory and leaves room in the batches for others.
"""

import asyncio
import io
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.batches import Batches, Row
from signprep.inference.serve.decoders import DecodedWindow, Decoder, Job
from signprep.inference.serve.options import MAX_ANSWERS, MAX_PROBABILITIES, Query, ServeOptions
from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.videos.results import Prediction
from signprep.inference.videos.run import Outcome, video_document
from signprep.inference.videos.window_predictions import MissingWindow, Video, VideoPredictions
from signprep.inference.videos.windows import rounded
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.runtime.text import first_line

IN_MEMORY = 2**20
"""Clips of no more bytes need no file."""
_LONGEST_SECONDS = 1e6
_LONGEST_HEADER = 10_000
"""Bytes of the header of an array; one of a clip has 128."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that the client may be told of while it waits; the last one is the answer."""

    kind: str
    """window, missing, or result."""
    document: Any


def answer_video(
    recognizer: Recognizer,
    batches: Batches,
    decoder: Decoder,
    file: BinaryIO,
    query: Query,
    options: ServeOptions,
    *,
    is_left: Callable[[], bool],
    restarted: Callable[[], None],
) -> Iterator[Event]:
    """Yield an event for each window in their order, and the document of the video.

    Raises:
        DecodeError: there is not one answer, as with `infer`.
        SignprepError, TooSlowError, LeftError: as `Decoder.windows` and `Batches.submit`.
    """
    job = Job(
        name=query.name,
        windows=query.options.windows,
        specs=tuple(recognizer.clip_specs),
        max_seconds=options.max_video_seconds,
    )
    found = _Found(recognizer, query)
    waiting: deque[tuple[DecodedWindow, Future[Row]]] = deque()
    windows = decoder.windows(job, file, seconds=options.timeout_seconds, is_left=is_left, restarted=restarted)
    for window in windows:
        if window.missing is not None:
            yield found.missing(window.number, MissingWindow(span=window.asked, reason=window.missing))
            continue
        waiting.append((window, batches.submit(window.clips)))
        while waiting and (len(waiting) > 2 * options.batch_size or waiting[0][1].done()):
            yield found.answered(*waiting.popleft())
    for window, future in waiting:
        yield found.answered(window, future)
    yield Event(kind="result", document=found.document())


class _Found:
    """The windows of a video so far."""

    def __init__(self, recognizer: Recognizer, query: Query) -> None:
        self._glosses, self._query = recognizer.glosses, query
        self._windows: dict[float, tuple[Prediction, Row] | MissingWindow] = {}
        self._most = MAX_PROBABILITIES // _num_shown(recognizer, query)

    def missing(self, number: float, window: MissingWindow) -> Event:
        """Note why a window has no answer."""
        self._windows[number] = window
        return Event(kind="missing", document={"error": window.reason})

    def answered(self, window: DecodedWindow, future: "Future[Row]") -> Event:
        """Note a window's answer."""
        options = self._query.options
        if len(self._windows) >= self._most:
            raise DecodeError(
                f"{self._query.name}: more than {MAX_PROBABILITIES:,} probabilities were asked for; leave out "
                "--return-probabilities or --top-k, or choose a larger --stride"
            )
        assert window.asked is not None
        row = future.result()
        prediction = Prediction.of(
            row,
            self._glosses,
            options,
            video_path=self._query.name,
            start_seconds=window.asked.start_seconds,
            end_seconds=min(window.asked.end_seconds, rounded(window.ends)),
            clip_duration=options.windows.clip_duration,
        )
        self._windows[window.number] = prediction, row
        return Event(kind="window", document=prediction.to_dict())

    def document(self) -> Any:
        """Return what `infer` writes for the video. Raises DecodeError if no window has an answer."""
        found = VideoPredictions(video=Video(path=self._query.name, folder=Path(), name=self._query.name))
        for _, result in sorted(self._windows.items()):
            if isinstance(result, MissingWindow):
                found.missing.append(result)
                continue
            found.predictions.append(result[0])
            if self._query.options.timeline is not None:
                found.probabilities.append(result[1])
        if found.missing and not found.predictions:
            raise DecodeError(found.missing[0].reason)
        return video_document(self._glosses, found, self._query.options, Outcome())


def _num_shown(recognizer: Recognizer, query: Query) -> int:
    """Return how many probabilities each answer has."""
    num_glosses = len(recognizer.glosses)
    return num_glosses if query.options.with_probabilities else min(query.options.top_k, num_glosses)


async def answer_clips(
    recognizer: Recognizer, batches: Batches, file: BinaryIO, query: Query, options: ServeOptions
) -> Any:
    """Return the answer for clips of a cache, sent as a .npy: an object for one, [T, ...], a list for [B, T, ...].

    As many go to the model at a time as of a video, so that there is room for others.

    Raises SignprepError if they are other clips than the model was trained on, too many, or the model gives no numbers.
    """
    if len(recognizer.clip_specs) > 1:
        raise SignprepError("the models take different clips of a window: send a video")
    [spec] = recognizer.clip_specs
    is_small = file.seek(0, io.SEEK_END) <= IN_MEMORY
    file.seek(0)
    reading = (file, spec, query.name)
    clips = _read_clips(*reading) if is_small else await asyncio.to_thread(_read_clips, *reading)
    is_one = clips.ndim == len(spec.clip_shape)
    clips = clips[None] if is_one else clips
    _require_few(len(clips), recognizer, query)
    answers = []
    async for row in _rows(batches, clips, options.batch_size):
        answer = Prediction.of(
            row,
            recognizer.glosses,
            query.options,
            video_path=query.name,
            start_seconds=0.0,
            end_seconds=0.0,
            clip_duration=0.0,
        ).to_dict()
        answers.append({k: v for k, v in answer.items() if k not in ("start_time", "end_time", "clip_duration")})
    return answers[0] if is_one else answers


async def _rows(batches: Batches, clips: NDArray[Any], batch_size: int) -> AsyncIterator[Row]:
    # No thread waits for them: batches are as full as there are requests, not as there are threads.
    waiting: deque[asyncio.Future[Row]] = deque()
    try:
        for clip in clips:
            waiting.append(asyncio.wrap_future(batches.submit([clip])))
            if len(waiting) > 2 * batch_size:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for future in waiting:
            future.cancel()


def _require_few(number: int, recognizer: Recognizer, query: Query) -> None:
    most = min(MAX_ANSWERS, MAX_PROBABILITIES // _num_shown(recognizer, query))
    if number > most:
        raise SignprepError(
            f"{query.name}: has {number:,} clips; at most {most:,} are answered here with these options; send fewer"
        )


def _read_clips(file: BinaryIO, spec: ClipSpec, name: str) -> NDArray[Any]:
    expected = f"{np.dtype(spec.dtype).name} [B, {', '.join(map(str, spec.clip_shape))}], as `Cache.read` gives them"
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read(file, max_header_size=_LONGEST_HEADER)
    except ValueError as error:
        raise SignprepError(f"{name}: is no .npy of clips; expected {expected}") from error
    size = int(np.prod([int(side) for side in shape], dtype=object)) if shape else 0
    start = file.tell()
    fits = tuple(shape[-len(spec.clip_shape) :]) == tuple(spec.clip_shape) and len(shape) - len(spec.clip_shape) <= 1
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
        clips = np.memmap(file, dtype, mode="r", offset=start, shape=tuple(shape)).view(np.ndarray)
    if dtype.kind == "f" and np.isinf(clips).any():
        raise SignprepError(f"{name}: has points that are infinite; what was not seen is NaN")
    return clips


def signs_of(data: bytes) -> list[TimelineSegment]:
    """Return the signs of a list as a timeline has it, in JSON; what a person has corrected has no confidence.

    Raises SignprepError if it is something else.
    """
    try:
        if not isinstance(signs := json.loads(data), list):
            raise ValueError("they are not a list")
        return [
            TimelineSegment(
                start_seconds=_seconds(sign["start_time"]),
                end_seconds=_seconds(sign["end_time"]),
                label=-1,
                gloss=str(sign["predicted_class_name"]),
                confidence=float(1 if sign.get("confidence") is None else sign["confidence"]),
            )
            for sign in signs
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise SignprepError(
            f"the signs cannot be read ({first_line(error)}); send a list as the key timeline of an answer has it"
        ) from error


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not 0 <= seconds < _LONGEST_SECONDS:
        raise ValueError(f"{value!r:.20} is no time in a video")
    return seconds
