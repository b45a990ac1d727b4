"""Answers for windows of many videos: frames are decoded in threads while the model answers the clips before them.

In: videos and which windows of them. Out: for each video, in order, what the model says of each window, and which
windows have no answer and why. Every frame is decoded once, however windows overlap; batches go across windows and
videos; in memory are the clips of a few batches. The trade-off: one decoding thread a video, so a single video is
decoded by one core.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from signprep.inference.options import WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.videos.find import Video
from signprep.inference.videos.threads import torch_threads
from signprep.inference.videos.windows import rounded, window_spans
from signprep.pipeline.clips import Clip, Span, iterate_clips
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.video.pyav_reader import open_video

QUEUED_BATCHES = 2
"""Of decoded clips that wait for the model; then decoding waits."""
_POLL_SECONDS = 0.2

KeptT = TypeVar("KeptT")
Probabilities = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Answer(Generic[KeptT]):
    """What the model said of one window."""

    span: Span
    kept: KeptT


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A window without an answer, or a whole video (then without a span)."""

    span: Span | None
    reason: str


@dataclass(kw_only=True)
class VideoAnswers(Generic[KeptT]):
    """All that was said of a video, in the order of its windows."""

    video: Video
    answers: list[Answer[KeptT]] = field(default_factory=list)
    unanswered: list[Unanswered] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """What a decoding thread found: the windows of a video, a clip, or why there is none."""

    video: int
    spans: list[Span] | None = None
    number: int = 0
    result: Clip | DecodeError | None = None
    failure: SignprepError | None = None
    bug: BaseException | None = None
    """What nobody expected; the consumer raises it."""
    ended: bool = False
    """Nothing more comes of this video."""


class _Stopped(Exception):  # noqa: N818  (no error: the consumer has gone)
    pass


def answer_videos(
    recognizer: Recognizer,
    videos: Sequence[Video],
    options: WindowOptions,
    keep: Callable[[Probabilities], KeptT],
    *,
    batch_size: int = 8,
    decoders: int = 1,
) -> Iterator[VideoAnswers[KeptT]]:
    """Yield the answers for each video, in the order of the videos.

    Args:
        recognizer: an opened checkpoint.
        videos: to answer for.
        options: which windows.
        keep: what is kept of a window's class probabilities, float32 [classes]; they are many.
        batch_size: windows that go through the model together.
        decoders: videos that are decoded at the same time.

    Raises:
        CheckpointError: an exported file does not answer. A video that cannot be read is no error: see `VideoAnswers`.
    """
    found: queue.Queue[_Found] = queue.Queue(QUEUED_BATCHES * batch_size)
    stop = threading.Event()

    def put(item: _Found) -> None:
        while not stop.is_set():
            try:
                return found.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
        raise _Stopped

    collector = _Collector(recognizer, videos, keep, batch_size)
    # On a CPU, threads of the model that spin beside those that decode cost more than they bring.
    spared = torch_threads(max(1, torch.get_num_threads() - decoders + 1)) if len(videos) > 1 else nullcontext()
    with spared, ThreadPoolExecutor(max(1, decoders), thread_name_prefix="signprep-decode") as threads:
        begun = [
            threads.submit(_decode, number, video, options, recognizer, put) for number, video in enumerate(videos)
        ]
        try:
            for number in range(len(videos)):
                while not collector.is_complete(number):
                    collector.take(found.get())
                yield collector.pop(number)
        finally:
            stop.set()
            for decoding in begun:
                decoding.cancel()


def _decode(
    number: int, video: Video, options: WindowOptions, recognizer: Recognizer, put: Callable[[_Found], None]
) -> None:
    """Runs in a thread: one pass over a video."""
    try:
        with video.opened() as source, open_video(source, name=video.path) as reader:
            spans = window_spans(options, reader)
            put(_Found(number, spans=spans))
            clips = iterate_clips(reader, spans, recognizer.card.clip_spec, hold_last_frame=options.pad)
            for place, result in clips:
                put(_Found(number, number=place, result=result))
        put(_Found(number, ended=True))
    except _Stopped:
        return
    except SignprepError as error:
        _put_last(put, _Found(number, failure=error, ended=True))
    except BaseException as error:
        _put_last(put, _Found(number, bug=error))


def _put_last(put: Callable[[_Found], None], item: _Found) -> None:
    with suppress(_Stopped):
        put(item)


class _Collector(Generic[KeptT]):
    """Gathers clips into batches, and answers by video."""

    def __init__(
        self, recognizer: Recognizer, videos: Sequence[Video], keep: Callable[[Probabilities], KeptT], batch_size: int
    ) -> None:
        self._recognizer, self._keep, self._batch_size = recognizer, keep, batch_size
        self._videos = videos
        self._spans: dict[int, list[Span]] = {}
        self._results: dict[int, dict[int, Answer[KeptT] | Unanswered]] = {}
        self._failures: dict[int, Unanswered] = {}
        self._waiting: list[tuple[int, int, Clip]] = []
        self._num_ended = 0

    def take(self, found: _Found) -> None:
        """Add what a decoding thread found; answer a batch when there is one, or when nothing more comes."""
        if found.bug is not None:
            raise found.bug
        if found.ended:
            self._num_ended += 1
        if found.spans is not None:
            self._spans[found.video] = found.spans
            self._results[found.video] = {}
        elif found.failure is not None:
            self._failures[found.video] = Unanswered(span=None, reason=str(found.failure))
        elif isinstance(found.result, Clip):
            self._waiting.append((found.video, found.number, found.result))
        elif found.result is not None:
            span = self._spans[found.video][found.number]
            self._results[found.video][found.number] = Unanswered(span=span, reason=str(found.result))
        if len(self._waiting) >= self._batch_size or (self._waiting and self._num_ended == len(self._videos)):
            self._answer_waiting()

    def _answer_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        rows = self._recognizer.probabilities([clip.frames for _, _, clip in batch])
        for (video, number, clip), probabilities in zip(batch, rows, strict=True):
            asked = self._spans[video][number]
            span = Span(asked.start_seconds, min(asked.end_seconds, rounded(clip.span.end_seconds)))
            self._results[video][number] = Answer(span=span, kept=self._keep(probabilities))

    def is_complete(self, video: int) -> bool:
        """Whether all of a video's windows have an answer or a reason."""
        if video in self._failures:
            return not any(waiting == video for waiting, _, _ in self._waiting)
        return video in self._spans and len(self._results[video]) == len(self._spans[video])

    def pop(self, video: int) -> VideoAnswers[KeptT]:
        """Return and forget what was gathered of a video."""
        answers = VideoAnswers[KeptT](video=self._videos[video])
        results = self._results.pop(video, {})
        for number in sorted(results):
            result = results[number]
            if isinstance(result, Answer):
                answers.answers.append(result)
            else:
                answers.unanswered.append(result)
        self._spans.pop(video, None)
        if video in self._failures:
            answers.unanswered.append(self._failures.pop(video))
        return answers
