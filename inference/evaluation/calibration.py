"""Calibration: how far a model's confidence can be believed, and the temperature that mends it.

In: logits, float32 [N, classes], and labels, int64 [N]. Out: plain numbers. Dividing logits by a temperature changes no
prediction, only how sure it sounds. Confidence, expected calibration error (ECE) and the temperature itself are defined
as by Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from signprep.inference.evaluation.metrics import wilson
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.training.model.metadata import CHECKPOINT_KEY

NUM_BINS = 15
"""Bins of equal width, (0, 1/15] to (14/15, 1], as Guo et al. have them."""

TEMPERATURES = (0.05, 20.0)
"""The best temperature is sought between these. Where all predictions are correct it is 0: surer without end."""

THRESHOLDS = (*(round(0.05 * k, 2) for k in range(20)), 0.99)
"""Confidences in the table of coverage."""

_ROWS = 1024
"""Clips at a time in 64 bits: the probabilities of all clips and classes would take twice the logits' memory."""


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


def write_temperature(checkpoint: Path, temperature: float) -> None:
    """Put a temperature into a checkpoint that was opened before; all else in it stays as it is."""
    contents = torch.load(checkpoint, map_location="cpu", weights_only=True)
    contents[CHECKPOINT_KEY]["temperature"] = temperature
    with atomic_write(checkpoint) as path:
        torch.save(contents, path)
