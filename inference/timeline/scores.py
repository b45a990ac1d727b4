"""How well a timeline agrees with the labelled segments of the same video.

In: predicted and labelled segments, or their glosses in order. Out: counts, and the usual figures made of them.
Counts of several videos add up (`sum(scores, SegmentScores())`), so that a long video weighs more than a short one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

ROUNDING = 1e-9
"""An overlap of 1.0 s of 2.0 s is half of it, whatever the last bit says."""


class GlossSpan(Protocol):
    """A gloss over [start_seconds, end_seconds): a `TimelineSegment`, or a labelled `Segment`."""

    @property
    def start_seconds(self) -> float:
        """In seconds from the first presented frame."""

    @property
    def end_seconds(self) -> float:
        """In seconds from the first presented frame."""

    @property
    def gloss(self) -> str:
        """What is signed."""


@dataclass(frozen=True, kw_only=True)
class SegmentScores:
    """Counts of segments. Where there is nothing to find and nothing was found, all is well: every figure is 1."""

    num_matched: int = 0
    num_predicted: int = 0
    num_true: int = 0

    def __add__(self, other: "SegmentScores") -> "SegmentScores":
        return SegmentScores(
            num_matched=self.num_matched + other.num_matched,
            num_predicted=self.num_predicted + other.num_predicted,
            num_true=self.num_true + other.num_true,
        )

    @property
    def precision(self) -> float:
        """Matched ones of those predicted."""
        return self.num_matched / self.num_predicted if self.num_predicted else float(not self.num_true)

    @property
    def recall(self) -> float:
        """Matched ones of those labelled."""
        return self.num_matched / self.num_true if self.num_true else float(not self.num_predicted)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
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
    pairs = []
    for number, guess in enumerate(predicted):
        for true_number, true in enumerate(truth):
            overlap = intersection_over_union(guess, true) if guess.gloss == true.gloss else 0.0
            if overlap >= iou - ROUNDING:
                pairs.append((-overlap, number, true_number))
    used: set[int] = set()
    found: set[int] = set()
    for _, number, true_number in sorted(pairs):
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
class WordErrors:
    """The fewest changes that make the true sequence of glosses of a predicted one."""

    substitutions: int = 0
    insertions: int = 0
    """Predicted glosses that are not there."""
    deletions: int = 0
    """True glosses that were not predicted."""
    num_true: int = 0

    def __add__(self, other: "WordErrors") -> "WordErrors":
        return WordErrors(
            substitutions=self.substitutions + other.substitutions,
            insertions=self.insertions + other.insertions,
            deletions=self.deletions + other.deletions,
            num_true=self.num_true + other.num_true,
        )

    @property
    def rate(self) -> float:
        """Changes for each true gloss; may be over 1. Without any true gloss, their number."""
        return (self.substitutions + self.insertions + self.deletions) / max(1, self.num_true)


def word_errors(predicted: Sequence[str], truth: Sequence[str]) -> WordErrors:
    """Return the word errors of a sequence of glosses; of equally few changes, those that keep the most glosses.

    >>> word_errors(["왼쪽", "위", "중앙"], ["왼쪽", "아래", "중앙", "위"])
    WordErrors(substitutions=1, insertions=0, deletions=1, num_true=4)
    """
    # A row of the Levenshtein table: (changes, substitutions, insertions, deletions) for each prefix of the truth.
    row = [(count, 0, 0, count) for count in range(len(truth) + 1)]
    for guess in predicted:
        above, row = row, [_plus(row[0], insertions=1)]
        for column, true in enumerate(truth, start=1):
            kept = above[column - 1] if guess == true else _plus(above[column - 1], substitutions=1)
            row.append(min(kept, _plus(above[column], insertions=1), _plus(row[-1], deletions=1)))
    _, substitutions, insertions, deletions = row[-1]
    return WordErrors(substitutions=substitutions, insertions=insertions, deletions=deletions, num_true=len(truth))


def _plus(
    counts: tuple[int, int, int, int], *, substitutions: int = 0, insertions: int = 0, deletions: int = 0
) -> tuple[int, int, int, int]:
    changes, substituted, inserted, deleted = counts
    return (
        changes + substitutions + insertions + deletions,
        substituted + substitutions,
        inserted + insertions,
        deleted + deletions,
    )
