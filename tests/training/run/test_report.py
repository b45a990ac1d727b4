"""The report that a run leaves: at its end, where it is stopped, and where it went on; it never fails a run."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import StoppedError
from signprep.training.callbacks.checkpoints import SaveLast
from signprep.training.config import TrainConfig
from signprep.training.run import train
from tests.pipeline.html.parsed import ParsedPage
from tests.training.small_runs import QUICK, TINY, run

CONFIG = TrainConfig(epochs=3, batch_size=4)
SLOW = TrainConfig(epochs=3, batch_size=4, learning_rate=1e-9)
"""Nothing is learnt: the first epoch stays the best."""


def said(run_folder: Path) -> str:
    return " ".join(ParsedPage((run_folder / "report.html").read_text(encoding="utf-8")).text)


@pytest.fixture
def stopped_behind(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the run asked to stop, as by Ctrl-C, behind a number of batches."""

    def arrange(num_batches: int) -> None:
        original, seen = SaveLast.on_train_batch_end, [0]

        def counting(self: SaveLast, *arguments: object) -> None:
            seen[0] += 1
            self.stop_requested |= seen[0] == num_batches
            original(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(SaveLast, "on_train_batch_end", counting)

    return arrange


def test_a_run_ends_with_a_report_and_a_picture_of_its_curves(cache: Cache, tmp_path: Path) -> None:
    result = run(cache, tmp_path, CONFIG)
    text = said(tmp_path)
    assert f"{100 * result.best_val_accuracy:.1f} %" in text
    assert "The best epoch is" in text and "왼쪽" in text and "4 clips of 2 takes" in text
    assert "The run" not in text  # neither stopped nor failed
    with Image.open(tmp_path / "learning_curves.png") as picture:
        assert picture.format == "PNG"


def test_a_report_that_fails_fails_no_run_and_says_so_in_one_line(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("no such thing\nat all")

    monkeypatch.setattr("signprep.training.callbacks.best_validation.write_run_report", broken)
    lines: list[str] = []
    result = train(cache, TINY, QUICK, tmp_path, log=lines.append)
    assert result.best_checkpoint.is_file()
    assert lines[-1] == f"{tmp_path / 'report.html'}: was not written (ValueError: no such thing)"


def test_a_stopped_run_has_a_report_and_the_run_that_goes_on_one_of_all_epochs(
    cache: Cache, tmp_path: Path, stopped_behind: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_behind(3)  # in the second epoch
    with pytest.raises(StoppedError):
        run(cache, tmp_path, SLOW)
    assert "The run was stopped" in said(tmp_path) and "with the weights of epoch 1" in said(tmp_path)
    monkeypatch.undo()
    run(cache, tmp_path, SLOW, resume=tmp_path / "checkpoints" / "last.ckpt")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<title>epoch 1, step") == html.count("<title>epoch 3, step") == 4
    text = said(tmp_path)
    assert "The run was stopped" not in text and "is better, but" not in text
    assert "with the weights of epoch 1" in text, "whose answers the checkpoint has kept"


def test_a_run_stopped_in_its_first_epoch_has_a_report_of_its_data_and_options(
    cache: Cache, tmp_path: Path, stopped_behind: Callable[[int], None]
) -> None:
    stopped_behind(1)
    with pytest.raises(StoppedError):
        run(cache, tmp_path, CONFIG)
    text = said(tmp_path)
    assert "No validation has ended" in text and "--batch-size" in text and cache.fingerprint in text
    assert not (tmp_path / "learning_curves.png").exists()


def test_a_run_that_replaces_another_begins_without_its_report(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(cache, tmp_path)
    monkeypatch.setattr("signprep.training.callbacks.best_validation.write_run_report", lambda *_, **__: None)
    run(cache, tmp_path, overwrite=True)
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "learning_curves.png").exists()
