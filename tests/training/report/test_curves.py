import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.html.page import ticks_up_to
from signprep.training.report.curves import best_epoch, charts, learning_curves, read_epochs, write_png
from tests.training.report.made import made_epochs


def test_rows_that_are_not_whole_and_numbers_that_are_none_are_passed_over(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,step,train/loss,val/accuracy\n1,5,0.5,0.25\n2,10,nan,0.5\nnonsense\n3,15,,inf\n", "utf-8")
    epochs = read_epochs(table)
    assert [(epoch.number, epoch.step, dict(epoch.figures)) for epoch in epochs] == [
        (1, 5, {"train/loss": 0.5, "val/accuracy": 0.25}),
        (2, 10, {"val/accuracy": 0.5}),
        (3, 15, {}),
    ]
    assert read_epochs(tmp_path / "none.csv") == [] and learning_curves([]) is None
    assert learning_curves(epochs) is not None  # whatever is missing


def test_the_first_of_equally_good_epochs_is_the_best_as_the_checkpoint_has_it() -> None:
    epochs = made_epochs(5)
    equal = [*epochs[:4], epochs[3]]
    best = best_epoch(equal)
    assert best is epochs[3] and best_epoch(made_epochs()[:1]) is not None and best_epoch([]) is None


def test_curves_tell_each_epoch_with_its_step_and_mark_the_best() -> None:
    curves = learning_curves(made_epochs(4))
    assert curves is not None and curves["told"].startswith("The best epoch is 3 of 4, behind step 30: validation")
    loss, accuracy = (svg for _, svg in curves["charts"])
    assert loss.count("<circle") == accuracy.count("<circle") == 8
    assert "epoch 2, step 20: train/loss 1</title>" in loss and "epoch 4, step 40: val/accuracy 0.4</title>" in accuracy
    for svg in (loss, accuracy):
        assert "best: epoch 3" in svg and ">training<" in svg and ">validation<" in svg


@pytest.mark.parametrize("num_epochs", [1, 2, 1000])
def test_one_epoch_and_a_thousand_are_drawn_inside_the_plot(num_epochs: int) -> None:
    for chart in charts(made_epochs(num_epochs)).values():
        points = [point for kind, line in chart.lines if kind.startswith("line") for point in line]
        points += [point for _, point in chart.spots]
        assert points
        assert all(0 <= x <= chart.width and 0 <= y <= chart.height for x, y in points)
        assert len(chart.spots) == (2 * num_epochs if num_epochs < 60 else 0)


def test_the_png_shows_both_lines_of_both_charts(tmp_path: Path) -> None:
    write_png(made_epochs(), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.format == "PNG" and picture.size == (2240, 600)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    for half in np.split(pixels, 2, axis=1):
        for colour in ((0x3B, 0x7C, 0xC4), (0xE0, 0x8A, 0x3C)):
            assert (abs(half - colour).max(axis=2) < 4).sum() > 500
    assert (tmp_path / "curves.png").stat().st_size < 200_000


def test_a_png_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SignprepError, match="cannot be written"):
        write_png(made_epochs(), tmp_path / "none" / "curves.png")


@pytest.mark.parametrize("most", [1e-9, 0.03, 0.999, 1, 1.7, 4.99, 5, 123, 6e7])
def test_ticks_reach_what_they_must_hold_in_a_few_round_steps(most: float) -> None:
    ticks = list(ticks_up_to(most))
    assert 3 <= len(ticks) <= 6 and ticks[0] == 0
    assert ticks[-1] >= most * (1 - 1e-9) and ticks[-2] < most
    assert all(math.isclose(ticks[1], b - a, rel_tol=1e-6) for a, b in pairwise(ticks))
