"""What validation measures: accuracies over clips and classes, the confusion matrix, the clips that were mistaken."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before torchmetrics)

from torchmetrics import Metric  # isort: skip
from torchmetrics.functional.classification import multiclass_confusion_matrix  # isort: skip


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Answers for the validation clips, in the order of their positions; arrays of [N]."""

    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    """Probability of the predicted class."""
    ranks: NDArray[np.int64]
    """How many classes were rated above the right one."""
    losses: NDArray[np.float32]
    num_classes: int

    def figures(self) -> dict[str, float]:
        """Return accuracies, 0 to 1, and the mean loss; the mean over classes is over those that have clips."""
        right = self.ranks == 0
        counts = np.bincount(self.labels, minlength=self.num_classes)
        hits = np.bincount(self.labels[right], minlength=self.num_classes)
        return {
            "accuracy": float(right.mean()),
            "top5_accuracy": float((self.ranks < 5).mean()),
            "mean_class_accuracy": float((hits[counts > 0] / counts[counts > 0]).mean()),
            "loss": float(self.losses.mean()),
        }

    def confusion(self) -> NDArray[np.int64]:
        """Return how often each class (row) was taken for each (column), int64 [classes, classes]."""
        matrix: Tensor = multiclass_confusion_matrix(
            torch.from_numpy(self.predicted), torch.from_numpy(self.labels), self.num_classes
        )
        return matrix.numpy()

    def mistaken(self) -> NDArray[np.int64]:
        """Return which answers are wrong, as places in the arrays, the surest first."""
        wrong = np.flatnonzero(self.ranks > 0)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]


class ValidationAnswers(Metric):
    """Gathers the answers of all batches and all ranks."""

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
        columns: dict[str, Tensor] = {
            "positions": positions.to(labels.device),
            "labels": labels,
            "predicted": predicted,
            "confidence": confidence,
            # "Not below or equal", so that no answer (NaN) is a wrong one; of equal ones, the answer's comes first.
            "ranks": (~(scores <= own)).sum(dim=1) + ((predicted != labels) & (scores.amax(dim=1) == own[:, 0])),
            "losses": functional.cross_entropy(scores, labels, reduction="none"),
        }
        for name, values in columns.items():
            getattr(self, name).append(values)

    def compute(self) -> dict[str, NDArray[Any]]:
        """Return the columns of all answers, in the order of their positions."""
        columns = {name: _joined(getattr(self, name)).cpu().numpy() for name in _COLUMNS}
        order = np.argsort(columns["positions"])
        return {name: values[order] for name, values in columns.items()}

    def validation(self) -> Validation:
        """Return all answers of all ranks."""
        return Validation(num_classes=self.num_classes, **self.compute())


_COLUMNS = ("positions", "labels", "predicted", "confidence", "ranks", "losses")


def _joined(values: Tensor | list[Tensor]) -> Tensor:
    """Return one tensor: between ranks torchmetrics has joined the batches already."""
    return values if isinstance(values, Tensor) else torch.cat(values)
