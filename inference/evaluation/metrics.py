"""Arithmetic of an evaluation's logits: ranks, views of one performance, and calibration.

In: labels, int64 [N], and logits, float32 [N, classes]. Out: plain numbers, without models or files. Accuracies and
their intervals are in `training/report/measures.py`.

Confidence, expected calibration error (ECE) and temperature are those of Guo, Pleiss, Sun and Weinberger, "On
Calibration of Modern Neural Networks", 2017: a temperature changes no prediction, only its confidence.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from signprep.training.report.measures import wilson

NUM_BINS = 15
"""Bins of equal width, (0, 1/15] to (14/15, 1], as Guo et al. have them."""
TEMPERATURES = (0.05, 20.0)
"""The best temperature is sought between these. Where all predictions are correct it is 0: surer without end."""
THRESHOLDS = (*(round(0.05 * k, 2) for k in range(20)), 0.99)
"""Confidences in the table of coverage."""
_ROWS = 1024
"""Clips at a time in 64 bits: the probabilities of all clips and classes would take twice the logits' memory."""


def ranks(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many classes are rated above the correct one, int64 [N]; 0 is a correct prediction.

    Of equal ratings the first class counts as the prediction, as `argmax` has it.

    >>> ranks(np.float32([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]]), np.array([2, 1])).tolist()
    [1, 1]
    """
    rows = np.arange(len(labels))
    own = logits[rows, labels]
    above = (logits > own[:, None]).sum(axis=1)
    tied = (logits.argmax(axis=1) != labels) & (logits.max(axis=1) == own)
    return above + tied


class Shown(NamedTuple):
    """The facts that tell whether two clips show the same moment."""

    take: str
    view: str | None
    label: int
    video: str
    start_seconds: float


def performances(clips: Sequence[Shown]) -> list[list[int]]:
    """Return the clips, as places in the sequence, of each performance of a sign that several views show.

    Clips of one take and one class in several views are one performance. If the take repeats a sign, the k-th clips of
    all views are the same performance. Takes whose views have unequal numbers of clips, or clips of several videos, are
    left out, and so are clips without a view.

    >>> performances([Shown("a", "F", 3, "f", 1.0), Shown("a", "L", 3, "l", 1.1), Shown("b", "F", 3, "g", 1.0)])
    [[0, 1]]
    """
    takes: dict[tuple[str, int], dict[str, list[int]]] = {}
    for place, clip in enumerate(clips):
        if clip.view is not None:
            takes.setdefault((clip.take, clip.label), {}).setdefault(clip.view, []).append(place)
    found = []
    for by_view in takes.values():
        columns = [sorted(places, key=lambda place: clips[place].start_seconds) for places in by_view.values()]
        same_number = len({len(column) for column in columns}) == 1
        same_video = all(len({clips[place].video for place in column}) == 1 for column in columns)
        if len(columns) > 1 and same_number and same_video:
            found += [sorted(group) for group in zip(*columns, strict=True)]
    return found


def probabilities(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return class probabilities [N, classes], float64.

    >>> probabilities(np.log(np.float32([[1, 3]]))).round(3).tolist()
    [[0.25, 0.75]]
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=1, keepdims=True)
    return scaled


def confidences(logits: NDArray[np.float32], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return the probability of each clip's prediction, float64 [N]."""
    blocks = (logits[first : first + _ROWS] for first in range(0, len(logits), _ROWS))
    return np.concatenate([probabilities(block, temperature).max(axis=1) for block in blocks])


def nll(logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float = 1.0) -> float:
    """Return the mean negative log likelihood of the correct classes, in nats."""
    return _nll_and_slope(logits, labels, temperature)[0]


def _nll_and_slope(logits: NDArray[np.float32], labels: NDArray[np.int64], temperature: float) -> tuple[float, float]:
    """Return the mean NLL, and its slope over 1 / temperature: the expected logit less the correct one's."""
    total = slope = 0.0
    for first in range(0, len(logits), _ROWS):
        rows = logits[first : first + _ROWS].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        own = rows[np.arange(len(rows)), labels[first : first + _ROWS]]
        weights = np.exp(rows / temperature)
        sums = weights.sum(axis=1)
        total += float((np.log(sums) - own / temperature).sum())
        slope += float(((weights * rows).sum(axis=1) / sums - own).sum())
    return total / len(logits), slope / len(logits)


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float | None:
    """Return the temperature with the least NLL; None where that lies outside `TEMPERATURES`.

    NLL is convex in 1 / temperature, so its slope changes sign once: halving the range of the temperature's logarithm
    finds where, for any logits, without a step size to choose.
    """
    low, high = (float(np.log(end)) for end in TEMPERATURES)

    def too_cold(log_temperature: float) -> bool:
        return _nll_and_slope(logits, labels, float(np.exp(log_temperature)))[1] > 0

    if not too_cold(low) or too_cold(high):
        return None
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if too_cold(middle) else (low, middle)
    return float(np.exp((low + high) / 2))


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return, for each of `NUM_BINS` bins, its clips, their mean confidence and accuracy (None where it has none)."""
    place = np.clip(np.ceil(confidence * NUM_BINS).astype(np.int64) - 1, 0, NUM_BINS - 1)
    rows = []
    for number in range(NUM_BINS):
        inside = place == number
        count, hits = int(inside.sum()), int(correct[inside].sum())
        rows.append(
            {
                "from": number / NUM_BINS,
                "to": (number + 1) / NUM_BINS,
                "clips": count,
                "confidence": float(confidence[inside].mean()) if count else None,
                "accuracy": hits / count if count else None,
                "interval": list(wilson(hits, count)) if count else None,
            }
        )
    return rows


def expected_error(bins: list[dict[str, Any]]) -> float:
    """Return the ECE: the bins' mean gap between confidence and accuracy, by their clips."""
    clips = sum(row["clips"] for row in bins)
    return sum(row["clips"] / clips * abs(row["confidence"] - row["accuracy"]) for row in bins if row["clips"])


def coverage(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return, for each of `THRESHOLDS`, the share of clips predicted at least so surely, and their accuracy.

    >>> coverage(np.array([0.9, 0.4]), np.array([True, False]))[10]
    {'threshold': 0.5, 'clips': 1, 'coverage': 0.5, 'accuracy': 1.0}
    """
    rows = []
    for threshold in THRESHOLDS:
        kept = confidence >= threshold
        count = int(kept.sum())
        accuracy = int(correct[kept].sum()) / count if count else None
        rows.append({"threshold": threshold, "clips": count, "coverage": count / len(correct), "accuracy": accuracy})
    return rows


def describe_calibration(
    logits: NDArray[np.float32], labels: NDArray[np.int64], correct: NDArray[np.bool_], temperature: float
) -> dict[str, Any]:
    """Return ECE, NLL, reliability and coverage at a temperature, as plain JSON types."""
    confidence = confidences(logits, temperature)
    bins = reliability(confidence, correct)
    return {
        "temperature": temperature,
        "ece": expected_error(bins),
        "nll": nll(logits, labels, temperature),
        "mean_confidence": float(confidence.mean()),
        "bins": bins,
        "coverage": coverage(confidence, correct),
    }
