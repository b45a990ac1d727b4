"""Scores of a timeline against the labelled segments of the same video.

In: predicted and labelled segments, or their glosses in order. Out: counts, and the usual figures made of them.
Counts of several videos add up (`sum(scores, SegmentScores())`), so that a long video weighs more than a short one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import add
from typing import Self

from signprep.inference.timeline.segments import TimelineSegment
from signprep.pipeline.datasets.annotations import Segment

GlossSpan = TimelineSegment | Segment
_ROUNDING = 1e-9
"""An overlap of 1.0 s of 2.0 s is half of it, whatever the last bit says."""


class _Counts:
    """A dataclass of counts, which add up field by field."""

    def __add__(self, other: Self) -> Self:
        return type(self)(**{name: count + getattr(other, name) for name, count in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class SegmentScores(_Counts):
    """Counts of segments. Where there is nothing to find and nothing was found, every figure is 1."""

    num_matched: int = 0
    num_predicted: int = 0
    num_true: int = 0

    @property
    def precision(self) -> float:
        """Return the share of the predicted segments that are matched."""
        return self.num_matched / self.num_predicted if self.num_predicted else float(not self.num_true)

    @property
    def recall(self) -> float:
        """Return the share of the labelled segments that are matched."""
        return self.num_matched / self.num_true if self.num_true else float(not self.num_predicted)

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall."""
        both = self.num_predicted + self.num_true
        return 2 * self.num_matched / both if both else 1.0


def segment_scores(predicted: Sequence[GlossSpan], truth: Sequence[GlossSpan], iou: float = 0.5) -> SegmentScores:
    """Match predicted segments one to one with labelled ones of the same gloss, those that overlap most first.

    Args:
        predicted: segments of one video.
        truth: labelled segments of the same video.
        iou: the least intersection over union of a match, > 0.

    >>> from signprep.inference.timeline.segments import TimelineSegment
    >>> one, other = (
    ...     TimelineSegment(start_seconds=start, end_seconds=start + 1, label=0, gloss="위", confidence=1.0)
    ...     for start in (0.0, 0.25)
    ... )
    >>> segment_scores([one], [other]).f1  # they share 0.75 of 1.25 s
    1.0
    >>> segment_scores([one], [other], iou=0.7).f1
    0.0
    """
    assert iou > 0, "an iou of 0 would match segments that do not touch"
    pairs = sorted(
        (-overlap, number, true_number)
        for number, guess in enumerate(predicted)
        for true_number, true in enumerate(truth)
        if guess.gloss == true.gloss and (overlap := intersection_over_union(guess, true)) >= iou - _ROUNDING
    )
    used: set[int] = set()
    found: set[int] = set()
    for _, number, true_number in pairs:
        if number not in used and true_number not in found:
            used.add(number)
            found.add(true_number)
    return SegmentScores(num_matched=len(used), num_predicted=len(predicted), num_true=len(truth))


def intersection_over_union(one: GlossSpan, other: GlossSpan) -> float:
    """Return the time that both cover, divided by the time that at least one covers."""
    shared = min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)
    if shared <= 0:
        return 0.0
    return shared / (one.end_seconds - one.start_seconds + other.end_seconds - other.start_seconds - shared)


@dataclass(frozen=True, kw_only=True)
class WordErrors(_Counts):
    """The fewest changes that turn a predicted sequence of glosses into the true one."""

    substitutions: int = 0
    insertions: int = 0
    """Predicted glosses that are not there."""
    deletions: int = 0
    """True glosses that were not predicted."""
    num_true: int = 0

    @property
    def rate(self) -> float:
        """Return the changes for each true gloss; may be over 1. Without any true gloss, it is their number."""
        return (self.substitutions + self.insertions + self.deletions) / max(1, self.num_true)


_SUBSTITUTION, _INSERTION, _DELETION = (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)
"""Counts of one change: changes, substitutions, insertions, deletions."""


def word_errors(predicted: Sequence[str], truth: Sequence[str]) -> WordErrors:
    """Return the word errors of a sequence of glosses; of equally few changes, those that keep the most glosses.

    >>> word_errors(["왼쪽", "위", "중앙"], ["왼쪽", "아래", "중앙", "위"])
    WordErrors(substitutions=1, insertions=0, deletions=1, num_true=4)
    """
    # A row of the Levenshtein table holds the counts for each prefix of the truth.
    row: list[tuple[int, ...]] = [(count, 0, 0, count) for count in range(len(truth) + 1)]
    for guess in predicted:
        above, row = row, [_plus(row[0], _INSERTION)]
        for column, true in enumerate(truth, start=1):
            kept = above[column - 1] if guess == true else _plus(above[column - 1], _SUBSTITUTION)
            row.append(min(kept, _plus(above[column], _INSERTION), _plus(row[-1], _DELETION)))
    _, substitutions, insertions, deletions = row[-1]
    return WordErrors(substitutions=substitutions, insertions=insertions, deletions=deletions, num_true=len(truth))


def _plus(counts: tuple[int, ...], change: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(add, counts, change))
