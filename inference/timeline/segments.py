"""From predictions for overlapping windows of a video to the signs made in it.

In: windows of a video and their class probabilities. Out: `TimelineSegment`s, in their order, never overlapping. A
window decides on the time around its middle, and the best of all sequences of glosses and silence is taken, where each
change has its cost. The trade-off: a boundary is known to within half a stride, and a shorter sign may be missed.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signprep.inference.options import TimelineOptions
from signprep.inference.timeline.path import BestPath
from signprep.pipeline.clips import Span
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.text import first_of

_LEAST_SCORE = 1e-6
"""Least score of a class whose logarithm is taken, so that no single window can forbid a sign."""
ROUNDING_SECONDS = 1e-6
"""Differences of times below this are rounding: 0.3 s is not longer than 0.1 s + 0.2 s."""


@dataclass(frozen=True, kw_only=True)
class TimelineSegment:
    """One sign: [start_seconds, end_seconds) of the video."""

    start_seconds: float
    end_seconds: float
    label: int
    gloss: str
    confidence: float
    """Mean score of the gloss over the segment, 0 to 1."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "start_time": self.start_seconds,
            "end_time": self.end_seconds,
            "predicted_class_name": self.gloss,
            "confidence": self.confidence,
        }


class _Run(NamedTuple):
    """Steps of one label. `weight` is their length in seconds without gaps, `score` the sum of length x score."""

    start: float
    end: float
    label: int
    weight: float
    score: float


def timeline(
    spans: Sequence[Span], probabilities: NDArray[np.float32], glosses: Sequence[str], options: TimelineOptions
) -> list[TimelineSegment]:
    """Return the signs that windows of a video show.

    Args:
        spans: the windows, W of them in any order, as they were after clipping to the video.
        probabilities: float32 [W, classes], 0 to 1, of each class in each window.
        glosses: the classes' names, in the order of their labels.
        options: rules by which scores become signs.

    Raises:
        SignprepError: the idle gloss is none of the glosses.

    Three windows of 2 s, every 0.5 s: their middles are 1.0, 1.5 and 2.0 s, so 1.75 s parts the last two.

    >>> spans = [Span(0.0, 2.0), Span(0.5, 2.5), Span(1.0, 3.0)]
    >>> scores = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8]], np.float32)
    >>> for sign in timeline(spans, scores, ["왼쪽", "위"], TimelineOptions(smoothing_seconds=0)):
    ...     print(sign.start_seconds, sign.end_seconds, sign.gloss, round(sign.confidence, 2))
    0.0 1.75 왼쪽 0.84
    1.75 3.0 위 0.8
    """
    assert probabilities.shape == (len(spans), len(glosses)), f"{probabilities.shape}: not windows x classes"
    finder = SignFinder(glosses, options)
    order = np.argsort([span.start_seconds + span.end_seconds for span in spans], kind="stable")
    found = [sign for number in order for sign in finder.add(spans[number], probabilities[number])]
    return found + finder.finish()


