"""Layers in place of PyTorchVideo's own: the same numbers, and models that a compiler can look into."""

import copy

import pytest
import torch
from pytorchvideo.layers.swish import Swish
from torch import nn

import benchmarks.models
from signprep.training.model_spec import build_model, channels_last, model_spec
from signprep.training.model_spec.layers import DepthwiseConv3d, with_fast_layers, with_plain_layers
from tests.training.small_models import NUM_CLASSES

pytestmark = pytest.mark.usefixtures("whole_networks")

X3DS = ["efficient_x3d_xs", "x3d_xs"]


@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.parametrize(
    ("clips", "frames", "stride", "size"), [(1, 1, 1, 5), (1, 4, 2, 7), (3, 1, 2, 8), (3, 4, 1, 6), (2, 13, 2, 9)]
)
def test_a_depthwise_convolution_has_the_gradients_of_torchs_own(
    clips: int, frames: int, stride: int, size: int, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv3d(6, 6, 3, (1, stride, stride), 1, groups=6, bias=False))
    fast = with_fast_layers(copy.deepcopy(plain))
    assert type(fast[0]) is DepthwiseConv3d  # type: ignore[index]
    shown = torch.randn(clips, 6, frames, size, size).to(memory_format=layout)
    found = []
    for layer in (plain, fast):
        its = shown.clone().requires_grad_()
        result = layer(its)
        result.pow(3).sum().backward()
        found.append((result.detach(), its.grad, next(layer.parameters()).grad))
    assert torch.equal(found[0][0], found[1][0])
    for own, ours in zip(found[0][1:], found[1][1:], strict=True):
        assert own is not None
        torch.testing.assert_close(ours, own, rtol=1e-4, atol=1e-5 * float(own.abs().max()))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(4, 4, 3, padding=1, groups=4),  # with a bias
        nn.Conv3d(4, 8, 3, padding=1, groups=4, bias=False),
        nn.Conv3d(4, 4, 3, padding=1, groups=2, bias=False),
        nn.Conv3d(4, 4, 3, 2, padding=1, groups=4, bias=False),  # a stride in time
        nn.Conv3d(4, 4, (5, 1, 1), padding=(2, 0, 0), groups=4, bias=False),
        nn.Conv3d(4, 4, 3, padding=1, groups=4, bias=False, padding_mode="replicate"),
    ],
    ids=str,
)
def test_other_convolutions_stay_what_they_are(layer: nn.Conv3d) -> None:
    assert type(with_fast_layers(nn.Sequential(layer))[0]) is nn.Conv3d  # type: ignore[index]


@pytest.mark.parametrize("name", X3DS)
def test_a_model_gives_the_logits_of_pytorchvideos_layers_bit_for_bit_and_their_gradients(name: str) -> None:
    torch.manual_seed(0)
    spec = model_spec(name, num_frames=4, crop_size=64, dropout_rate=0.0)
    ours = channels_last(build_model(spec, NUM_CLASSES))
    own = benchmarks.models.as_built(copy.deepcopy(ours))
    assert any(isinstance(layer, Swish) for layer in own.modules())
    assert not any(isinstance(layer, Swish) for layer in ours.modules())
    assert ours.state_dict().keys() == own.state_dict().keys()
    clips = torch.randn(2, 3, 4, 64, 64).to(memory_format=torch.channels_last_3d)
    for model in (ours, own):
        model.train()(clips).square().mean().backward()
        model.eval()
    for found, expected in zip(ours.parameters(), own.parameters(), strict=True):
        assert found.grad is not None and expected.grad is not None
        assert float((found.grad - expected.grad).norm()) <= 1e-4 * float(expected.grad.norm()) + 1e-7
    with torch.no_grad():
        assert torch.equal(ours(clips), own(clips))


def test_plain_layers_are_torchs_own() -> None:
    model = build_model(model_spec("x3d_xs", num_frames=4, crop_size=32), NUM_CLASSES)
    assert any(type(layer) is DepthwiseConv3d for layer in model.modules())
    with_plain_layers(model)
    assert not any(type(layer) is DepthwiseConv3d for layer in model.modules())


@pytest.mark.parametrize(
    ("name", "training"),
    [
        ("efficient_x3d_xs", True),
        *(
            pytest.param(name, training, marks=pytest.mark.slow)
            for name, training in [(X3DS[0], False), (X3DS[1], True)]
        ),
    ],
)
def test_a_compiler_sees_one_graph(name: str, training: bool) -> None:
    spec = model_spec(name, num_frames=4, crop_size=64)
    model = build_model(spec, NUM_CLASSES).train(training)
    torch._dynamo.reset()
    told = torch._dynamo.explain(model)(torch.randn(2, 3, 4, 64, 64))
    assert (told.graph_count, told.graph_break_count) == (1, 0)
