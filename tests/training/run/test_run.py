import csv
import errno
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from signprep.cache_builder import open_cache
from signprep.cache_builder.folder.transaction import write_state
from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import SignprepError, TrainingError
from signprep.training.config import Devices, TrainConfig
from signprep.training.model.classifier import SignClassifier
from signprep.training.model_spec import model_spec
from signprep.training.runtime.device import resolved
from signprep.training.runtime.memory import fits, out_of_memory
from tests.training.small_runs import TINY, run, weights_of


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
    assert TrainConfig.from_dict(document["options"]) == resolved(config, Devices())
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
    index = index.set_column(place, field, new)
    write_state(out, cache.info, index=index, objects=cache.manifest.objects, plan_digest="").write(out)
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
    with pytest.raises(TrainingError, match=r"best\.ckpt: is there from an earlier run; --resume .*--overwrite"):
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
    assert fits(Hungry(3), TINY.input_shape, 3, cpu) and not fits(Hungry(3), TINY.input_shape, 4, cpu)
    assert "--batch-size 3 does" in str(out_of_memory(Hungry(3), TINY.name, TINY.input_shape, 13, cpu))
    assert "nor does a single one" in str(out_of_memory(Hungry(0), TINY.name, TINY.input_shape, 8, cpu))


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

    monkeypatch.setattr(os, "fsync", full_later)
    num_whole = 0
    with pytest.raises(
        TrainingError, match=r"ckpt: cannot be written \(No space.*takes [\d.]+ MB.*the same command goes on$"
    ):
        run(cache, tmp_path, config)
    assert not list((tmp_path / "checkpoints").iterdir())
    num_whole, written[0] = 2, 0
    with pytest.raises(
        TrainingError, match=r"cannot be written \(No space.*the same command goes on from .*last\.ckpt"
    ):
        run(cache, tmp_path, config)
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert run(cache, tmp_path, config, resume=tmp_path / "checkpoints" / "last.ckpt").epochs == 3
