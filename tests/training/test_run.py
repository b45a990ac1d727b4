import csv
import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from signprep.cache_builder import open_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CheckpointError, SignprepError, TrainingError
from signprep.training import checkpoint_io
from signprep.training.batch_size_hint import fits, out_of_memory
from signprep.training.callbacks import SaveLast
from signprep.training.classifier import SignClassifier, flip_labels
from signprep.training.config import TrainConfig
from signprep.training.data import balanced_class_weights
from signprep.training.devices import Devices
from signprep.training.model_spec import ModelSpec, build_model, model_spec
from signprep.training.optimizers import learning_rate_factor, make_optimizer
from signprep.training.run import TrainResult, train

TINY = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
QUICK = TrainConfig(epochs=1, batch_size=4)


def quiet(line: str) -> None:
    pass


def run(
    cache: Cache, folder: Path, config: TrainConfig = QUICK, spec: ModelSpec = TINY, **options: object
) -> TrainResult:
    return train(cache, spec, config, folder, report=quiet, **options)  # type: ignore[arg-type]


def weights_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return torch.load(checkpoint, weights_only=True)["state_dict"]


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
        with pytest.raises(TrainingError, match=r"stopped in epoch \d; --resume goes on from .*last\.ckpt"):
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


def test_threads_do_not_change_what_is_learnt(cache: Cache, tmp_path: Path) -> None:
    results = [run(cache, tmp_path / str(n), TrainConfig(epochs=1, batch_size=3, num_workers=n)) for n in (1, 4)]
    one, four = (weights_of(result.last_checkpoint) for result in results)
    assert all(torch.equal(value, four[name]) for name, value in one.items())


