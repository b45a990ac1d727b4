"""Arithmetic of an evaluation: ranks, accuracies with intervals, confusion, views of one performance, and calibration.

In: labels and predictions, int64 [N], or logits, float32 [N, classes]. Out: plain numbers, without models or files.

There are two kinds of 95 % interval. Wilson's (1927; it holds for few clips and for shares near 0 and 1: Brown, Cai
and DasGupta, "Interval Estimation for a Binomial Proportion", 2001) takes every clip as a trial of its own. The
bootstrap over takes (whole clusters: Davison and Hinkley, "Bootstrap Methods and Their Application", 1997, section
3.8; percentiles: Efron, 1979) does not: five views of one take are correct or wrong together. It also serves means.

Confidence, expected calibration error (ECE) and temperature are those of Guo, Pleiss, Sun and Weinberger, "On
Calibration of Modern Neural Networks", 2017: a temperature changes no prediction, only its confidence.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED = 1000, 0
"""Percentiles of a thousand resamples of the bootstrap are good to about a tenth of the interval."""

NUM_BINS = 15
"""Bins of equal width, (0, 1/15] to (14/15, 1], as Guo et al. have them."""
TEMPERATURES = (0.05, 20.0)
"""The best temperature is sought between these. Where all predictions are correct it is 0: surer without end."""
THRESHOLDS = (*(round(0.05 * k, 2) for k in range(20)), 0.99)
"""Confidences in the table of coverage."""
_ROWS = 1024
"""Clips at a time in 64 bits: the probabilities of all clips and classes would take twice the logits' memory."""


class Interval(NamedTuple):
    """A 95 % interval of a share, both ends 0 to 1."""

    low: float
    high: float


def wilson(correct: int, total: int) -> Interval:
    """Return Wilson's score interval for `correct` of `total`, total > 0.

    >>> [round(end, 4) for end in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    share, z = correct / total, 1.959964  # the normal quantile of a two-sided 95 % interval
    scale = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z / scale * float(np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)))
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def share_of(correct: NDArray[np.bool_]) -> dict[str, Any]:
    """Return clips, correct ones, their share and its interval, [N] -> plain JSON types; N > 0."""
    total, hits = len(correct), int(correct.sum())
    return {"clips": total, "right": hits, "accuracy": hits / total, "interval": list(wilson(hits, total))}


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


def mean_over_classes(correct: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """Return the mean of the classes' accuracies, over those that have clips.

    >>> mean_over_classes(np.array([True, True, False, True]), np.array([0, 0, 0, 2]))
    0.8333333333333333
    """
    clips = np.bincount(labels)
    hits = np.bincount(labels[correct], minlength=len(clips))
    return float((hits[clips > 0] / clips[clips > 0]).mean())


def bootstrap_over_takes(
    correct: NDArray[np.bool_], labels: NDArray[np.int64], takes: NDArray[np.int64]
) -> tuple[Interval, Interval] | None:
    """Return the intervals of the accuracy over clips and of the mean over classes; None for fewer than two takes.

    Each of `RESAMPLES` draws as many takes as there are, with repetition, all clips of a take with it. A class none of
    whose takes was drawn is no part of that resample's mean. Labels and takes, [N], are numbers from 0 on.
    """
    num_takes = int(takes.max()) + 1
    if num_takes < 2:
        return None
    # By take and class: a take's clips are mostly of one class, so cells are about as many as takes.
    cells, cell = np.unique(takes * (labels.max() + 1) + labels, return_inverse=True)
    clips, hits = np.bincount(cell), np.bincount(cell, weights=correct)
    cell_take, cell_class = np.divmod(cells, labels.max() + 1)
    generator = np.random.default_rng(SEED)
    over_clips, over_classes = np.empty(RESAMPLES), np.empty(RESAMPLES)
    for resample in range(RESAMPLES):
        times = np.bincount(generator.integers(num_takes, size=num_takes), minlength=num_takes)[cell_take]
        class_clips = np.bincount(cell_class, weights=times * clips)
        class_hits = np.bincount(cell_class, weights=times * hits)
        drawn = class_clips > 0
        over_clips[resample] = class_hits.sum() / class_clips.sum()
        over_classes[resample] = (class_hits[drawn] / class_clips[drawn]).mean()
    return _percentiles(over_clips), _percentiles(over_classes)


def _percentiles(values: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))


def accuracy_by(values: Sequence[str | None], correct: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the accuracy of the clips of each value, by value; those without one, None, come last.

    >>> [(row["value"], row["right"], row["clips"]) for row in accuracy_by(["F", None, "F"], np.array([1, 1, 0], bool))]
    [('F', 1, 2), (None, 1, 1)]
    """
    names = sorted({value for value in values if value is not None})
    numbers: dict[str | None, int] = {name: number for number, name in enumerate([*names, None])}
    group = np.array([numbers[value] for value in values])
    return [{"value": name} | share_of(correct[group == number]) for name, number in numbers.items() if number in group]


def confused_pairs(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], *, most: int
) -> list[tuple[int, int, int, int]]:
    """Return the most frequent mistakes: correct class, predicted class, times, and number of clips of the correct one.

    >>> confused_pairs(np.array([0, 0, 0, 1]), np.array([1, 1, 0, 0]), most=5)
    [(0, 1, 2, 3), (1, 0, 1, 1)]
    """
    wrong = labels != predicted
    pairs, times = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    order = np.argsort(-times, kind="stable")[:most]
    clips = np.bincount(labels)
    return [(int(pairs[0, k]), int(pairs[1, k]), int(times[k]), int(clips[pairs[0, k]])) for k in order]


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
