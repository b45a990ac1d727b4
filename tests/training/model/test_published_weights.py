"""Files of the form in which PyTorchVideo publishes its Kinetics-400 weights, with made-up numbers in them.

PyTorchVideo's own builders are the judge: each file is one that they load, strictly, from the name and the place where
they look for it; and what a model of ours then answers is what theirs answers.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CheckpointError
from signprep.training.config import Recipe, TrainConfig
from signprep.training.model.pretrained import load_pretrained
from signprep.training.model_spec import K400_FILES, K400_SPACINGS, MODEL_SPECS, build_model, head_name
from tests.training.small_models import GLOSSES, NUM_CLASSES
from tests.training.small_runs import run

pytestmark = pytest.mark.usefixtures("whole_networks")

BARE = ("efficient_x3d_xs", "efficient_x3d_s")
"""Their files are the weights by name; the others' hold them under `model_state`."""
LIGHT = (*BARE, "x3d_xs", "x3d_s", "x3d_m")


def theirs(name: str, **options: Any) -> nn.Module:
    """Return PyTorchVideo's own model; with `pretrained`, as its users load it."""
    model: nn.Module = getattr(import_module("pytorchvideo.models.hub"), name)(progress=False, **options)
    return model.eval()


def publish(name: str, folder: Path) -> dict[str, torch.Tensor]:
    """Write a model's file as it is published; return the weights in it."""
    torch.manual_seed(3)
    weights = theirs(name).state_dict()
    generator = torch.Generator().manual_seed(4)
    for key, value in weights.items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1, generator=generator)
        elif key.endswith("running_var"):
            value.uniform_(0.8, 1.2, generator=generator)
    torch.save(weights if name in BARE else {"model_state": weights}, folder / K400_FILES[name])
    return weights


@pytest.mark.parametrize(
    "name", [*LIGHT, *(pytest.param(name, marks=pytest.mark.slow) for name in K400_FILES if name not in LIGHT)]
)
def test_a_published_file_loads_from_its_place_and_by_its_path(name: str, hub: Path, tmp_path: Path) -> None:
    weights, spec = publish(name, hub), MODEL_SPECS[name]
    read = theirs(name, pretrained=True).state_dict()  # PyTorchVideo takes this very file, with nothing left over
    assert all(torch.equal(value, weights[key]) for key, value in read.items())
    head = f"{head_name(nn.Module(), spec, NUM_CLASSES)}."
    assert weights[f"{head}weight"].shape[0] == 400
    elsewhere = Path(tmp_path / "가중치 (offline)" / "any name.pyth")
    elsewhere.parent.mkdir()
    for source in ("k400", elsewhere):
        if source is elsewhere:
            (hub / K400_FILES[name]).rename(elsewhere)
        model = build_model(spec, NUM_CLASSES)
        assert load_pretrained(model, spec, source, vocabulary=GLOSSES) == K400_SPACINGS[name]
        own = model.state_dict()
        assert own.keys() == weights.keys()
        assert {key for key, value in own.items() if not torch.equal(value, weights[key])} <= {
            f"{head}weight", f"{head}bias",
        }  # fmt: skip
        assert own[f"{head}weight"].shape[0] == NUM_CLASSES


@pytest.mark.slow
@pytest.mark.parametrize("name", K400_FILES)
def test_the_loaded_model_answers_as_the_published_one(name: str, hub: Path) -> None:
    weights, spec = publish(name, hub), MODEL_SPECS[name]
    model = build_model(spec, 400)
    load_pretrained(model, spec, "k400", vocabulary=GLOSSES)
    head = head_name(model, spec, 400)
    model.get_submodule(head).load_state_dict({part: weights[f"{head}.{part}"] for part in ("weight", "bias")})
    clips = torch.randn((1, *spec.input_shape), generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        logits, answer = model.eval()(clips), theirs(name, pretrained=True)(clips)
    if not torch.allclose(logits, answer, atol=1e-4):  # X3D's own head ends in a softmax
        assert torch.allclose(logits.softmax(dim=1), answer, atol=1e-5)


def test_a_run_begins_with_a_file_that_was_brought_offline(cache: Cache, hub: Path, tmp_path: Path) -> None:
    weights = publish("efficient_x3d_xs", hub)
    config = TrainConfig(
        epochs=1, batch_size=8, learning_rate=1e-9, pretrained=str(hub / K400_FILES["efficient_x3d_xs"])
    )
    recipe = Recipe(given=frozenset({"learning_rate"}))
    trained = torch.load(run(cache, tmp_path / "run", config, recipe=recipe).last_checkpoint, weights_only=True)
    assert trained["signprep"]["recipe"] == {"name": "finetune", "given": ["learning_rate"]}
    kernels = [name for name, value in weights.items() if value.ndim > 1 and not name.startswith("projection")]
    assert kernels
    for name in kernels:
        assert torch.allclose(trained["state_dict"][f"model.{name}"], weights[name], atol=1e-6)


def test_a_file_of_another_model_is_refused(hub: Path) -> None:
    publish("efficient_x3d_xs", hub)
    (hub / K400_FILES["efficient_x3d_xs"]).rename(hub / K400_FILES["x3d_xs"])
    spec = MODEL_SPECS["x3d_xs"]
    with pytest.raises(CheckpointError, match=r"X3D_XS\.pyth: its weights do not fit x3d_xs.*missing.*unknown"):
        load_pretrained(build_model(spec, NUM_CLASSES), spec, "k400", vocabulary=GLOSSES)
