"""Predictions for windows of many videos: threads decode frames while the model works on the clips before them.

In: videos and which windows of them. Out: for each video, in order, what the model predicts for each window, and which
windows have no prediction and why. Every frame is decoded once, however windows overlap; batches go across windows and
videos; in memory are the clips of a few batches. The trade-off: one decoding thread a video, so a single video is
decoded by one core.
"""

import math
import queue
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import torch
from numpy.typing import NDArray

from signprep.inference.options import InferOptions
from signprep.inference.recognizer import Recognizer, torch_threads
from signprep.inference.timeline.overlay import LandmarkTrack
from signprep.inference.videos.results import Prediction
from signprep.inference.videos.windows import clips_of_windows, rounded, window_spans
from signprep.pipeline.clips import Clip, Span
from signprep.pipeline.datasets.files.data_root import open_file
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.video.image_sequence import ImageSequence
from signprep.pipeline.video.pyav_reader import open_video

QUEUED_BATCHES = 2
"""Batches of decoded clips that may wait for the model; then decoding waits."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Video:
    """A file, or a member of a zip."""

    path: str
    """Its name in results: a path, or archive.zip!/member.mp4."""
    folder: Path
    name: str
    """Path inside `folder`, in the form that `open_file` takes."""
    fps: float | None = None
    """Pictures that are shown in a second, if it is a folder of pictures."""

    @classmethod
    def at(cls, path: StrPath, fps: float | None = None) -> Self:
        """Return the video that is a file, or a folder, of its own."""
        path = as_path(path)
        # A folder may be called "." or "..", which have no name.
        path = path.resolve() if path.name in ("", "..") else path
        return cls(path=str(path), folder=path.parent, name=path.name, fps=fps)

    def opened(self) -> AbstractContextManager[Path | BinaryIO | ImageSequence]:
        """Return the path, the pictures, or a stream that `with` closes.

        Raises AnnotationError if a zip does not give it, or pictures are none, or have no rate.
        """
        file = open_file(self.folder, self.name, self.fps)
        return nullcontext(file) if isinstance(file, Path | ImageSequence) else file


@dataclass(frozen=True, kw_only=True)
class MissingWindow:
    """A window without a prediction, or a whole video (then without a span)."""

    span: Span | None
    reason: str


@dataclass(kw_only=True)
class VideoPredictions:
    """The results of a video, in the order of its windows."""

    video: Video
    predictions: list[Prediction] = field(default_factory=list)
    probabilities: list[NDArray[np.float32]] = field(default_factory=list)
    """Class probabilities of each predicted window, float32 [classes], where a timeline needs them."""
    missing: list[MissingWindow] = field(default_factory=list)
    landmarks: LandmarkTrack | None = None
    """Those of its clips, where they are to be drawn."""


_Result = tuple[Prediction, NDArray[np.float32] | None] | MissingWindow


class _Stopped(Exception):  # noqa: N818
    """Ends a decoding thread whose consumer has gone."""


def predict_videos(
    recognizer: Recognizer, videos: Sequence[Video], options: InferOptions
) -> Iterator[VideoPredictions]:
    """Yield the predictions for each video, in the order of the videos.

    Args:
        recognizer: the opened model.
        videos: what to predict for; a video that cannot be read is no error, but a `MissingWindow`.
        options: which windows, what to keep of their class probabilities, and how many go at a time.

    Raises:
        CheckpointError: an exported file gives no predictions.
        SignprepError: there is no memory for a batch.
    """
    # Decoding threads put calls of the collector, which this thread makes.
    calls: queue.Queue[Callable[[], None]] = queue.Queue(QUEUED_BATCHES * options.batch_size)
    stop = threading.Event()

    def put(call: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                return calls.put(call, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
        raise _Stopped

    decoders = max(1, options.num_workers)
    spared = ExitStack()
    collector = _Collector(recognizer, videos, options, decoded=spared.close)
    if len(videos) > 1:
        # On a CPU, threads of the model that spin beside those that decode cost more than they bring.
        spared.enter_context(torch_threads(max(1, torch.get_num_threads() - decoders + 1)))
    with spared, ThreadPoolExecutor(decoders, thread_name_prefix="signprep-decode") as threads:
        decodings = [threads.submit(collector.decode, number, put) for number in range(len(videos))]
        try:
            for number in range(len(videos)):
                while not collector.is_complete(number):
                    calls.get()()
                yield collector.pop(number)
        finally:
            stop.set()
            for decoding in decodings:
                decoding.cancel()


class _Collector:
    """Gathers the clips of decoding threads into batches for the model, and the results by video.

    Only `decode` runs in those threads: it puts calls of the other methods.
    """

    def __init__(
        self, recognizer: Recognizer, videos: Sequence[Video], options: InferOptions, decoded: Callable[[], None]
    ) -> None:
        """Prepare; `decoded` is called when all videos are decoded, before the last batch."""
        self._recognizer, self._videos, self._options = recognizer, videos, options
        self._decoded = decoded
        # By video and window; the reason why a whole video failed comes after its windows, at infinity.
        self._results: defaultdict[int, dict[float, _Result]] = defaultdict(dict)
        self._waiting: list[tuple[int, int, Span, Sequence[Clip]]] = []
        self._ended: set[int] = set()
        specs = recognizer.clip_specs if options.outputs.render is not None else ()
        places = [place for place, spec in enumerate(specs) if spec.content == "landmarks"]
        self._place_of_landmarks = places[0] if places else 0
        self._tracks = [LandmarkTrack(specs[places[0]]) if places else None for _ in videos]

    def decode(self, number: int, put: Callable[[Callable[[], None]], None]) -> None:
        """Put the windows and clips of a video, in one pass over it."""
        try:
            video, windows, specs = self._videos[number], self._options.windows, self._recognizer.clip_specs
            with video.opened() as source, open_video(source, name=video.path) as reader:
                spans = window_spans(windows, reader)
                for window, clips in clips_of_windows(reader, spans, specs, windows):
                    put(partial(self._add, number, window, spans[window], clips))
            put(partial(self._end, number, None))
        except BaseException as error:
            put(partial(self._end, number, error))

    def _add(self, video: int, window: int, asked: Span, clips: Sequence[Clip] | DecodeError) -> None:
        if isinstance(clips, DecodeError):
            self._results[video][window] = MissingWindow(span=asked, reason=str(clips))
            return
        self._waiting.append((video, window, asked, clips))
        if len(self._waiting) >= self._options.batch_size:
            self._predict_waiting()

    def _end(self, video: int, failure: BaseException | None) -> None:
        if isinstance(failure, SignprepError):
            self._results[video][math.inf] = MissingWindow(span=None, reason=str(failure))
        elif failure is not None:  # a bug, which the consumer has to raise
            raise failure
        self._ended.add(video)
        if len(self._ended) == len(self._videos):
            self._decoded()
            if self._waiting:
                self._predict_waiting()

    def _predict_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        rows = self._recognizer.window_probabilities([[clip.frames for clip in clips] for *_, clips in batch])
        for (video, window, asked, clips), row in zip(batch, rows, strict=True):
            if (track := self._tracks[video]) is not None:
                track.add(clips[self._place_of_landmarks])
            prediction = Prediction.of(
                row,
                self._recognizer.glosses,
                self._options,
                video_path=self._videos[video].path,
                start_seconds=asked.start_seconds,
                end_seconds=min(asked.end_seconds, rounded(clips[0].span.end_seconds)),
                clip_duration=self._options.windows.clip_duration,
            )
            self._results[video][window] = prediction, None if self._options.timeline is None else row.copy()

    def is_complete(self, video: int) -> bool:
        """Return whether all of a video's windows have a prediction or a reason why not."""
        return video in self._ended and all(waiting != video for waiting, *_ in self._waiting)

    def pop(self, video: int) -> VideoPredictions:
        """Return and forget the results of a video."""
        found = VideoPredictions(video=self._videos[video], landmarks=self._tracks[video])
        for _, result in sorted(self._results.pop(video, {}).items()):
            if isinstance(result, MissingWindow):
                found.missing.append(result)
                continue
            prediction, row = result
            found.predictions.append(prediction)
            if row is not None:
                found.probabilities.append(row)
        return found
