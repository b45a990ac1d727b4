"""From predictions for overlapping windows of a video to the signs made in it.

In: windows of a video and their class probabilities. Out: `TimelineSegment`s, in their order, never overlapping. A
window decides on the time around its middle, and the best of all sequences of glosses and silence is taken, where each
change has its cost. The trade-off: a boundary is known to within half a stride, and a shorter sign may be missed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signprep.inference.options import TimelineOptions
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
    if not spans:
        return []
    runs = _runs(spans, probabilities, _idle_label(glosses, options), options)
    runs = _joined(runs, options.merge_gap_seconds)
    runs = [
        run
        for run in runs
        if run.end - run.start >= options.min_duration_seconds - ROUNDING_SECONDS
        and run.score / run.weight >= options.min_confidence - ROUNDING_SECONDS
    ]
    # Joined once more, since a segment between two of one gloss may have been dropped.
    return [
        TimelineSegment(
            start_seconds=run.start,
            end_seconds=run.end,
            label=run.label,
            gloss=glosses[run.label],
            confidence=min(1.0, max(0.0, run.score / run.weight)),
        )
        for run in _joined(runs, options.merge_gap_seconds)
    ]


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


def _idle_label(glosses: Sequence[str], options: TimelineOptions) -> int | None:
    if options.idle_gloss is None:
        return None
    if options.idle_gloss not in glosses:
        known = first_of(glosses, 8)
        raise SignprepError(f"the model knows no gloss {options.idle_gloss!r} for no sign; its glosses are {known}")
    return list(glosses).index(options.idle_gloss)


def _runs(
    spans: Sequence[Span], probabilities: NDArray[np.float32], idle: int | None, options: TimelineOptions
) -> list[_Run]:
    """Return a run for each step that shows a sign."""
    order = np.argsort([span.start_seconds + span.end_seconds for span in spans], kind="stable")
    ordered = [spans[number] for number in order]
    middles = np.array([(span.start_seconds + span.end_seconds) / 2 for span in ordered])
    scores = np.stack(list(_smoothed(middles, probabilities[order], options.smoothing_seconds)))
    shown = steps(ordered)
    seconds = np.array([max(0.0, end - start) for start, end in shown])
    labels = best_path(_evidence(scores, idle, options), seconds, options.switch_cost)
    return [
        _Run(start, end, int(label), end - start, (end - start) * float(row[label]))
        for (start, end), label, row in zip(shown, labels, scores, strict=True)
        if start < end and label not in (idle, scores.shape[1])
    ]


def _evidence(scores: NDArray[np.float64], idle: int | None, options: TimelineOptions) -> NDArray[np.float64]:
    """Return the log scores of each step, float64 [W, classes + 1]; the last is no sign, without an idle class."""
    none = np.full((len(scores), 1), options.min_confidence if idle is None else 0.0)
    logs = np.log(np.maximum(np.hstack([scores, none]), _LEAST_SCORE))
    if idle is not None:
        logs[:, idle] += np.log(options.idle_weight)
    return logs


def best_path(evidence: NDArray[np.float64], seconds: NDArray[np.float64], switch_cost: float) -> NDArray[np.int64]:
    """Return the column of each step, int64 [W], such that evidence x seconds, less the cost of each change, is most.

    Source: Viterbi's algorithm, with the same cost for a change from any column to any other.

    A change back and forth for a step that is hardly better is not worth its cost:

    >>> evidence = np.log([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    >>> best_path(evidence, np.full(6, 0.1), 0.0).tolist(), best_path(evidence, np.full(6, 0.1), 0.1).tolist()
    ([0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1])
    """
    num_steps, num_columns = evidence.shape
    # A path that changes comes from the best column before, the same for all: a bit a step and column is enough.
    stays = np.ones((num_steps, num_columns), np.bool_)
    best = np.empty(num_steps, np.int64)
    total = evidence[0] * seconds[0]
    for step in range(1, num_steps):
        best[step] = total.argmax()
        changed = total[best[step]] - switch_cost
        stays[step] = total >= changed
        total = np.maximum(total, changed) + evidence[step] * seconds[step]
    path = np.empty(num_steps, np.int64)
    path[-1] = total.argmax()
    for step in range(num_steps - 1, 0, -1):
        path[step - 1] = path[step] if stays[step, path[step]] else best[step]
    return path


def _smoothed(
    middles: NDArray[np.float64], probabilities: NDArray[np.float32], reach: float
) -> Iterator[NDArray[np.float64]]:
    """Yield each window's scores, float64 [classes]: the mean over windows within `reach`, the nearer the heavier."""
    if not reach:
        yield from probabilities.astype(np.float64)
        return
    for row, middle in enumerate(middles):
        low, high = np.searchsorted(middles, (middle - reach, middle + reach))
        near = slice(min(int(low), row), max(int(high), row + 1))
        weights = np.maximum(0.0, 1 - np.abs(middles[near] - middle) / reach)
        yield weights @ probabilities[near] / weights.sum()


def _joined(runs: Sequence[_Run], gap_seconds: float) -> list[_Run]:
    """Return runs, with neighbours of one label joined where no more than the gap is between them."""
    joined: list[_Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if last and last.label == run.label and run.start - last.end <= gap_seconds + ROUNDING_SECONDS:
            joined[-1] = _Run(last.start, run.end, run.label, last.weight + run.weight, last.score + run.score)
        else:
            joined.append(run)
    return joined
