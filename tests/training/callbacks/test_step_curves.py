"""TensorBoard has loss and learning rate of every step, and a run that goes on adds to them where it begins."""

import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import StoppedError
from signprep.training.callbacks.checkpoints import STEPS_BETWEEN_CHECKS, SaveLast, StopRequested
from signprep.training.config import TrainConfig
from tests.training.small_runs import run


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    board = EventAccumulator(str(folder / "tensorboard_logs"), size_guidance={"scalars": 0})
    board.Reload()
    tags = ("step/loss", "step/learning_rate")
    return {tag: [(event.step, event.value) for event in board.Scalars(tag)] for tag in tags}


def epoch_losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as table:
        return [float(row["train/loss"]) for row in csv.DictReader(table)]


def test_every_step_has_its_loss_and_the_rate_that_it_was_taken_with(cache: Cache, tmp_path: Path) -> None:
    # Eight clips: four steps of two in each epoch, of which the first two warm up.
    config = TrainConfig(epochs=2, batch_size=2, learning_rate=1e-3, scheduler="none", warm_up=0.25)
    run(cache, tmp_path, config)
    found = curves(tmp_path)
    assert [step for step, _ in found["step/loss"]] == list(range(1, 9))
    rates = [rate for _, rate in found["step/learning_rate"]]
    assert rates == pytest.approx([0.5e-3, 1e-3, *[1e-3] * 6])
    losses = [loss for _, loss in found["step/loss"]]
    means = [sum(losses[:4]) / 4, sum(losses[4:]) / 4]
    assert means == pytest.approx(epoch_losses(tmp_path), rel=1e-4)


def test_batches_that_add_up_to_a_step_are_one_point(cache: Cache, tmp_path: Path) -> None:
    run(cache, tmp_path, TrainConfig(epochs=1, batch_size=2, accumulate_batches=2))
    found = curves(tmp_path)
    assert [step for step, _ in found["step/loss"]] == [1, 2]
    mean = sum(loss for _, loss in found["step/loss"]) / 2
    assert [mean] == pytest.approx(epoch_losses(tmp_path), rel=1e-4)


def test_a_run_that_goes_on_takes_back_what_was_logged_behind_its_checkpoint(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(epochs=5, batch_size=2)
    run(cache, tmp_path / "whole", config)
    whole = curves(tmp_path / "whole")
    assert len(whole["step/loss"]) == 20 > STEPS_BETWEEN_CHECKS

    def killed(self: SaveLast, trainer: object, module: object, outputs: object, batch: object, batch_idx: int) -> None:
        if trainer.global_step == 6:  # type: ignore[attr-defined]
            self.save(trainer)  # type: ignore[arg-type]
        if trainer.global_step == 11:  # type: ignore[attr-defined]
            raise StopRequested

    with monkeypatch.context() as patch:
        patch.setattr(SaveLast, "on_train_batch_end", killed)
        patch.setattr(SaveLast, "on_train_epoch_end", lambda *_: None)
        with pytest.raises(StoppedError):
            run(cache, tmp_path / "parts", config)
    assert [step for step, _ in curves(tmp_path / "parts")["step/loss"]] == list(range(1, 12))
    run(cache, tmp_path / "parts", config, resume=tmp_path / "parts" / "checkpoints" / "last.ckpt")
    assert curves(tmp_path / "parts") == whole
