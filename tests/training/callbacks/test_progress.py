"""What a run says on stderr where there is no terminal."""

import math
from pathlib import Path

import pytest

from signprep.cache_builder.reader import Cache
from signprep.training.callbacks import progress
from tests.training.small_runs import run


def test_an_epoch_has_a_line_and_a_long_one_has_lines_on_the_way(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", math.inf)
    run(cache, tmp_path / "short")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("epoch 1/1: loss ") and "by class" in line
    assert "top-5" not in line  # of two glosses
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    run(cache, tmp_path / "long")
    on_the_way, of_the_epoch = capsys.readouterr().err.splitlines()
    assert on_the_way.startswith("epoch 1/1, batch 1/2: loss ") and " clips/s, wait " in on_the_way
    assert of_the_epoch.startswith("epoch 1/1: loss ")
