"""Answers for frames that come one by one, from a camera for example: windows as those of `infer`, without a file.

In: pictures and when they were taken. Out: an answer for each window, as soon as a frame comes after its last one. Only
frames that a window shows are looked at, each once; in memory are those of the windows that have begun.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from signprep.inference.options import PER_VIDEO, TIMELINE_CLIP_SECONDS, TIMELINE_STRIDE_SECONDS, WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.videos.windows import rounded, video_makers
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import ClipMaker, Span
from signprep.pipeline.options import require_type
from signprep.pipeline.video.frame_times import sample_times
from signprep.pipeline.video.preprocess import SQUARE


@dataclass(frozen=True, kw_only=True)
class LiveAnswer:
    """What the model says of one window of a stream."""

    span: Span
    """When it was, in the seconds of the stream."""
    gloss: str
    """The most probable one."""
    confidence: float
    """Its probability, 0 to 1."""
    probabilities: NDArray[np.float32]
    """Of every gloss, [classes], in the order of `Recognizer.glosses`."""


class LiveRecognizer:
    """Answers for a stream of frames. One thread uses it at a time.

    Given the decoded frames of a video, it answers exactly as `infer` does for the same windows, but for the last one,
    after which no frame comes. Pixels are taken for square.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        clip_duration: float = TIMELINE_CLIP_SECONDS,
        stride: float = TIMELINE_STRIDE_SECONDS,
        landmark_tracking: str = PER_VIDEO,
    ) -> None:
        """Begin a stream.

        Args:
            recognizer: of one checkpoint or several, as `open_models` gives it.
            clip_duration: length of a window, in seconds.
            stride: seconds from one window's start to the next one's.
            landmark_tracking: video, to follow landmarks from frame to frame; clip, to find them in each window anew.

        Raises:
            ValueError: a length is not above 0, or the tracking is something else.
            SignprepError: MediaPipe's models are needed and not there.
        """
        require_type("recognizer", recognizer, Recognizer)
        self._recognizer = recognizer
        self._options = WindowOptions(clip_duration=clip_duration, stride=stride, landmark_tracking=landmark_tracking)
        self._stride = stride
        self._begin()

    def _begin(self) -> None:
        """Forget all frames."""
        make = video_makers(self._options)
        self._makers = {spec: make(spec, SQUARE) for spec in self._recognizer.clip_specs}
        self._windows: deque[_Window] = deque()
        self._num_windows = 0
        self._start_seconds = 0.0
        self._last: tuple[VideoFrame, float] | None = None

    def add(self, picture: NDArray[np.uint8] | VideoFrame, seconds: float) -> list[LiveAnswer]:
        """Take the next frame, and return the answers for the windows that ended before it: mostly none or one.

        A frame is shown until the next one, so frames may come at any rate, and be left out where time is short. After
        a gap longer than a window the stream begins anew.

        Args:
            picture: upright RGB as others see the signer, not mirrored: uint8 [H, W, 3], or a frame of PyAV.
            seconds: when it was taken, by any clock; later than the frame before.

        Raises:
            ValueError: the picture is something else, or not later than the one before.
            DecodeError, SignprepError, CheckpointError: as for the windows of a video.
        """
        frame, seconds = _video_frame(picture), float(seconds)
        if not math.isfinite(seconds) or (self._last is not None and seconds <= self._last[1]):
            before = "" if self._last is None else f" after one at {self._last[1]} s"
            raise ValueError(f"a frame came at {seconds} s{before}; expected ascending times in seconds")
        if self._last is not None and seconds - self._last[1] > self._options.clip_duration:
            self._begin()
        if self._last is None:
            self._start_seconds = seconds
            ended = []
        else:
            ended = self._show(self._last[0], seconds)
        self._last = frame, seconds
        return self._answers(ended)

    def _show(self, frame: VideoFrame, until_seconds: float) -> "list[_Window]":
        """Give a frame to all windows that show it before a time; return those that are whole."""
        while (start := rounded(self._start_seconds + self._num_windows * self._stride)) < until_seconds:
            span = Span(start, rounded(start + self._options.clip_duration))
            self._windows.append(_Window(span, self._recognizer.clip_specs))
            self._num_windows += 1
        made: dict[ClipSpec, Any] = {}
        for window in self._windows:
            for spec, times in window.due(until_seconds):
                if spec not in made:
                    made[spec] = self._makers[spec].frame(frame)
                window.frames[spec] += [made[spec]] * times
        ended = []
        while self._windows and self._windows[0].is_whole:
            ended.append(self._windows.popleft())
        return ended

    def _answers(self, windows: "Sequence[_Window]") -> list[LiveAnswer]:
        if not windows:
            return []
        rows = self._recognizer.window_probabilities([window.clips(self._makers) for window in windows])
        glosses, best = self._recognizer.glosses, rows.argmax(axis=1)
        return [
            LiveAnswer(span=window.span, gloss=glosses[label], confidence=float(row[label]), probabilities=row)
            for window, row, label in zip(windows, rows, best, strict=True)
        ]


class _Window:
    """A window that has begun."""

    def __init__(self, span: Span, specs: Sequence[ClipSpec]) -> None:
        self.span = span
        self._seconds = {spec: sample_times(*span, spec.num_frames) for spec in specs}
        self.frames: dict[ClipSpec, list[Any]] = {spec: [] for spec in specs}
        """What is kept of its frames so far, for each kind of clips."""

    def due(self, until_seconds: float) -> Iterator[tuple[ClipSpec, int]]:
        """Yield the kinds of clips that have sampled times without a frame before this time, and how many."""
        for spec, frames in self.frames.items():
            times = int(np.searchsorted(self._seconds[spec], until_seconds)) - len(frames)
            if times:
                yield spec, times

    @property
    def is_whole(self) -> bool:
        """Return whether no frame is missing."""
        return all(len(frames) == spec.num_frames for spec, frames in self.frames.items())

    def clips(self, makers: dict[ClipSpec, ClipMaker]) -> list[Any]:
        """Return its clip of each kind."""
        return [makers[spec].clip(frames).frames for spec, frames in self.frames.items()]


def _video_frame(picture: Any) -> VideoFrame:
    """Return a picture as a frame. Raises ValueError if it is none."""
    if isinstance(picture, VideoFrame):
        return picture
    found = np.asarray(picture)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or not found.size:
        raise ValueError(f"a picture is {found.dtype} {list(found.shape)}; expected RGB, uint8 [H, W, 3]")
    return VideoFrame.from_ndarray(np.ascontiguousarray(found), format="rgb24")
