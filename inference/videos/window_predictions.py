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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import torch
from numpy.typing import NDArray

from signprep.inference.options import PER_VIDEO, InferOptions, WindowOptions
from signprep.inference.recognizer import Recognizer, torch_threads
from signprep.inference.timeline.overlay import LandmarkTrack
from signprep.inference.videos.results import Prediction
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, MakeClips, Span, iterate_clips
from signprep.pipeline.datasets.files.data_root import open_file
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.landmarks.maker import FollowedLandmarks, clip_maker
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.video.image_sequence import ImageSequence
from signprep.pipeline.video.pyav_reader import VideoReader, open_video

QUEUED_BATCHES = 2
"""Batches of decoded clips that may wait for the model; then decoding waits."""
_POLL_SECONDS = 0.2
DURATION_SLACK_SECONDS = 1e-3
"""A video of 1.9999 s is not shorter than a clip of 2 s: containers round to milliseconds."""
MAX_WINDOWS = 1_000_000
"""Limit for one video: a day at a stride of a tenth of a second. More is a slip of the hand."""


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

    collector = _Collector(recognizer, videos, options)
    decoders = max(1, options.num_workers)
    # On a CPU, threads of the model that spin beside those that decode cost more than they bring.
    spared = torch_threads(max(1, torch.get_num_threads() - decoders + 1)) if len(videos) > 1 else nullcontext()
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

    def __init__(self, recognizer: Recognizer, videos: Sequence[Video], options: InferOptions) -> None:
        self._recognizer, self._videos, self._options = recognizer, videos, options
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
        if len(self._ended) == len(self._videos) and self._waiting:
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


def clips_of_windows(
    reader: VideoReader, windows: Sequence[Span], specs: Sequence[ClipSpec], options: WindowOptions
) -> Iterator[tuple[int, Sequence[Clip] | DecodeError]]:
    """Yield the number of each window with a clip for each spec, or why there is none, from one pass over the video."""
    spans, spec_of_each = [window for window in windows for _ in specs], [*specs] * len(windows)
    waiting: defaultdict[int, dict[int, Clip | DecodeError]] = defaultdict(dict)
    make = video_makers(options)
    found = iterate_clips(reader, spans, spec_of_each, hold_last_frame=options.pad, make=make)
    for number, clip in found:
        window, place = divmod(number, len(specs))
        waiting[window][place] = clip
        if len(waiting[window]) == len(specs):
            clips = [clip for _, clip in sorted(waiting.pop(window).items())]
            error = next((clip for clip in clips if isinstance(clip, DecodeError)), None)
            yield window, error or [clip for clip in clips if isinstance(clip, Clip)]


def video_makers(options: WindowOptions) -> MakeClips:
    """Return what makes one video's clips out of its frames, as `WindowOptions.landmark_tracking` says."""
    return FollowedLandmarks() if options.landmark_tracking == PER_VIDEO else clip_maker


def window_spans(options: WindowOptions, reader: VideoReader) -> list[Span]:
    """Return the windows of an open video.

    Raises:
        DecodeError: the video is shorter than that, or was cut off.
        SignprepError: there would be too many windows.
    """
    first = Span(options.start_seconds, rounded(options.start_seconds + options.clip_duration))
    if not (options.pad or reader.ends_after(first.end_seconds)):
        duration = reader.duration_seconds
        if duration < first.end_seconds - DURATION_SLACK_SECONDS:
            raise DecodeError(
                f"{reader.name}: lasts {duration:.3f} s, too short for a clip of {options.clip_duration:.3f} s from "
                f"{options.start_seconds:.3f} s; choose a smaller --clip-duration or --start-time, or --pad"
            )
    if options.stride is None:
        return [first]
    duration = reader.duration_seconds
    if (duration - options.start_seconds) / options.stride > MAX_WINDOWS:
        raise SignprepError(
            f"{reader.name}: lasts {duration:.3f} s, which at a stride of {options.stride:g} s is over "
            f"{MAX_WINDOWS:,} windows; choose a larger --stride"
        )
    found = windows(duration, options.clip_duration, options.stride, start_seconds=options.start_seconds)
    return found if len(found) > 1 or not options.pad else [first]


def windows(duration: float, clip_duration: float, stride: float, *, start_seconds: float = 0.0) -> list[Span]:
    """Return the windows of a video: one every `stride` seconds, up to the first that reaches the end.

    That last one ends where the video ends. A window that shows nothing new is none: after (3.0, 5.0) of a video of
    5 s, (4.0, 5.0) is left out.

    Args:
        duration: length of the video, in seconds.
        clip_duration: length of a window, in seconds.
        stride: seconds from one window's start to the next one's, > 0.
        start_seconds: start of the first window.

    >>> [(span.start_seconds, span.end_seconds) for span in windows(3.5, 2.0, 1.0)]
    [(0.0, 2.0), (1.0, 3.0), (2.0, 3.5)]
    """
    found: list[Span] = []
    while True:
        start = rounded(start_seconds + len(found) * stride) if found else start_seconds
        if not start < duration - DURATION_SLACK_SECONDS:
            return found
        end = rounded(start + clip_duration)
        whole = end <= duration + DURATION_SLACK_SECONDS
        found.append(Span(start, end if whole else rounded(duration)))
        if end >= duration - DURATION_SLACK_SECONDS:
            return found


def rounded(seconds: float) -> float:
    """Return whole nanoseconds, so that 3 * 0.1 is 0.3."""
    return round(seconds, 9)
