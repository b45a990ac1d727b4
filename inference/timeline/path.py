"""The best sequence of glosses and silence, step by step, for videos that have ended and for those that go on.

In: how likely each column is in one step after the other. Out: the column of each step, as soon as no later step can
change it. Source: Viterbi's algorithm, with the same cost for a change from any column to any other.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray


class BestPath:
    """The path of the most evidence x seconds, less the cost of each change."""

    def __init__(self, switch_cost: float, most_undecided: int | None = None) -> None:
        """Begin without steps.

        Args:
            switch_cost: what each change of the column costs.
            most_undecided: so many steps are kept at most: then the oldest is decided by what is best so far.
        """
        self._switch_cost, self._most_undecided = switch_cost, most_undecided
        self._total: NDArray[np.float64] | None = None
        # Of each undecided step but the first: which columns stay, bool [columns], and where the others come from.
        self._steps: deque[tuple[NDArray[np.bool_], int]] = deque()
        self._first: NDArray[np.int64] = np.empty(0, np.int64)
        """The column in the first undecided step of the best path to each column now."""

    def add(self, evidence: NDArray[np.float64], seconds: float) -> list[int]:
        """Take a step, float64 [columns], and return the columns of the steps that are decided by it, in order."""
        columns = np.arange(len(evidence))
        if self._total is None:
            self._total, self._first = evidence * seconds, columns
            return []
        # A path that changes comes from the best column before, the same for all: a bit for each column is enough.
        best = int(self._total.argmax())
        changed = self._total[best] - self._switch_cost
        stays = self._total >= changed
        self._total = np.maximum(self._total, changed) + evidence * seconds
        self._steps.append((stays, best))
        self._first = np.where(stays, self._first, self._first[best])
        if self._steps and (self._first[0] == self._first).all():
            return self._decide()
        if self._most_undecided is not None and len(self._steps) >= self._most_undecided:
            return self._forget(1, [int(self._first[self._total.argmax()])])
        return []

    def _decide(self) -> list[int]:
        """Forget the steps in which all paths are one, the first of them is, and return their columns."""
        number = len(self._steps) - 1  # what comes after the last step may change that one
        columns = self._before(number, np.arange(len(self._first)))
        while len(columns) > 1:
            number -= 1
            columns = self._before(number, columns)
        path = [int(columns[0])]
        for place in range(number - 1, -1, -1):
            path += self._before(place, np.array(path[-1:])).tolist()
        return self._forget(len(path), path[::-1])

    def _before(self, number: int, columns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the columns from which paths come to these in an undecided step."""
        stays, best = self._steps[number]
        return np.unique(np.where(stays[columns], columns, best))

    def _forget(self, number: int, path: list[int]) -> list[int]:
        for _ in range(number):
            self._steps.popleft()
        self._first = np.arange(len(self._first))
        for stays, best in self._steps:
            self._first = np.where(stays, self._first, self._first[best])
        return path

    def end(self) -> list[int]:
        """Return the columns of the steps that are not decided yet; no step comes after."""
        if self._total is None:
            return []
        path = [int(self._total.argmax())]
        for stays, best in reversed(self._steps):
            path.append(path[-1] if stays[path[-1]] else best)
        return path[::-1]


def best_path(evidence: NDArray[np.float64], seconds: NDArray[np.float64], switch_cost: float) -> NDArray[np.int64]:
    """Return the column of each step, int64 [W], such that evidence x seconds, less the cost of each change, is most.

    A change back and forth for a step that is hardly better is not worth its cost:

    >>> evidence = np.log([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    >>> best_path(evidence, np.full(6, 0.1), 0.0).tolist(), best_path(evidence, np.full(6, 0.1), 0.1).tolist()
    ([0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1])
    """
    path, found = BestPath(switch_cost), []
    for row, length in zip(evidence, seconds, strict=True):
        found += path.add(row, float(length))
    return np.array(found + path.end(), np.int64)
