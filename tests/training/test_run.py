import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from signprep.cache_builder import open_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.cli import cli
from signprep.pipeline.errors import SignprepError, TrainingError
from signprep.training.config import TrainConfig
from signprep.training.model_spec import MODEL_SPECS, build_model, model_spec, parameter_counts
from signprep.training.run import train

QUICK = TrainConfig(epochs=1, batch_size=4)


@pytest.mark.parametrize("name", MODEL_SPECS)
def test_every_model_gives_unnormalised_logits_and_learns_a_step(name: str) -> None:
    spec = model_spec(name, num_frames=4, crop_size=64)
    model = build_model(spec, 5)
    clips = torch.randn(2, 3, 4, 64, 64)
    logits = model.eval()(clips)
    assert logits.shape == (2, 5)
    assert not torch.allclose(logits.sum(1), torch.ones(2))  # no softmax inside
    loss = torch.nn.functional.cross_entropy(model.train()(clips), torch.tensor([0, 1]))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    total, trainable = parameter_counts(model)
    assert total == trainable > 2_000_000


def test_unknown_models_and_impossible_inputs_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"resnet.*efficient_x3d_xs"):
        model_spec("resnet")
    with pytest.raises(TrainingError, match="16 pixels"):
        model_spec("x3d_s", crop_size=16)


def test_the_command_trains_and_writes_what_it_says(cache: Cache, tmp_path: Path) -> None:
    arguments = ["train", "--cache", str(cache.path), "--epochs", "1", "--batch_size", "4", "--num-frames", "2"]
    arguments += ["--crop-size", "32", "--output_dir", str(tmp_path), "--experiment-name", "run"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "class list: ['왼쪽', '오른쪽']" in result.stderr
    assert "trainable parameters: " in result.stderr and "classes: 2" in result.stderr
    assert "best validation accuracy" in result.stdout
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list((tmp_path / "run" / "tensorboard_logs").glob("events.out.tfevents.*"))
    contents = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert contents["signprep"]["glosses"] == ["왼쪽", "오른쪽"]
    assert contents["signprep"]["cache_fingerprint"] == cache.fingerprint
    assert contents["signprep"]["train_config"]["batch_size"] == 4


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
    spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
    leaking = changed_index(cache, tmp_path / "leak.zarr", "split", ["train", "val"] * 6)
    with pytest.raises(TrainingError, match=r"overlap: .*takes in both splits: REAL"):
        train(leaking, spec, QUICK, tmp_path / "run")
    empty = changed_index(cache, tmp_path / "empty.zarr", "split", ["train"] * 12)
    with pytest.raises(TrainingError, match="no clips in its split 'val'"):
        train(empty, spec, QUICK, tmp_path / "run")


def test_too_few_stored_frames_say_what_to_do(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"stores 4 frames.*needs 13.*--num-frames 4"):
        train(cache, model_spec("x3d_s", crop_size=64), QUICK, tmp_path)


def test_an_output_that_cannot_be_written_is_named(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
    with pytest.raises(SignprepError, match=r"cannot be written.*--output-dir"):
        train(cache, spec, QUICK, tmp_path / "file")


@pytest.mark.parametrize("fields", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"label_smoothing": 1.0}])
def test_options_that_cannot_train_are_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        TrainConfig(**fields)
