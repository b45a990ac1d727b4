"""Arithmetic of right and wrong answers: accuracies with intervals, by class and by group, and what is confused.

In: labels and predictions, int64 [N]. Out: plain numbers, without models or files.

There are two kinds of 95 % interval. Wilson's (1927; it holds for few clips and for shares near 0 and 1: Brown, Cai
and DasGupta, "Interval Estimation for a Binomial Proportion", 2001) takes every clip as a trial of its own. The
bootstrap over takes (whole clusters: Davison and Hinkley, "Bootstrap Methods and Their Application", 1997, section
3.8; percentiles: Efron, 1979) does not: five views of one take are correct or wrong together. It also serves means.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES, SEED = 1000, 0
"""Percentiles of a thousand resamples of the bootstrap are good to about a tenth of the interval."""


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
