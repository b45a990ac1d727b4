"""A model's answers to clips of a cache, and what a report says of them, as plain JSON types.

In: labels and predictions of N clips. Out: accuracies with their intervals, over clips, takes, signers, views and
glosses; which gloss was taken for which; and the mistaken clips, the surest first. Training's last validation and an
evaluation are described by the same functions, so that their figures can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.training.report.measures import (
    Interval,
    accuracy_by,
    bootstrap_over_takes,
    confused_pairs,
    mean_over_classes,
    share_of,
)

LISTED_PAIRS, LISTED_MISTAKES = 50, 100
TOP_K = 5
_COLUMNS = ("segment_id", "video", "start_seconds", "item", "source", "signer", "view", "take")


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The predictions of a model for N clips, beside the columns of the clips' index rows."""

    glosses: Sequence[str]
    """The model's glosses, in the order of their labels."""
    positions: NDArray[np.int64]
    """Of the clips in their cache, [N]."""
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    """The predicted labels, [N]."""
    ranks: NDArray[np.int64]
    """How many classes are rated above the correct one, [N]; 0 is a correct prediction."""
    confidence: NDArray[np.floating]
    """The probability of each prediction, [N]."""
    columns: dict[str, list[Any]]

    @classmethod
    def of(cls, cache: Cache, glosses: Sequence[str], positions: NDArray[np.int64], **answers: NDArray[Any]) -> Self:
        """Return the answers for clips of a cache; `answers` are the other fields."""
        rows = cache.index.select(list(_COLUMNS)).take(pa.array(positions))
        columns = {name: rows[name].to_pylist() for name in _COLUMNS}
        return cls(glosses=glosses, positions=positions, columns=columns, **answers)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each prediction is correct, [N]."""
        found: NDArray[np.bool_] = self.ranks == 0
        return found

    def describe(self, top_k: int = TOP_K) -> dict[str, Any]:
        """Return all that a report says of the answers; a prediction also counts as correct among `top_k`."""
        correct = self.correct
        return {
            "classes": len(self.glosses),
            "classes_with_clips": len(np.unique(self.labels)),
            "clips": len(self.labels),
            "takes": len(set(self.columns["take"])),
            "figures": self._figures(top_k),
            "by": {
                **{name: accuracy_by(self.columns[name], correct) for name in ("signer", "view", "source")},
                "gloss": accuracy_by([self.glosses[label] for label in self.labels], correct),
            },
            "confused": self._confused(),
            "confusion": self._confusion(),
            "mistaken": self._mistaken(),
        }

    def _figures(self, top_k: int) -> dict[str, Any]:
        """Return the headline: accuracies over clips and classes, with their intervals."""
        correct, labels = self.correct, self.labels
        takes = np.unique(np.array(self.columns["take"]), return_inverse=True)[1]
        near = self.ranks < top_k
        first, among = bootstrap_over_takes(correct, labels, takes), bootstrap_over_takes(near, labels, takes)
        is_telling = top_k < len(self.glosses)
        return {
            "top_1": share_of(correct) | _over_takes(first, 0),
            "top_k": {"k": top_k} | share_of(near) | _over_takes(among, 0) if is_telling else None,
            "mean_over_classes": {"accuracy": mean_over_classes(correct, labels)} | _over_takes(first, 1),
        }

    def _confused(self) -> list[dict[str, Any]]:
        pairs = confused_pairs(self.labels, self.predicted, most=LISTED_PAIRS)
        return [
            {"right": self.glosses[correct], "answered": self.glosses[predicted], "times": times, "of": of}
            for correct, predicted, times, of in pairs
        ]

    def _confusion(self) -> dict[str, Any]:
        """Return the confusion matrix without its zeros: glosses that occur, and places among them with their times."""
        num_classes = len(self.glosses)
        cells, times = np.unique(self.labels * num_classes + self.predicted, return_counts=True)
        labels, predicted = np.divmod(cells, num_classes)
        used = np.unique(np.concatenate([labels, predicted]))
        return {
            "glosses": [self.glosses[label] for label in used],
            "right": np.searchsorted(used, labels).tolist(),
            "answered": np.searchsorted(used, predicted).tolist(),
            "times": times.tolist(),
        }

    def _mistaken(self) -> list[dict[str, Any]]:
        """Return the clips whose prediction is wrong, the surest first."""
        wrong = np.flatnonzero(~self.correct)
        rows = []
        for place in wrong[np.argsort(-self.confidence[wrong], kind="stable")][:LISTED_MISTAKES].tolist():
            row = {"position": int(self.positions[place])}
            row |= {name: self.columns[name][place] for name in ("segment_id", "signer", "view", "take")}
            row["right"] = self.glosses[self.labels[place]]
            row["answered"] = self.glosses[self.predicted[place]]
            rows.append(row | {"confidence": float(self.confidence[place])})
        return rows


def _over_takes(intervals: tuple[Interval, Interval] | None, place: int) -> dict[str, Any]:
    return {"take_interval": list(intervals[place]) if intervals else None}
