"""The moving average of weights: Lightning's numbers, on the model's device."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import signprep.training.runtime.torchvision_operators

import pytest
import torch
from lightning import LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

import signprep.training.run
from signprep.cache_builder.reader import Cache
from signprep.training.callbacks.averaging import MovingAverage, update_average
from signprep.training.config import TrainConfig
from tests.training.small_runs import run

AVERAGED = TrainConfig(epochs=2, batch_size=4, ema_decay=0.9, scheduler="none")


def test_an_average_is_the_one_of_torch_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Linear(4, 2).double())
    theirs = AveragedModel(model, avg_fn=get_ema_avg_fn(0.999), use_buffers=True)
    ours = copy.deepcopy(model)
    for step in range(20):
        for value in [*model.parameters(), *model.buffers()]:
            value.data += torch.randn(value.shape).to(value.dtype) if value.is_floating_point() else 1
        theirs.update_parameters(model)
        values = [*model.parameters(), *model.buffers()]
        update_average([*ours.parameters(), *ours.buffers()], values, decay=0.999 if step else 0.0)
    for name, value in ours.state_dict().items():
        counts = name.endswith("num_batches_tracked")  # of which torch's average is a part, cut off
        assert torch.equal(value, (model if counts else theirs.module).state_dict()[name])


def test_the_average_lies_where_the_model_will_be_and_its_count_on_the_cpu() -> None:
    average = MovingAverage(0.9)
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("meta")))
    module = LightningModule()
    module.norm = nn.BatchNorm1d(2)
    average.setup(trainer, module, "fit")  # type: ignore[arg-type]
    held = average._average_model
    assert held is not None and held.n_averaged.device.type == "cpu"
    assert {value.device.type for value in held.module.state_dict().values()} == {"meta"}


def test_a_run_of_lightnings_own_average_as_older_ones_have_it_goes_on_to_the_same_weights(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(signprep.training.run, "MovingAverage", lambda decay: EMAWeightAveraging(decay=decay))
        expected = torch.load(run(cache, tmp_path / "older", AVERAGED).last_checkpoint, weights_only=True)
        first = run(cache, tmp_path / "ours", replace(AVERAGED, epochs=1)).last_checkpoint
    last = run(cache, tmp_path / "ours", AVERAGED, resume=first).last_checkpoint
    found = torch.load(last, weights_only=True)
    assert found["callbacks"]["EMAWeightAveraging"] == expected["callbacks"]["EMAWeightAveraging"]
    for part in ("state_dict", "current_model_state"):
        for name, value in expected[part].items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(found[part][name], value), name
