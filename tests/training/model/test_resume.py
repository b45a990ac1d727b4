"""Runs that were stopped, moved or finished, and go on."""

import csv
import dataclasses
import io
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CheckpointError, StoppedError, TrainingError
from signprep.training.callbacks.checkpoints import SaveLast, StopRequested
from signprep.training.config import TrainConfig
from signprep.training.model_spec import ModelSpec, model_spec
from tests.training.small_runs import QUICK, TINY, run, weights_of
from tests.waiting import until


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the run asked to stop after a number of batches, as by Ctrl-C."""

    def arrange(num_batches: int) -> None:
        original, seen = SaveLast.on_train_batch_end, [0]

        def counting(self: SaveLast, *arguments: object) -> None:
            seen[0] += 1
            if seen[0] == num_batches:
                self.stop_requested = True
            original(self, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(SaveLast, "on_train_batch_end", counting)

    return arrange


RESUMED = {
    "plain": TrainConfig(epochs=3, batch_size=2, optimizer="adamw", learning_rate=1e-2),
    "everything": TrainConfig(
        epochs=3, batch_size=2, optimizer="sgd", ema_decay=0.9, accumulate_batches=2, gradient_clip=1.0, mixup=0.4,
        cutmix=0.4, balanced_sampling=True, class_weights="balanced", label_smoothing=0.1, num_workers=3,
    ),
    "the last layer only": TrainConfig(epochs=3, batch_size=2, freeze_backbone=True),
}  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp(name) for name in RESUMED}
    return {name: run(cache, folder, RESUMED[name]).last_checkpoint for name, folder in folders.items()}


@pytest.mark.parametrize("stop", [2, 4, 6], ids=["in the first epoch", "at its end", "in the second epoch"])
@pytest.mark.parametrize("name", RESUMED)
def test_a_stopped_run_goes_on_to_the_very_weights_of_an_uninterrupted_one(
    cache: Cache,
    tmp_path: Path,
    stop_after: Callable[[int], None],
    uninterrupted: dict[str, Path],
    name: str,
    stop: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context():
        stop_after(stop)
        with pytest.raises(StoppedError, match=r"stopped in epoch \d; --resume goes on from .*last\.ckpt"):
            run(cache, tmp_path, RESUMED[name])
    monkeypatch.undo()
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "stopped"
    torch.manual_seed(99)  # nothing of this process's past may matter
    resumed = run(cache, tmp_path, RESUMED[name], resume=tmp_path / "checkpoints" / "last.ckpt")
    best = weights_of(resumed.best_checkpoint)
    for key, value in weights_of(uninterrupted[name].with_name("best.ckpt")).items():
        assert torch.equal(value, best[key])
    expected = torch.load(uninterrupted[name], weights_only=True)
    found = torch.load(resumed.last_checkpoint, weights_only=True)
    for part in ("state_dict", "current_model_state"):
        if part in expected:
            assert expected[part].keys() == found[part].keys()
            assert all(torch.equal(value, found[part][key]) for key, value in expected[part].items())
    assert expected["global_step"] == found["global_step"] and expected["epoch"] == found["epoch"]
    states = [contents["optimizer_states"][0]["state"] for contents in (expected, found)]
    for one, other in zip(*(state.values() for state in states), strict=True):
        assert all(torch.equal(torch.as_tensor(value), torch.as_tensor(other[key])) for key, value in one.items())
    with (tmp_path / "metrics.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    with (uninterrupted[name].parents[1] / "metrics.csv").open() as table:
        assert [row["val/loss"] for row in csv.DictReader(table)] == [row["val/loss"] for row in rows]


def test_a_run_that_was_moved_goes_on_and_keeps_its_best_epoch(cache: Cache, tmp_path: Path) -> None:
    first = run(cache, tmp_path / "here", TrainConfig(epochs=1, batch_size=4, scheduler="none", save_top_k=2))
    shutil.move(tmp_path / "here", tmp_path / "there")
    last = tmp_path / "there" / "checkpoints" / "last.ckpt"
    contents = torch.load(last, weights_only=True)
    for state in contents["callbacks"].values():
        if "best_model_score" in state:
            state["best_model_score"] = state["kth_value"] = torch.tensor(2.0)  # that no epoch can be better than
            state["best_k_models"] = dict.fromkeys(state["best_k_models"], torch.tensor(2.0))
    torch.save(contents, last)
    best = last.with_name("best.ckpt")
    written = best.read_bytes()
    again = run(
        cache, tmp_path / "there", TrainConfig(epochs=2, batch_size=4, scheduler="none", save_top_k=2), resume=last
    )
    assert again.best_checkpoint == best and again.best_val_accuracy == 2.0 and best.read_bytes() == written
    assert first.epochs == 1 and again.epochs == 2
    with pytest.raises(TrainingError, match=r"last\.ckpt: is not of the run in .*--pretrained"):
        run(cache, tmp_path / "elsewhere", resume=last)


def test_a_finished_run_can_be_given_more_epochs(cache: Cache, tmp_path: Path) -> None:
    first = run(cache, tmp_path, TrainConfig(epochs=1, batch_size=4, scheduler="none"))
    longer = TrainConfig(epochs=2, batch_size=4, scheduler="none")
    assert run(cache, tmp_path, longer, resume=first.last_checkpoint).epochs == 2
    again = run(cache, tmp_path, longer, resume=first.last_checkpoint)
    assert again.epochs == 2 and again.clips_per_second == 0
    assert again.best_checkpoint.is_file() and 0 <= again.best_val_accuracy <= 1


def test_resume_is_for_the_same_run_only(cache: Cache, tmp_path: Path) -> None:
    last = run(cache, tmp_path).last_checkpoint

    def refused(match: str, cache: Cache = cache, config: TrainConfig = QUICK, spec: ModelSpec = TINY) -> None:
        with pytest.raises(CheckpointError, match=match):
            run(cache, tmp_path, config, spec, resume=last)

    refused(
        r"other options \(batch_size 4 -> 2, seed 0 -> 3\).*--pretrained",
        config=TrainConfig(epochs=1, batch_size=2, seed=3),
    )
    refused(
        "efficient_x3d_xs with 2 frames of 32.* 4 frames of 32",
        spec=model_spec("efficient_x3d_xs", num_frames=4, crop_size=32),
    )
    contents = torch.load(last, weights_only=True)
    contents["signprep"]["cache_fingerprint"] = "another"
    torch.save(contents, last)
    refused("the cache has changed")
    contents["signprep"]["glosses"].reverse()
    torch.save(contents, last)
    refused("not the same ones in the same order")
    contents["signprep"]["checkpoint_version"] = 7
    torch.save(contents, last)
    refused("version 7")
    last.write_bytes(b"no checkpoint")
    refused("is no signprep checkpoint")
    last.unlink()
    refused("there is no such checkpoint")


DAMAGES = {
    "no state of the optimizer": lambda contents: contents.pop("optimizer_states"),
    "another optimizer's": lambda contents: contents["optimizer_states"][0]["param_groups"].pop(),
    "loops of nobody": lambda contents: contents.update(loops=[]),
    "no loops": lambda contents: contents.pop("loops"),
    "no epoch": lambda contents: contents.pop("epoch"),
    "a place that is none": lambda contents: contents["ClipData"].update(step="x"),
    "no place": lambda contents: contents["ClipData"].clear(),
    "callbacks of nobody": lambda contents: contents.update(callbacks=3),
    "a random state of nobody": lambda contents: contents["random_state"].update(cpu=torch.zeros(3)),
    "weights that are no numbers": lambda contents: next(iter(contents["state_dict"].values())).fill_(torch.nan),
    "options that are none": lambda contents: contents["signprep"].update(train_config={"epochs": 2}),
    "schedulers of nobody": lambda contents: contents.update(lr_schedulers=[{}]),
}


QUICKLY = ("another optimizer's", "no loops", "a random state of nobody", "weights that are no numbers")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICKLY else [pytest.mark.slow]) for name in DAMAGES]
)
def test_no_run_goes_on_from_a_damaged_checkpoint(
    name: str, uninterrupted: dict[str, Path], cache: Cache, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted["plain"].parents[1], folder)
    last = folder / "checkpoints" / "last.ckpt"
    contents = torch.load(last, weights_only=True)
    DAMAGES[name](contents)
    torch.save(contents, last)
    before = (folder / "checkpoints" / "best.ckpt").read_bytes()
    with pytest.raises(CheckpointError, match=r"last\.ckpt: "):
        run(cache, folder, dataclasses.replace(RESUMED["plain"], epochs=4), resume=last)
    assert (folder / "checkpoints" / "best.ckpt").read_bytes() == before


@pytest.mark.parametrize("accumulated", [1, 2, 3, 4])
def test_several_devices_stop_within_16_steps_whatever_batches_a_step_takes(accumulated: int, tmp_path: Path) -> None:
    saved: list[Path] = []
    trainer = SimpleNamespace(
        is_last_batch=False, accumulate_grad_batches=accumulated, world_size=2, save_checkpoint=saved.append,
        strategy=SimpleNamespace(reduce_boolean_decision=lambda flag, all: flag),
    )  # fmt: skip
    save_last = SaveLast(tmp_path / "last.ckpt", 30.0, lambda line: None)
    for batch in range(16 * accumulated):
        save_last.on_train_batch_end(trainer, None, None, None, batch)  # type: ignore[arg-type]
    save_last.stop_requested = True
    with pytest.raises(StopRequested):
        for batch in range(16 * accumulated, 32 * accumulated):
            save_last.on_train_batch_end(trainer, None, None, None, batch)  # type: ignore[arg-type]
    assert saved == [tmp_path / "last.ckpt"]


def test_ctrl_c_while_a_line_is_being_written_is_told_after_that_line(tmp_path: Path) -> None:
    class Interrupted(io.RawIOBase):
        written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            if not self.written:
                signal.raise_signal(signal.SIGINT)
            self.written += bytes(data)
            return len(bytes(data))

    raw = Interrupted()
    terminal = io.TextIOWrapper(io.BufferedWriter(raw))
    save_last = SaveLast(tmp_path / "last.ckpt", 30.0, lambda line: print(line, file=terminal, flush=True))
    with save_last.signals_restored():
        save_last.on_train_start(Mock(), Mock())
        print("epoch 1", file=terminal, flush=True)
    assert save_last.stop_requested
    until(lambda: raw.written.endswith(b"once more to stop at once\n"))
    assert raw.written.splitlines()[0] == b"epoch 1"
