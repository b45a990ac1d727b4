"""Metrics of validation: accuracies over clips and classes, the confusion matrix, the clips that were mistaken."""

from dataclasses import dataclass
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchmetrics import Metric

_COLUMNS = ("positions", "labels", "predicted", "confidence", "ranks", "losses")


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Predictions for the validation clips, in the order of their positions; arrays of [N]."""

    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    """Probability of the predicted class."""
    ranks: NDArray[np.int64]
    """Number of classes that were rated above the correct one."""
    losses: NDArray[np.float32]
    num_classes: int

    def figures(self) -> dict[str, float]:
        """Return accuracies, 0 to 1, and the mean loss; the mean over classes is over those that have clips."""
        correct = self.ranks == 0
        counts = np.bincount(self.labels, minlength=self.num_classes)
        hits = np.bincount(self.labels[correct], minlength=self.num_classes)
        return {
            "accuracy": float(correct.mean()),
            "top5_accuracy": float((self.ranks < 5).mean()),
            "mean_class_accuracy": float((hits[counts > 0] / counts[counts > 0]).mean()),
            "loss": float(self.losses.mean()),
        }

    def confusion(self) -> NDArray[np.int64]:
        """Return how often each class (row) was taken for each (column), int64 [classes, classes]."""
        cells = self.labels * self.num_classes + self.predicted
        return np.bincount(cells, minlength=self.num_classes**2).reshape(self.num_classes, self.num_classes)

    def mistaken(self) -> NDArray[np.int64]:
        """Return the places, in the arrays, of the wrong predictions, the surest first."""
        wrong = np.flatnonzero(self.ranks > 0)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]


class ValidationPredictions(Metric):
    """Gathers the predictions of all batches and all ranks."""

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name in _COLUMNS:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, labels: Tensor, positions: Tensor) -> None:
        """Add a batch: logits [B, classes], labels [B], positions [B]."""
        scores = logits.float()
        confidence, predicted = torch.softmax(scores, dim=1).max(dim=1)
        own = scores.gather(1, labels[:, None])
        # "Not below or equal", so that no score (NaN) is a wrong one; of equal scores, the predicted class comes first.
        ranks = (~(scores <= own)).sum(dim=1) + ((predicted != labels) & (scores.amax(dim=1) == own[:, 0]))
        losses = functional.cross_entropy(scores, labels, reduction="none")
        values = (positions.to(labels.device), labels, predicted, confidence, ranks, losses)
        for name, value in zip(_COLUMNS, values, strict=True):
            getattr(self, name).append(value)

    def compute(self) -> dict[str, NDArray[Any]]:
        """Return the columns of all predictions, in the order of their positions."""
        values = {name: getattr(self, name) for name in _COLUMNS}
        # Between ranks torchmetrics has joined the batches already.
        joined = {name: torch.cat(found) if isinstance(found, list) else found for name, found in values.items()}
        columns = {name: value.cpu().numpy() for name, value in joined.items()}
        order = np.argsort(columns["positions"])
        return {name: column[order] for name, column in columns.items()}

    def validation(self) -> Validation:
        """Return all predictions of all ranks."""
        return Validation(num_classes=self.num_classes, **self.compute())