def test_the_record_tells_what_was_done(cache: Cache, tmp_path: Path) -> None:
    config = TrainConfig(epochs=2, batch_size=4, save_top_k=2)
    result = run(cache, tmp_path, config)
    assert result.epochs == 2 and 0 <= result.data_wait_percent <= 100 and result.clips_per_second > 0
    document = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert document["run_version"] == 1 and document["status"] == "finished"
    assert TrainConfig.from_dict(document["options"]) == config
    assert document["cache"]["fingerprint"] == cache.fingerprint
    assert document["cache"]["glosses"] == ["왼쪽", "오른쪽"]
    assert document["versions"]["torch"] == torch.__version__
    assert document["result"]["best_val_accuracy"] == result.best_val_accuracy
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert {"best.ckpt", "last.ckpt"} < names and len(names) == 4
    with (tmp_path / "metrics.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 2 and all(float(value) >= 0 for row in rows for value in row.values())
    assert float(rows[-1]["val/accuracy"]) <= result.best_val_accuracy
    board = EventAccumulator(str(tmp_path / "tensorboard_logs"))
    board.Reload()
    tags = board.Tags()
    assert {"train/loss", "val/accuracy", "val/mean_class_accuracy", "learning_rate", "train/data_wait_percent"} <= set(
        tags["scalars"]
    )
    assert "val/confusion" in tags["images"]
    if result.best_val_accuracy < 1:
        assert "val/mistaken" in tags["images"]


def changed_index(cache: Cache, out: Path, column: str, values: list) -> Cache:
    """Copy a cache with one column of its index replaced."""
    shutil.copytree(cache.path, out)
    index = cache.index
    place = index.column_names.index(column)
    field = index.schema.field(column)
    new = pa.chunked_array([pa.array(values, pa.string()).cast(field.type)])
    pq.write_table(index.set_column(place, field, new), out / "index.parquet")
    return open_cache(out)


def test_a_leaking_or_empty_split_is_refused(cache: Cache, tmp_path: Path) -> None:
    leaking = changed_index(cache, tmp_path / "leak.zarr", "split", ["train", "val"] * 6)
    with pytest.raises(TrainingError, match=r"overlap: .*takes in both splits: REAL"):
        run(leaking, tmp_path / "run")
    empty = changed_index(cache, tmp_path / "empty.zarr", "split", ["train"] * 12)
    with pytest.raises(TrainingError, match="no clips in its split 'val'"):
        run(empty, tmp_path / "run")
    by_gloss = ["train" if gloss == "왼쪽" else "val" for gloss in cache.index["gloss"].to_pylist()]
    single = changed_index(cache, tmp_path / "single.zarr", "split", by_gloss)
    with pytest.raises(TrainingError, match="all of one gloss"):
        run(single, tmp_path / "run")


def test_too_few_stored_frames_say_what_to_do(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"stores 4 frames.*needs 13.*--num-frames 4"):
        run(cache, tmp_path, spec=model_spec("x3d_s", crop_size=64))


def test_an_output_that_cannot_be_written_is_named(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SignprepError, match=r"cannot be written.*--output-dir"):
        run(cache, tmp_path / "file")


def test_a_run_that_is_there_is_neither_replaced_nor_mixed_with(cache: Cache, tmp_path: Path) -> None:
    first = run(cache, tmp_path)
    written = first.best_checkpoint.read_bytes()
    with pytest.raises(TrainingError, match=r"best\.ckpt: is there from another run; --resume .*--overwrite"):
        run(cache, tmp_path)
    assert first.best_checkpoint.read_bytes() == written
    run(cache, tmp_path, TrainConfig(epochs=1, batch_size=4, seed=1), overwrite=True)
    assert first.best_checkpoint.read_bytes() != written


def test_a_run_that_replaces_another_leaves_nothing_of_it(cache: Cache, tmp_path: Path) -> None:
    run(cache, tmp_path, TrainConfig(epochs=3, batch_size=4, save_top_k=3))
    events = set((tmp_path / "tensorboard_logs").glob("events.*"))
    shutil.copy(tmp_path / "checkpoints" / "best.ckpt", tmp_path / "checkpoints" / "mine.ckpt")
    run(cache, tmp_path, overwrite=True)
    left = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert left == {"best.ckpt", "last.ckpt", "mine.ckpt"}, "what somebody has put there stays"
    assert events and not events & set((tmp_path / "tensorboard_logs").glob("events.*"))


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


def test_a_loss_that_is_no_number_names_its_clips_and_saves_nothing(cache: Cache, tmp_path: Path) -> None:
    config = TrainConfig(epochs=2, batch_size=4, learning_rate=1e30, optimizer="sgd", warm_up=0)
    with pytest.raises(TrainingError, match=r"loss became (nan|inf) in batch \d of epoch 1, of the clips NIA_SL"):
        run(cache, tmp_path, config)
    assert not list((tmp_path / "checkpoints").iterdir())
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "failed"


def test_a_full_disk_is_one_clear_error(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, *arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "last.ckpt"))

    monkeypatch.setattr("lightning.Trainer.save_checkpoint", full)
    with pytest.raises(TrainingError, match=r"last\.ckpt: cannot be written or read \(No space left on device\)"):
        run(cache, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["status"] == "failed"
    monkeypatch.setattr("signprep.training.run.write_run", full)  # from the start, and to the end
    with pytest.raises(TrainingError, match="No space left on device"):
        run(cache, tmp_path)


def test_early_stopping_ends_a_run_that_does_not_improve(cache: Cache, tmp_path: Path) -> None:
    config = TrainConfig(epochs=30, batch_size=8, learning_rate=1e-9, early_stopping=2)
    assert run(cache, tmp_path, config).epochs <= 8


def test_memory_that_is_too_small_is_answered_with_a_batch_that_fits(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(self: SignClassifier, batch: object, batch_idx: int) -> None:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(SignClassifier, "training_step", greedy)
    with pytest.raises(TrainingError, match=r"batch of 8 .* does not fit into memory; --batch-size 4 does.*-batches 2"):
        run(cache, tmp_path, TrainConfig(epochs=1, batch_size=8))

    class Hungry(torch.nn.Module):
        def __init__(self, most: int) -> None:
            super().__init__()
            self.most, self.linear = most, torch.nn.Linear(3, 2)

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            if len(clips) > self.most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return self.linear(clips.mean((2, 3, 4)))

    cpu = torch.device("cpu")
    assert fits(Hungry(3), TINY, 3, cpu) and not fits(Hungry(3), TINY, 4, cpu)
    assert "--batch-size 3 does" in str(out_of_memory(Hungry(3), TINY, 13, cpu))
    assert "nor does a single one" in str(out_of_memory(Hungry(0), TINY, 8, cpu))


def test_norms_and_biases_do_not_decay() -> None:
    model = build_model(TINY, 3)
    optimizer = make_optimizer(model, TrainConfig(weight_decay=0.3))
    decayed, free = optimizer.param_groups
    assert decayed["weight_decay"] == 0.3 and all(parameter.ndim > 1 for parameter in decayed["params"])
    assert free["weight_decay"] == 0 and all(parameter.ndim == 1 for parameter in free["params"])
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("scheduler", ["cosine", "step", "none"])
def test_the_learning_rate_rises_then_follows_its_schedule(scheduler: str) -> None:
    rates = [learning_rate_factor(step, total=100, scheduler=scheduler, warm_up=0.2) for step in range(100)]
    assert np.allclose(rates[:20], np.arange(1, 21) / 20)
    assert max(rates) == 1 and all(np.diff(rates[20:]) <= 0)
    end = {"cosine": 0.0, "step": 0.01, "none": 1.0}[scheduler]
    assert rates[-1] == pytest.approx(end, abs=1e-3)


def test_rare_classes_weigh_more(cache: Cache) -> None:
    positions = np.flatnonzero(cache.labels() == 0)[:1]
    positions = np.concatenate([positions, np.flatnonzero(cache.labels() == 1)[:3]])
    weights = balanced_class_weights(cache, positions)
    assert weights.tolist() == pytest.approx([2.0, 2 / 3])


def test_a_flip_map_swaps_labels_both_ways(cache: Cache) -> None:
    assert flip_labels(cache.vocabulary, {}).tolist() == [0, 1]
    assert flip_labels(cache.vocabulary, {"왼쪽": "오른쪽"}).tolist() == [1, 0]
    assert flip_labels(cache.vocabulary, {"앞": "뒤"}).tolist() == [0, 1]
    with pytest.raises(TrainingError, match="앞, which the data do not have"):
        flip_labels(cache.vocabulary, {"왼쪽": "앞"})


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"label_smoothing": 1.0}, {"ema_decay": 1.0},
        {"early_stopping": 0}, {"accumulate_batches": 0}, {"mixup": -1.0}, {"optimizer": "lion"}, {"precision": "16"},
        {"warm_up": 1.0}, {"gradient_clip": -1.0}, {"seed": -1},
    ],
)  # fmt: skip
def test_options_that_cannot_train_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        TrainConfig(**fields)