class SignFinder:
    """Finds the signs of windows that come one after the other: those of `timeline`, each as soon as it is sure."""

    def __init__(self, glosses: Sequence[str], options: TimelineOptions, *, most_undecided: int | None = None) -> None:
        """Begin before the first window.

        Args:
            glosses: the classes' names, in the order of their labels.
            options: rules by which scores become signs.
            most_undecided: windows that are kept at most, where it stays unsure for long which sign they show; then the
                oldest is decided by what is best so far, which later windows may not agree with. None keeps all.

        Raises SignprepError if the idle gloss is none of the glosses.
        """
        self._glosses, self._options = glosses, options
        self._idle = idle_label(glosses, options)
        self._path = BestPath(options.switch_cost, most_undecided)
        self._windows: deque[_Scored] = deque()
        """Those whose scores others need: of as far back as scores are shared."""
        self._num_scored = 0
        self._last: _Scored | None = None
        self._border = -np.inf
        self._steps: deque[tuple[float, float, NDArray[np.float64]]] = deque()
        """Start, end and scores of steps whose label is not decided."""
        self._runs = _Joined(options.merge_gap_seconds)
        # Joined once more, since a segment between two of one gloss may have been dropped.
        self._kept = _Joined(options.merge_gap_seconds)

    def add(self, span: Span, probabilities: NDArray[np.float32]) -> list[TimelineSegment]:
        """Take the next window, whose middle is not before the last one's, and return the signs that are sure by it."""
        middle = (span.start_seconds + span.end_seconds) / 2
        self._windows.append(_Scored(span, middle, probabilities))
        return [
            sign for window in self._scored(middle - self._options.smoothing_seconds) for sign in self._next(window)
        ]

    def finish(self) -> list[TimelineSegment]:
        """Return the other signs; no window comes after."""
        found = [sign for window in self._scored(np.inf) for sign in self._next(window)]
        labels = []
        if self._last is not None:
            labels = self._add_step(np.inf)
            self._last = None
        found += self._decided(labels + self._path.end())
        return found + self._segments(self._runs.close(np.inf)) + [*map(self._segment, self._kept.close(np.inf))]

    def _scored(self, until: float) -> Iterator["_Scored"]:
        """Yield the windows whose middles are not after a time with their scores: the mean over windows within reach.

        The nearer a window, the heavier it counts.
        """
        reach = self._options.smoothing_seconds
        while self._num_scored < len(self._windows) and self._windows[self._num_scored].middle <= until:
            window = self._windows[self._num_scored]
            if not reach:
                self._windows.popleft()
                yield window._replace(scores=window.scores.astype(np.float64))
                continue
            low, high = window.middle - reach, window.middle + reach
            near = [one for one in self._windows if one is window or low <= one.middle < high]
            middles = np.array([one.middle for one in near])
            weights = np.maximum(0.0, 1 - np.abs(middles - window.middle) / reach)
            self._num_scored += 1
            yield window._replace(scores=weights @ np.stack([one.scores for one in near]) / weights.sum())
            while self._windows[0].middle < window.middle - reach:
                self._windows.popleft()
                self._num_scored -= 1

    def _next(self, window: "_Scored") -> list[TimelineSegment]:
        """Decide on the step of the window before this one, whose end is known now."""
        labels = []
        if self._last is not None:
            labels = self._add_step(round((self._last.middle + window.middle) / 2, 9))
        self._last = window
        return self._decided(labels)

    def _add_step(self, after: float) -> list[int]:
        assert self._last is not None
        span, _, scores = self._last
        start, end = max(span.start_seconds, self._border), min(span.end_seconds, after)
        self._border = after
        self._steps.append((start, end, scores))
        return self._path.add(_evidence(scores, self._idle, self._options), max(0.0, end - start))

    def _decided(self, labels: Sequence[int]) -> list[TimelineSegment]:
        """Return the signs that are sure, once the labels of the next steps are."""
        found: list[TimelineSegment] = []
        for label in labels:
            start, end, scores = self._steps.popleft()
            if start < end and label not in (self._idle, len(scores)):
                found += self._segments(
                    self._runs.add(_Run(start, end, label, end - start, (end - start) * scores[label]))
                )
            found += self._segments(self._runs.close(end))
            begun, kept = self._runs.open, self._kept.open
            same = begun is not None and kept is not None and begun.label == kept.label
            found += map(self._segment, self._kept.close(begun.start if same and begun is not None else end))
        return found

    def _segments(self, runs: Sequence["_Run"]) -> list[TimelineSegment]:
        """Return the segments that are sure by runs that no other joins any more."""
        options = self._options
        found: list[TimelineSegment] = []
        for run in runs:
            if (
                run.end - run.start >= options.min_duration_seconds - ROUNDING_SECONDS
                and run.score / run.weight >= options.min_confidence - ROUNDING_SECONDS
            ):
                found += map(self._segment, self._kept.add(run))
        return found

    def _segment(self, run: "_Run") -> TimelineSegment:
        return TimelineSegment(
            start_seconds=run.start,
            end_seconds=run.end,
            label=run.label,
            gloss=self._glosses[run.label],
            confidence=min(1.0, max(0.0, float(run.score / run.weight))),
        )


class _Scored(NamedTuple):
    """A window, its middle, and its scores."""

    span: Span
    middle: float
    scores: NDArray[Any]


def steps(spans: Sequence[Span]) -> list[Span]:
    """Return for each of the ascending windows the time that it decides on.

    This is the time nearer to its middle than to another window's, as far as the window shows it.

    >>> [tuple(step) for step in steps([Span(0.0, 2.0), Span(1.0, 3.0), Span(4.0, 5.0)])]
    [(0.0, 1.5), (1.5, 3.0), (4.0, 5.0)]
    """
    middles = [(span.start_seconds + span.end_seconds) / 2 for span in spans]
    borders = [round((one + next_one) / 2, 9) for one, next_one in pairwise(middles)]
    return [
        Span(max(span.start_seconds, before), min(span.end_seconds, after))
        for span, before, after in zip(spans, [-np.inf, *borders], [*borders, np.inf], strict=True)
    ]


def idle_label(glosses: Sequence[str], options: TimelineOptions) -> int | None:
    """Return the label of the idle gloss, None without one. Raises SignprepError if it is none of the glosses."""
    if options.idle_gloss is None:
        return None
    if options.idle_gloss not in glosses:
        known = first_of(glosses, 8)
        raise SignprepError(f"the model knows no gloss {options.idle_gloss!r} for no sign; its glosses are {known}")
    return list(glosses).index(options.idle_gloss)


def _evidence(scores: NDArray[np.float64], idle: int | None, options: TimelineOptions) -> NDArray[np.float64]:
    """Return the log scores of a step, float64 [classes + 1]; the last is no sign, without an idle class."""
    logs = np.log(np.maximum(np.append(scores, options.min_confidence if idle is None else 0.0), _LEAST_SCORE))
    if idle is not None:
        logs[idle] += np.log(options.idle_weight)
    return logs


class _Joined:
    """Joins runs that come one after the other where they have one label and no more than a gap between them."""

    def __init__(self, gap_seconds: float) -> None:
        self._gap = gap_seconds + ROUNDING_SECONDS
        self.open: _Run | None = None
        """The last one, which others may join."""

    def add(self, run: _Run) -> list[_Run]:
        """Take the next run, and return the one before it if that does not join it."""
        last, self.open = self.open, run
        if last is None:
            return []
        if last.label == run.label and run.start - last.end <= self._gap:
            self.open = _Run(last.start, run.end, run.label, last.weight + run.weight, last.score + run.score)
            return []
        return [last]

    def close(self, start: float) -> list[_Run]:
        """Return the last run, if none that begins at this time or later joins it."""
        if self.open is None or start - self.open.end <= self._gap:
            return []
        last, self.open = self.open, None
        return [last]
