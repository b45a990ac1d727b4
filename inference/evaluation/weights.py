"""Weights of models that answer together, from labelled clips: those with the greatest likelihood of what is right.

In: the models' calibrated log-probabilities of N clips. Out: one weight a model, 0 or more, with a sum of 1. These are
few parameters, and each model alone is among the choices, so that none of them fits the clips better.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

_ROWS = 1024
"""Clips at a time in 64 bits, as in `metrics`."""
_PRECISION = 1e-4
_MOST_ROUNDS = 50
_FLAT = 1e-9
"""Slopes below this say nothing: both models answer the same."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well weights fit clips."""

    weights: tuple[float, ...]
    accuracy: float
    nll: float
    """Mean negative log-likelihood of the correct glosses, in nats."""


def fit_weights(logs: Sequence[NDArray[np.float32]], labels: NDArray[np.int64]) -> tuple[Fit, Fit]:
    """Return the best weights, and the better model alone: the most accurate one, of equals the likelier one.

    The weights are at least as accurate as that model and fit no worse: the likeliest ones are moved towards it until
    that is so.

    Args:
        logs: log-probabilities of each model, float32 [N, classes], in one order of the classes.
        labels: the correct ones, [N].
    """
    alone = [_fit(logs, labels, corner) for corner in np.eye(len(logs))]
    better = max(alone, key=lambda one: (one.accuracy, -one.nll))
    likeliest = _likeliest(logs, labels)
    for share in np.linspace(0, 1, 11):
        # NLL is convex in the weights, so that all on this way fit at least as well as its end.
        found = _fit(logs, labels, (1 - share) * likeliest + share * np.array(better.weights))
        if found.accuracy >= better.accuracy:
            return found, better
    return better, better


def _likeliest(logs: Sequence[NDArray[np.float32]], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights with the least NLL: pair after pair shares its weight anew, until nothing moves any more."""
    weights = np.full(len(logs), 1 / len(logs))
    for _ in range(_MOST_ROUNDS):
        before = weights.copy()
        for one, other in combinations(range(len(logs)), 2):
            _share_anew(logs, labels, weights, one, other)
        if np.abs(weights - before).max() < _PRECISION or len(logs) < 3:
            break
    return weights


def _share_anew(
    logs: Sequence[NDArray[np.float32]], labels: NDArray[np.int64], weights: NDArray[np.float64], one: int, other: int
) -> None:
    """Divide the weight of two models between them, in place, by halving, so that NLL is least."""
    total = weights[one] + weights[other]

    def slope(part: float) -> float:
        weights[one], weights[other] = part, total - part
        slopes = _slopes(logs, labels, weights)
        return float(slopes[one] - slopes[other])

    before = float(weights[one])
    if abs(slope(before)) < _FLAT:
        return
    low, high = 0.0, float(total)
    if slope(low) >= 0 or slope(high) <= 0:  # the one of them that is left over gets all
        best = low if slope(low) >= 0 else high
    else:
        while high - low > _PRECISION / 2:
            middle = (low + high) / 2
            low, high = (low, middle) if slope(middle) > 0 else (middle, high)
        best = (low + high) / 2
    weights[one], weights[other] = best, total - best


def _slopes(
    logs: Sequence[NDArray[np.float32]], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the slope of the mean NLL over each weight: the expected log-probability less the correct gloss's."""
    slopes = np.zeros(len(logs))
    for rows, own, combined in _blocks(logs, labels, weights):
        probabilities = np.exp(combined)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        for number, model in enumerate(logs):
            block = model[rows].astype(np.float64)
            slopes[number] += (probabilities * block).sum() - block[np.arange(len(own)), own].sum()
    return slopes / len(labels)


def _fit(logs: Sequence[NDArray[np.float32]], labels: NDArray[np.int64], weights: NDArray[np.float64]) -> Fit:
    right, nll = 0, 0.0
    for _, own, combined in _blocks(logs, labels, weights):
        right += int((combined.argmax(axis=1) == own).sum())
        nll += float((np.log(np.exp(combined).sum(axis=1)) - combined[np.arange(len(own)), own]).sum())
    return Fit(weights=tuple(weights.tolist()), accuracy=right / len(labels), nll=nll / len(labels))


def _blocks(
    logs: Sequence[NDArray[np.float32]], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield rows of the clips, their labels, and the weighted sum of their log-probabilities, the largest 0."""
    for first in range(0, len(labels), _ROWS):
        rows = slice(first, first + _ROWS)
        combined = sum(weight * model[rows].astype(np.float64) for weight, model in zip(weights, logs, strict=True))
        assert not isinstance(combined, int)
        yield rows, labels[rows], combined - combined.max(axis=1, keepdims=True)
