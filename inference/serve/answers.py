"""A video's answer: the decoder's clips through the model's batches, and the document that `infer` would give.

In: an open file and a query, in a thread of its own. Out: events as they come, a window's each, and at last the
document or why there is none. A few windows of a request are on their way at a time, so that a long video takes no
memory and leaves room in the batches for others.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.batches import Batches, Row
from signprep.inference.serve.clips import Room
from signprep.inference.serve.decoders import DecodedWindow, Decoder, Job
from signprep.inference.serve.options import Query, ServeOptions
from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.videos.results import Prediction
from signprep.inference.videos.run import Outcome, video_document
from signprep.inference.videos.window_predictions import MissingWindow, Video, VideoPredictions
from signprep.inference.videos.windows import rounded
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.runtime.text import first_line

_LONGEST_SECONDS = 1e6


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
    room: Room,
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
    found = _Found(recognizer, query, room)
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

    def __init__(self, recognizer: Recognizer, query: Query, room: Room) -> None:
        self._glosses, self._query, self._room = recognizer.glosses, query, room
        self._windows: dict[float, tuple[Prediction, Row] | MissingWindow] = {}

    def missing(self, number: float, window: MissingWindow) -> Event:
        """Note why a window has no answer."""
        self._windows[number] = window
        return Event(kind="missing", document={"error": window.reason})

    def answered(self, window: DecodedWindow, future: "Future[Row]") -> Event:
        """Note a window's answer."""
        options = self._query.options
        if not self._room.take():
            raise DecodeError(
                f"{self._query.name}: a request has at most {self._room.most:,} answers with these options; leave out "
                "--return-probabilities or --top-k, choose a larger --stride, or send fewer videos"
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
