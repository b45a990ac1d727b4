import numpy as np
import pytest

from signprep.training.report.measures import (
    accuracy_by,
    bootstrap_over_takes,
    confused_pairs,
    mean_over_classes,
    wilson,
)


def test_wilson_is_the_published_one_and_stays_inside() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


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
