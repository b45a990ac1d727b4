"""`signprep live`: a source's frames to windows, signs and listeners, until it ends or is told to.

In: an opened source and model. Out: calls of listeners, in the order of the stream. In memory are the frames of a
window, those that wait, and the windows whose sign is not sure yet, however long the stream is.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from av import VideoFrame

from signprep.inference.options import TimelineOptions, WindowOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.timeline.segments import SignFinder, TimelineSegment
from signprep.inference.videos.live.buffer import MOST_LATE_SECONDS, Arrived, FrameBuffer
from signprep.inference.videos.live.recognizer import LiveAnswer, LiveRecognizer
from signprep.inference.videos.live.sources import Source

MOST_UNDECIDED = 600
"""Windows of a camera or stream whose sign may be unsure at a time: a minute of them. See `SignFinder`."""
STALL_SECONDS = 5.0
"""After so long without a frame it is said that none comes."""
_POLL_SECONDS = 0.2
_LATENCIES = 10_000


@dataclass
class Statistics:
    """What a session has done so far."""

    frames: int = 0
    dropped_frames: int = 0
    """Frames that were left out since they came too late."""
    damaged_frames: int = 0
    windows: int = 0
    late_windows: int = 0
    """Windows without an answer, since answers before them took too long."""
    signs: int = 0
    seconds: float = 0.0
    """Time of the last frame, from the first one."""
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))
    """Seconds from when a window's last frame came to its answer, of the last windows."""

    def latency(self, percent: float) -> float | None:
        """Return a percentile of the latencies in seconds, None without any."""
        return float(np.percentile(self.latencies, percent)) if self.latencies else None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        counts = {name: value for name, value in vars(self).items() if name != "latencies"}
        return counts | {f"latency_p{percent}_seconds": self.latency(percent) for percent in (50, 99)}


class Listener:
    """Gets what a session finds; each method does nothing unless it is overridden."""

    def picture(self, frame: VideoFrame, seconds: float) -> None:
        """Take a frame that was asked about."""

    def window(self, answer: LiveAnswer, latency_seconds: float) -> None:
        """Take the answer for a window."""

    def sign(self, sign: TimelineSegment) -> None:
        """Take a sign of the timeline, once it is sure."""

    def statistics(self, statistics: Statistics) -> None:
        """Take the figures, after each frame."""

    def end(self, statistics: Statistics) -> None:
        """Take the figures at the end, also of a source that broke off."""


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """How a stream is answered for."""

    windows: WindowOptions
    timeline: TimelineOptions
    real_time: bool = False
    """Play a file at its speed, and drop what comes late, as it is always done with a camera."""


def run_live(
    recognizer: Recognizer,
    source: Source,
    options: LiveOptions,
    listeners: Sequence[Listener],
    *,
    is_stopped: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> Statistics:
    """Answer for a source until it ends, or until `is_stopped`; listeners get all that was seen until then.

    Raises:
        DecodeError: the source broke off. Listeners have got everything before.
        CheckpointError, SignprepError: as for the windows of a video.
    """
    session = _Session(recognizer, source, options, listeners, say)
    session.warm_up()
    is_live = options.real_time or source.is_camera
    buffer = FrameBuffer(source, plays=is_live and not source.is_camera and source.windows is not None, drops=is_live)
    try:
        last_frame, has_stalled = time.monotonic(), False
        while not (is_stopped() or buffer.has_ended):
            arrived = buffer.take(_POLL_SECONDS)
            if arrived is not None:
                if has_stalled:
                    say("pictures come again")
                last_frame, has_stalled = time.monotonic(), False
                # A file that is not played has no frame that could be late.
                session.add(
                    arrived if is_live or source.windows is None else arrived._replace(at=last_frame), buffer.dropped
                )
            elif not has_stalled and time.monotonic() - last_frame > STALL_SECONDS:
                has_stalled = True
                say(f"{source.name}: no picture for {STALL_SECONDS:g} s; waiting for one, Ctrl-C ends")
        session.finish(is_whole=buffer.has_ended and buffer.error is None)
        for listener in listeners:
            listener.end(session.statistics)
    finally:
        buffer.close()
    if buffer.error is not None:
        raise buffer.error
    return session.statistics


class _Session:
    def __init__(
        self,
        recognizer: Recognizer,
        source: Source,
        options: LiveOptions,
        listeners: Sequence[Listener],
        say: Callable[[str], None],
    ) -> None:
        self.statistics = Statistics()
        self._recognizer, self._source, self._options, self._say = recognizer, source, options, say
        self._listeners = listeners
        windows = options.windows
        assert windows.stride is not None
        self._live = LiveRecognizer(
            recognizer,
            clip_duration=windows.clip_duration,
            stride=windows.stride,
            landmark_tracking=windows.landmark_tracking,
            pixel_aspect=source.pixel_aspect,
            windows=source.windows,
        )
        self._finder = self._new_finder()
        self._last: Arrived | None = None

    def _new_finder(self) -> SignFinder:
        most = MOST_UNDECIDED if self._source.windows is None else None
        return SignFinder(self._recognizer.glosses, self._options.timeline, most_undecided=most)

    def warm_up(self) -> None:
        """Ask the model once about nothing: its first answer takes longest, and a camera does not wait for it."""
        specs = self._recognizer.clip_specs
        self._recognizer.window_probabilities([[np.zeros(spec.clip_shape, spec.dtype) for spec in specs]])

    def add(self, arrived: Arrived, dropped: int) -> None:
        """Take a frame."""
        frame, seconds = arrived.shown
        statistics, last = self.statistics, self._last
        statistics.frames, statistics.dropped_frames, statistics.seconds = statistics.frames + 1, dropped, seconds
        if frame is None:
            statistics.damaged_frames += 1
        gap = 0.0 if last is None or self._source.windows is not None else seconds - last.shown.seconds
        if gap > self._options.windows.clip_duration:  # the signs before it are told apart from those behind it
            self._tell(self._finder.finish())
            self._finder = self._new_finder()
        answers = self._live.add(frame, seconds, is_late=lambda: self._is_late(last))
        statistics.late_windows = self._live.late_windows
        self._answer(answers, last)
        self._last = arrived
        for listener in self._listeners:
            if frame is not None:
                listener.picture(frame, seconds)
            listener.statistics(statistics)

    def _is_late(self, last: Arrived | None) -> bool:
        drops = self._options.real_time or self._source.is_camera
        return drops and last is not None and time.monotonic() - last.at > MOST_LATE_SECONDS

    def finish(self, *, is_whole: bool) -> None:
        """Tell the rest. `is_whole` says that the source has come to its end, where the last windows of a file are."""
        if self._last is not None and (is_whole or self._source.windows is None):
            end = self._last.shown.seconds + self._source.frame_seconds
            self._answer(self._live.finish(end), self._last)
        self._tell(self._finder.finish())

    def _answer(self, answers: Sequence[LiveAnswer], last: Arrived | None) -> None:
        for answer in answers:
            assert last is not None
            latency = time.monotonic() - last.at
            self.statistics.windows += 1
            self.statistics.latencies.append(latency)
            for listener in self._listeners:
                listener.window(answer, latency)
            self._tell(self._finder.add(answer.span, answer.probabilities))

    def _tell(self, signs: Sequence[TimelineSegment]) -> None:
        for sign in signs:
            self.statistics.signs += 1
            for listener in self._listeners:
                listener.sign(sign)
