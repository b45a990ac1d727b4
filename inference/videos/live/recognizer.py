"""Answers for frames that come one by one, from a camera for example: windows as those of `infer`, without a file.

In: pictures and when they were taken. Out: an answer for each window, as soon as a frame comes after its last one. Only
frames that a window shows are looked at, each once; in memory are those of the windows that have begun.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from signprep.inference.options import PER_VIDEO, TIMELINE_CLIP_SECONDS, TIMELINE_STRIDE_SECONDS, WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.videos.windows import DURATION_SLACK_SECONDS, rounded, video_makers
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import ClipMaker, Span
from signprep.pipeline.options import require_type
from signprep.pipeline.video.frame_times import nanoseconds, sample_times
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

    Given the decoded frames of a video and its windows, it answers to the bit as `infer --batch-size 1` does with the
    same `--landmark-tracking`. Without the windows it does not know the end before it comes: then the last window, and
    points that are followed through the time of it, may differ.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        clip_duration: float = TIMELINE_CLIP_SECONDS,
        stride: float = TIMELINE_STRIDE_SECONDS,
        landmark_tracking: str = PER_VIDEO,
        pixel_aspect: Fraction = SQUARE,
        windows: Sequence[Span] | None = None,
    ) -> None:
        """Begin a stream.

        Args:
            recognizer: of one checkpoint or several, as `open_models` gives it.
            clip_duration: length of a window, in seconds.
            stride: seconds from one window's start to the next one's.
            landmark_tracking: video, to follow landmarks from frame to frame; clip, to find them in each window anew.
            pixel_aspect: width of a pixel by its height, as stored.
            windows: all windows of a video whose end is known, in order, none beyond it; without them one begins every
                `stride` seconds, and the stream begins anew after a gap longer than a window.

        Raises:
            ValueError: a length is not above 0, or the tracking is something else.
            SignprepError: MediaPipe's models are needed and not there.
        """
        require_type("recognizer", recognizer, Recognizer)
        self._recognizer = recognizer
        self._options = WindowOptions(clip_duration=clip_duration, stride=stride, landmark_tracking=landmark_tracking)
        self._stride, self._pixel_aspect, self._planned = stride, pixel_aspect, windows
        self.late_windows = 0
        """Windows without an answer, since there was no time."""
        self._begin()

    def _begin(self) -> None:
        """Forget all frames."""
        make = video_makers(self._options)
        self._makers = {spec: make(spec, self._pixel_aspect) for spec in self._recognizer.clip_specs}
        self._windows: deque[_Window] = deque()
        self._num_windows = 0
        self._start_seconds = 0.0
        self._until = -math.inf
        """End of the last window that was answered for."""
        self._last: _Shown | None = None
        self._recent: deque[_Shown] = deque()
        """Frames of the last window's length, of which a stream's last window is made when it ends."""

    def add(
        self,
        picture: NDArray[np.uint8] | VideoFrame | None,
        seconds: float,
        *,
        is_late: Callable[[], bool] = lambda: False,
    ) -> list[LiveAnswer]:
        """Take the next frame, and return the answers for the windows that ended before it: mostly none or one.

        A frame is shown until the next one, so frames may come at any rate, and be left out where time is short. After
        a gap longer than a window the stream begins anew.

        Args:
            picture: upright RGB as others see the signer, not mirrored: uint8 [H, W, 3], or a frame of PyAV; None for a
                frame that is damaged: windows that show it have no answer.
            seconds: when it was taken, by any clock; later than the frame before.
            is_late: is asked before each window but the last of these; one that is late has no answer.

        Raises:
            ValueError: the picture is something else, or not later than the one before.
            DecodeError, SignprepError, CheckpointError: as for the windows of a video.
        """
        frame, seconds = None if picture is None else _video_frame(picture), float(seconds)
        last = self._last
        if not math.isfinite(seconds) or (last is not None and seconds <= last.seconds):
            before = "" if last is None else f" after one at {last.seconds} s"
            raise ValueError(f"a frame came at {seconds} s{before}; expected ascending times in seconds")
        if last is not None and self._planned is None and seconds - last.seconds > self._options.clip_duration:
            self._begin()
            last = None
        if last is None:
            self._start_seconds = seconds
            ended = []
        else:
            ended = self._show(last, seconds)
            self._until = ended[-1].span.end_seconds if ended else self._until
        self._last = _Shown(frame, seconds, {})
        return self._answers(ended, is_late)

    def finish(self, seconds: float | None = None) -> list[LiveAnswer]:
        """End the stream, and return the answers for the windows until there; then another one may begin.

        Args:
            seconds: until when the last frame was shown; a moment after it by default.

        Raises as `add`.
        """
        if self._last is None:
            return []
        last = self._last.seconds
        end = math.nextafter(last, math.inf) if seconds is None else max(float(seconds), last)
        ended = self._show(self._last, end if self._planned is None else math.inf)
        if self._planned is None:
            ended = self._up_to_the_end(ended, end)
        answers = self._answers(ended, lambda: False)
        self._begin()
        return answers

    def _up_to_the_end(self, ended: "list[_Window]", end: float) -> "list[_Window]":
        """Return the last windows as a video has them that ends there: up to the first that reaches its end."""
        until, found = self._until, []
        for window in ended:
            if until < end - DURATION_SLACK_SECONDS:
                found.append(window)
                until = window.span.end_seconds
        if self._start_seconds < until < end - DURATION_SLACK_SECONDS and self._windows:
            found.append(self._cut(self._windows[0], end))
        return found

    def _cut(self, window: "_Window", end: float) -> "_Window":
        """Return a window that begins as another one and ends where the stream does, of the frames that are kept."""
        cut = _Window(window.span.start_seconds, end, self._recognizer.clip_specs)
        for shown, following in pairwise([*self._recent, None]):
            assert shown is not None
            self._give(shown, [cut], math.inf if following is None else following.seconds)
        return cut

    def _show(self, shown: "_Shown", until_seconds: float) -> "list[_Window]":
        """Give a frame to all windows that show it before a time; return those that are whole."""
        for window in self._begun_before(until_seconds):
            self._windows.append(window)
            self._num_windows += 1
        if self._planned is None:
            self._recent.append(shown)
            while len(self._recent) > 1 and self._recent[1].seconds <= until_seconds - self._options.clip_duration:
                self._recent.popleft()
        self._give(shown, self._windows, until_seconds)
        ended = []
        while self._windows and self._windows[0].is_whole:
            ended.append(self._windows.popleft())
        return ended

    def _begun_before(self, until_seconds: float) -> "Iterator[_Window]":
        """Yield the next windows that begin before a time."""
        specs = self._recognizer.clip_specs
        while self._planned is None or self._num_windows < len(self._planned):
            if self._planned is not None:
                start, end = self._planned[self._num_windows]
            else:
                start = rounded(self._start_seconds + self._num_windows * self._stride)
                end = rounded(start + self._options.clip_duration)
            if not start < until_seconds:
                return
            yield _Window(start, end, specs)

    def _give(self, shown: "_Shown", windows: "Iterable[_Window]", until_seconds: float) -> None:
        for window in windows:
            for spec, times in window.due(until_seconds):
                if shown.frame is None:
                    window.is_damaged = True
                elif spec not in shown.made:
                    shown.made[spec] = self._makers[spec].frame(shown.frame)
                window.frames[spec] += [shown.made.get(spec)] * times

    def _answers(self, windows: "Sequence[_Window]", is_late: Callable[[], bool]) -> list[LiveAnswer]:
        answers = []
        for window in windows:
            if window is not windows[-1] and is_late():
                self.late_windows += 1
                continue
            if window.is_damaged:
                continue
            # One by one, since a model's last bits may depend on what else is in a batch.
            [row] = self._recognizer.window_probabilities([window.clips(self._makers)])
            label = int(row.argmax())
            answers.append(
                LiveAnswer(
                    span=window.span,
                    gloss=self._recognizer.glosses[label],
                    confidence=float(row[label]),
                    probabilities=row.copy(),
                )
            )
        return answers


class _Shown(NamedTuple):
    """A frame, None if it is damaged, the time from which on it is shown, and what was made of it for each spec."""

    frame: VideoFrame | None
    seconds: float
    made: dict[ClipSpec, Any]


class _Window:
    """A window that has begun."""

    def __init__(self, start: float, end: float, specs: Sequence[ClipSpec]) -> None:
        self.span = Span(start, rounded(end))
        self.is_damaged = False
        self._times = {spec: nanoseconds(sample_times(start, end, spec.num_frames)) for spec in specs}
        self.frames: dict[ClipSpec, list[Any]] = {spec: [] for spec in specs}
        """What is kept of its frames so far, for each kind of clips."""

    def due(self, until_seconds: float) -> Iterator[tuple[ClipSpec, int]]:
        """Yield the kinds of clips that have sampled times without a frame before this time, and how many."""
        for spec, frames in self.frames.items():
            until = np.inf if math.isinf(until_seconds) else nanoseconds([until_seconds])[0]
            times = int(np.searchsorted(self._times[spec], until)) - len(frames)
            if times > 0:
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
