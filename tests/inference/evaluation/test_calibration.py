import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from signprep.inference.evaluation.metrics import (
    NUM_BINS,
    confidences,
    coverage,
    describe_calibration,
    expected_error,
    fit_temperature,
    nll,
    probabilities,
    reliability,
)
from signprep.inference.evaluation.run import write_temperature
from signprep.inference.recognizer import load_checkpoint


def drawn(num_clips: int, num_classes: int, times: float) -> tuple[np.ndarray, np.ndarray]:
    """Return logits `times` too sure, and labels drawn from what the logits should have said."""
    generator = np.random.default_rng(7)
    logits = generator.normal(size=(num_clips, num_classes)) * 2
    sums = probabilities(logits.astype(np.float32)).cumsum(axis=1)
    labels = (generator.random((num_clips, 1)) > sums).sum(axis=1)
    return (times * logits).astype(np.float32), labels


@pytest.mark.parametrize("times", [0.5, 1.0, 3.0])
def test_the_temperature_is_found_by_which_logits_were_scaled(times: float) -> None:
    logits, labels = drawn(20_000, 8, times)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(times, rel=0.03)
    assert nll(logits, labels, temperature) <= min(nll(logits, labels, temperature * by) for by in (0.98, 1.0, 1.02))
    right = logits.argmax(axis=1) == labels
    before, after = (describe_calibration(logits, labels, right, value) for value in (1.0, temperature))
    assert after["nll"] <= before["nll"]
    assert after["ece"] < 0.02


def test_three_of_four_right_by_a_margin_have_a_temperature_known_by_hand() -> None:
    # The best probability is 3/4 = 1 / (1 + exp(-margin / T)), so T = margin / log 3.
    logits = np.array([[6.0, 0.0]] * 4, np.float32)
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(6 / math.log(3), rel=1e-4)


def test_no_temperature_is_best_where_all_is_right_or_all_is_chance() -> None:
    logits = np.array([[6.0, 0.0]] * 4, np.float32)
    assert fit_temperature(logits, np.array([0, 0, 0, 0])) is None
    assert fit_temperature(logits, np.array([0, 0, 1, 1])) is None
    assert fit_temperature(np.zeros((4, 2), np.float32), np.array([0, 0, 0, 1])) is None


def test_nll_and_confidence_of_huge_logits_are_numbers() -> None:
    logits = np.array([[1e4, -1e4], [0.0, 0.0]], np.float32)
    assert confidences(logits).tolist() == [1.0, 0.5]
    assert nll(logits, np.array([1, 0])) == pytest.approx((2e4 + math.log(2)) / 2)
    reference = torch.nn.functional.cross_entropy(torch.from_numpy(logits) / 3, torch.tensor([1, 0]))
    assert nll(logits, np.array([1, 0]), 3.0) == pytest.approx(float(reference))


def test_bins_hold_their_upper_end_and_the_error_is_the_mean_gap() -> None:
    confidence = np.array([1 / 15, 0.9, 0.92, 1.0])
    rows = reliability(confidence, np.array([False, True, False, True]))
    assert len(rows) == NUM_BINS and [row["clips"] for row in rows] == [1, *[0] * 12, 2, 1]
    assert rows[13]["accuracy"] == 0.5 and rows[13]["confidence"] == pytest.approx(0.91)
    assert rows[1]["accuracy"] is None
    assert expected_error(rows) == pytest.approx((1 / 15 + 2 * 0.41 + 0) / 4)


def test_coverage_falls_and_counts_what_is_sure_enough() -> None:
    rows = coverage(np.array([0.2, 0.5, 0.9, 0.97]), np.array([False, False, True, True]))
    by_threshold = {row["threshold"]: row for row in rows}
    assert by_threshold[0.0] == {"threshold": 0.0, "clips": 4, "coverage": 1.0, "accuracy": 0.5}
    assert by_threshold[0.5] == {"threshold": 0.5, "clips": 3, "coverage": 0.75, "accuracy": 2 / 3}
    assert by_threshold[0.99]["accuracy"] is None
    shares = [row["coverage"] for row in rows]
    assert shares == sorted(shares, reverse=True)


def test_a_temperature_survives_in_the_checkpoint_and_nothing_else_changes(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "모델.ckpt"
    copy.write_bytes(checkpoint.read_bytes())
    write_temperature(copy, 2.5)
    assert list(tmp_path.iterdir()) == [copy]
    assert load_checkpoint(copy).card.temperature == 2.5
    before, after = (torch.load(path, weights_only=True) for path in (checkpoint, copy))
    assert after["signprep"].pop("temperature") == 2.5
    assert before["signprep"].pop("temperature") == 1.0
    assert after["signprep"].pop("calibrated_views") == 1 and "calibrated_views" not in before["signprep"]
    assert equal(before, after)


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_answers_after_calibration_are_less_sure_but_the_same(checkpoint: Path, tmp_path: Path, cache: Any) -> None:
    copy = tmp_path / "best.ckpt"
    copy.write_bytes(checkpoint.read_bytes())
    write_temperature(copy, 4.0)
    clips = list(cache.read(cache.positions("val")))
    raw, calibrated = (load_checkpoint(path).probabilities(clips) for path in (checkpoint, copy))
    assert np.array_equal(raw.argmax(axis=1), calibrated.argmax(axis=1))
    assert (calibrated.max(axis=1) < raw.max(axis=1)).all()
