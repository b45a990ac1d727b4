import numpy as np
import pytest

from signprep.inference.evaluation.metrics import (
    Shown,
    accuracy_by,
    bootstrap_over_takes,
    confused_pairs,
    mean_over_classes,
    performances,
    ranks,
    wilson,
)


def test_wilson_is_the_published_one_and_stays_inside() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_ranks_count_classes_above_and_break_ties_as_the_answer_does() -> None:
    logits = np.array([[3, 2, 1], [3, 2, 1], [1, 1, 0], [1, 1, 0]], np.float32)
    assert ranks(logits, np.array([0, 2, 0, 1])).tolist() == [0, 2, 0, 1]


def test_the_mean_over_classes_passes_over_those_without_clips() -> None:
    right = np.array([True, True, True, False, False])
    assert right.mean() == 0.6
    assert mean_over_classes(right, np.array([0, 0, 0, 3, 3])) == 0.5


def test_views_of_a_take_make_no_interval_narrower() -> None:
    generator = np.random.default_rng(1)
    takes, labels = np.arange(40), np.arange(40) % 7
    right = generator.random(40) < 0.6
    once = bootstrap_over_takes(right, labels, takes)
    five = bootstrap_over_takes(right.repeat(5), labels.repeat(5), takes.repeat(5))
    assert once is not None and five is not None
    assert np.allclose(once, five)
    assert once[0].low < right.mean() < once[0].high
    # About as wide as Wilson's where every clip is a take of its own.
    low, high = wilson(int(right.sum()), 40)
    assert once[0].high - once[0].low == pytest.approx(high - low, rel=0.15)


def test_one_take_has_no_interval() -> None:
    assert bootstrap_over_takes(np.array([True, False]), np.array([0, 0]), np.array([0, 0])) is None


def test_groups_are_counted_and_those_without_a_value_come_last() -> None:
    rows = accuracy_by(["L", None, "F", "L"], np.array([True, False, True, False]))
    assert [(row["value"], row["clips"], row["right"], row["accuracy"]) for row in rows] == [
        ("F", 1, 1, 1.0),
        ("L", 2, 1, 0.5),
        (None, 1, 0, 0.0),
    ]
    assert rows[1]["interval"] == list(wilson(1, 2))


def test_confused_pairs_come_most_frequent_first_and_only_so_many() -> None:
    labels, predicted = np.array([2, 2, 2, 0, 0, 1]), np.array([1, 1, 2, 1, 0, 1])
    assert confused_pairs(labels, predicted, most=5) == [(2, 1, 2, 3), (0, 1, 1, 2)]
    assert confused_pairs(labels, predicted, most=1) == [(2, 1, 2, 3)]
    assert confused_pairs(labels, labels, most=5) == []


def test_views_belong_together_by_take_class_and_order() -> None:
    clips = [
        Shown("a", "F", 0, "a_F", 1.0),
        Shown("a", "L", 0, "a_L", 1.1),
        Shown("a", "F", 0, "a_F", 5.0),  # said again
        Shown("a", "L", 0, "a_L", 5.1),
        Shown("a", "L", 1, "a_L", 2.0),  # of another class, from one view
        Shown("b", None, 0, "b", 1.0),
        Shown("b", "F", 0, "b_F", 1.0),
        Shown("c", "F", 0, "c_F", 1.0),  # twice, and from the other view once: which one is not known
        Shown("c", "F", 0, "c_F", 3.0),
        Shown("c", "L", 0, "c_L", 3.0),
        Shown("d", "F", 0, "d1_F", 1.0),  # from several videos: their order means nothing
        Shown("d", "F", 0, "d2_F", 3.0),
        Shown("d", "L", 0, "d1_L", 1.0),
        Shown("d", "L", 0, "d2_L", 3.0),
    ]
    assert performances(clips) == [[0, 1], [2, 3]]
