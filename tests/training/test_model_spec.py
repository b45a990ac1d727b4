"""The models as they are built."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from signprep.pipeline.errors import TrainingError
from signprep.training.model_spec import (
    MODEL_SPECS,
    ModelSpec,
    build_model,
    channels_last,
    head_name,
    model_spec,
    parameter_counts,
)
from tests.training.small_models import MILLIONS, NUM_CLASSES, ONE_OF_EACH_FAMILY, clips_for, training_step

pytestmark = pytest.mark.usefixtures("whole_networks")


@pytest.mark.parametrize("name", MODEL_SPECS)
def test_every_model_learns_a_step_and_answers_the_same_after_saving(name: str, tmp_path: Path) -> None:
    spec = model_spec(name, num_frames=4, crop_size=64 if MODEL_SPECS[name].content == "pixels" else None)
    model = channels_last(build_model(spec, NUM_CLASSES)).train()
    assert training_step(model, spec).shape == (2, NUM_CLASSES)
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    reloaded = channels_last(build_model(spec, NUM_CLASSES))
    reloaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(model.eval()(clips_for(spec)), reloaded.eval()(clips_for(spec)))


@pytest.mark.parametrize("name", ["x3d_xs", "slow_r50"])
def test_a_head_takes_the_mean_of_its_whole_grid_whose_gradient_is_deterministic_on_a_gpu(name: str) -> None:
    spec = model_spec(name, num_frames=4, crop_size=96, dropout_rate=0.0)
    model = build_model(spec, NUM_CLASSES).eval()
    layers = dict(model.named_modules())
    assert not any(isinstance(layer, nn.AvgPool3d) for layer in layers.values())
    (pooling,) = (name for name, layer in layers.items() if isinstance(layer, nn.AdaptiveAvgPool3d) and ".pool" in name)
    with torch.no_grad():
        by_mean = model(clips_for(spec))
        parent, _, attribute = pooling.rpartition(".")
        setattr(layers[parent], attribute, nn.AvgPool3d((4, 3, 3), stride=1))  # as PyTorchVideo builds it
        torch.testing.assert_close(by_mean, model(clips_for(spec)))


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
@pytest.mark.parametrize("training", [True, False])
def test_logits_are_no_probabilities(name: str, training: bool) -> None:
    spec = model_spec(name, num_frames=2, crop_size=32, dropout_rate=0.0)
    model = build_model(spec, NUM_CLASSES).train(training)
    nn.init.constant_(model.get_submodule(head_name(model, spec, NUM_CLASSES)).bias, -3.0)  # type: ignore[arg-type]
    with torch.no_grad():
        assert model(clips_for(spec)).mean() < -1


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_dropout_is_the_one_asked_for(name: str) -> None:
    model = build_model(model_spec(name, num_frames=2, crop_size=32, dropout_rate=0.25), NUM_CLASSES)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout) and module.p] == [0.25]


@pytest.mark.parametrize("name", MODEL_SPECS)
def test_the_numbers_of_parameters_are_the_published_ones(name: str) -> None:
    total, trainable = parameter_counts(build_model(MODEL_SPECS[name], 400))
    assert total == trainable
    assert abs(total / 1e6 - MILLIONS[name]) < 0.01


@pytest.mark.parametrize(
    ("name", "num_frames", "crop_size"),
    [("x3d_xs", 4, 182), ("x3d_s", 1, 97), ("slow_r50", 3, 97), ("efficient_x3d_xs", 1, 33), ("mvit_base_16x4", 2, 36)],
)
def test_models_are_built_for_the_frames_and_crop_in_use(name: str, num_frames: int, crop_size: int) -> None:
    spec = model_spec(name, num_frames=num_frames, crop_size=crop_size)
    with torch.no_grad():
        assert build_model(spec, NUM_CLASSES).eval()(clips_for(spec)).shape == (2, NUM_CLASSES)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("resnet", {}, r"'resnet'.*efficient_x3d_xs.*mvit_base_16x4.*package\.module:factory"),
        ("x3d_s", {"crop_size": 16}, r"16 pixels.*32 to 2048 pixels.*--size 32"),
        ("slow_r50", {"num_frames": 0}, r"0 frames.*1 to 1024 frames.*--num-frames 1 "),
        ("mvit_base_16x4", {"num_frames": 13}, r"13 frames.*multiples of 2 from 2 to 1024 frames.*--num-frames 12 "),
        ("mvit_base_16x4", {"crop_size": 182}, r"182 pixels.*multiples of 4 from 32.*--size 180"),
        ("efficient_x3d_s", {"dropout_rate": 1.0}, r"dropout rate of 1\.0.*0 <= rate < 1"),
        ("mvit_base_16x4", {"crop_size": 112, "pretrained": True}, "16 frames of 224 pixels only, not 16 of 112"),
        ("mvit_base_16x4", {"num_frames": 32, "pretrained": True}, "not 32 of 224: take mvit_base_32x3"),
        ("mymodels:small", {"pretrained": True}, "no Kinetics-400 weights for a model of one's own"),
        ("landmark_conv", {"crop_size": 112}, "reads landmarks, which have no size in pixels: leave out --size"),
        ("landmark_conv", {"pretrained": True}, "no Kinetics-400 weights for landmarks"),
        ("mymodels:", {}, r"expected package\.module:factory"),
        ("my models:small", {}, r"expected package\.module:factory"),
    ],
)
def test_impossible_models_are_refused_with_what_is_possible(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        model_spec(name, **options)


def test_kinetics_weights_of_convolutions_take_any_size() -> None:
    assert model_spec("x3d_m", num_frames=8, crop_size=112, pretrained=True).num_frames == 8


@pytest.mark.parametrize("name", ["x3d_m", "mymodels:small"])
def test_a_spec_is_plain_data_and_comes_back_equal(name: str) -> None:
    spec = model_spec(name, dropout_rate=0.1)
    assert ModelSpec.from_dict(spec.to_dict()) == spec
    assert {type(value) for value in spec.to_dict().values()} <= {str, int, float}


def test_a_spec_from_a_file_cannot_ask_for_a_giant() -> None:
    with pytest.raises(TrainingError, match="cannot take 16 frames of 1000000 pixels"):
        build_model(ModelSpec(name="mvit_base_16x4", num_frames=16, crop_size=1_000_000), NUM_CLASSES)