def test_fewer_clips_than_processes_are_refused(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="8 training clips for 9 processes"):
        run(cache, tmp_path, devices=Devices(processes=9))
    assert str(Devices(gpus=2, num_nodes=3)) == "2 GPUs, on each of 3 machines"
    assert str(Devices()) == "CPU"
    assert Devices(gpus=2, num_nodes=3).num_ranks == 6


def test_a_full_disk_leaves_the_checkpoint_that_was_there_and_says_how_to_go_on(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(epochs=3, batch_size=4, scheduler="none")
    original, written = os.fsync, [0]

    def full_later(descriptor: int) -> None:
        written[0] += 1
        if written[0] > num_whole:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(checkpoint_io.os, "fsync", full_later)
    num_whole = 0
    with pytest.raises(TrainingError, match=r"ckpt: cannot be written \(No space.*takes \d+ MB.*--overwrite"):
        run(cache, tmp_path, config)
    assert not list((tmp_path / "checkpoints").iterdir())
    num_whole, written[0] = 2, 0
    with pytest.raises(TrainingError, match=r"cannot be written \(No space.*--resume goes on from .*last\.ckpt"):
        run(cache, tmp_path, config)
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert run(cache, tmp_path, config, resume=tmp_path / "checkpoints" / "last.ckpt").epochs == 3
