"""Batch norms become part of convolutions: the answers stay, the model stays, and what is no such pair stays."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from signprep.training.model_spec import ModelSpec, build_model, channels_last, model_spec
from signprep.training.model_spec.folding import with_folded_norms
from tests.training.small_models import NUM_CLASSES, SMALL_X3D, clips_for

SPECS = [
    SMALL_X3D,
    model_spec("efficient_x3d_xs", num_frames=2, crop_size=32),
    model_spec("slow_r50", num_frames=2, crop_size=32),
]


def norms(model: nn.Module) -> list[nn.Module]:
    return [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]


def trained(model: nn.Module) -> nn.Module:
    """Return a model in evaluation whose batch norms do something."""
    generator = torch.Generator().manual_seed(0)
    for layer in norms(model):
        for name, (low, high) in {"running_mean": (-0.2, 0.2), "running_var": (0.5, 2), "weight": (0.5, 2)}.items():
            getattr(layer, name).data.uniform_(low, high, generator=generator)
    return model.eval()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_no_batch_norm_is_left_and_the_answers_are_the_same(spec: ModelSpec) -> None:
    model = trained(channels_last(build_model(spec, NUM_CLASSES)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    number = len(norms(model))
    clips = clips_for(spec)
    folded = with_folded_norms(model, clips[:1])
    with torch.no_grad():
        torch.testing.assert_close(folded(clips), model(clips), rtol=1e-4, atol=1e-5)
    assert number and not norms(folded)
    after = model.state_dict()
    assert len(norms(model)) == number and after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


class TwoConvolutions(nn.Module):
    """Two convolutions with a batch norm each, put together in another way each time."""

    def __init__(self, way: Callable[["TwoConvolutions", Tensor], Tensor]) -> None:
        super().__init__()
        self.way = way
        self.first, self.second = nn.Conv3d(3, 3, 1), nn.Conv3d(3, 3, 1)
        self.norm, self.other_norm = nn.BatchNorm3d(3), nn.BatchNorm3d(3)

    def forward(self, clips: Tensor) -> Tensor:
        return self.way(self, clips).mean((2, 3, 4))


WAYS: dict[str, tuple[Callable[[TwoConvolutions, Tensor], Tensor], int]] = {
    "each by itself": (lambda m, x: m.other_norm(m.second(m.norm(m.first(x)))), 0),
    "one batch norm for both": (lambda m, x: m.norm(m.second(m.norm(m.first(x)))), 2),
    "one convolution for both": (lambda m, x: m.other_norm(m.first(m.norm(m.first(x)))), 2),
    "two batch norms of one": (lambda m, x: m.norm(y := m.first(x)) + m.other_norm(y), 2),
    "something between": (lambda m, x: m.norm(m.first(x).relu()), 2),
    "what is written is used again": (lambda m, x: m.norm(y := m.first(x)) + y, 2),
    "before the convolution": (lambda m, x: m.first(m.norm(x)), 2),
}


@pytest.mark.parametrize("way", WAYS)
def test_only_what_gives_the_same_answer_is_folded(way: str) -> None:
    torch.manual_seed(0)
    how, left = WAYS[way]
    model = trained(TwoConvolutions(how))
    clips = torch.randn(2, 3, 2, 4, 4)
    folded = with_folded_norms(model, clips[:1])
    assert len(norms(folded)) == left
    with torch.no_grad():
        torch.testing.assert_close(folded(clips), model(clips), rtol=1e-4, atol=1e-5)


def test_a_batch_norm_that_still_learns_or_has_learnt_nothing_stays() -> None:
    clips = torch.randn(2, 3, 2, 4, 4)
    learning = trained(TwoConvolutions(WAYS["each by itself"][0]))
    learning.norm.train()
    without = nn.Sequential(nn.Conv3d(3, 3, 1), nn.BatchNorm3d(3, track_running_stats=False)).eval()
    assert [layer.training for layer in norms(with_folded_norms(learning, clips))] == [True]
    assert with_folded_norms(without, clips) is without


def test_a_model_whose_weights_are_no_numbers_stays_as_it_is() -> None:
    model = trained(nn.Sequential(nn.Conv3d(3, 3, 1), nn.BatchNorm3d(3)))
    next(model.parameters()).data.fill_(torch.nan)
    assert with_folded_norms(model, torch.randn(1, 3, 2, 4, 4)) is model


def test_a_model_that_reads_its_batch_norms_stays_as_it_is() -> None:
    def way(model: TwoConvolutions, clips: Tensor) -> Tensor:
        return model.other_norm(model.second(model.norm(model.first(clips)))) * model.norm.weight.mean()

    model = trained(TwoConvolutions(way))
    assert with_folded_norms(model, torch.randn(1, 3, 2, 4, 4)) is model
