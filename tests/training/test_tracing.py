"""A trace gives a model's answers for other clips and other numbers of them; what cannot be traced stays as it is."""

import pytest
import torch
from torch import Tensor, nn

from signprep.training.model_spec import build_model, model_spec
from signprep.training.model_spec.tracing import Traced, traced


@pytest.mark.parametrize("name", ["landmark_conv", "landmark_transformer"])
def test_a_trace_answers_as_the_model(name: str) -> None:
    spec = model_spec(name, num_frames=8)
    model = build_model(spec, 5).eval()
    shown = torch.rand((7, *spec.input_shape), generator=torch.Generator().manual_seed(0))
    shown[3, 2:5] = torch.nan  # frames without points
    found = traced(model, torch.rand((3, *spec.input_shape)))
    assert isinstance(found, Traced)
    with torch.inference_mode():
        for clips in (shown, shown[:1], shown[2:5]):
            torch.testing.assert_close(found(clips), model(clips))


class Choosing(nn.Module):
    """A model that looks at values in Python."""

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits [B, 1]."""
        mean = clips.mean(dim=(1, 2), keepdim=True)[:, 0]
        return mean if mean.sum() > 0 else -mean


class Counting(nn.Module):
    """A model whose answers depend on how often it was asked."""

    times = 0

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits [B, 1]."""
        self.times += 1
        return clips.mean(dim=(1, 2), keepdim=True)[:, 0] * self.times


@pytest.mark.parametrize("model", [Choosing(), Counting()], ids=lambda model: type(model).__name__)
def test_a_model_that_decides_in_python_is_not_traced(model: nn.Module) -> None:
    assert traced(model.eval(), torch.rand(3, 4, 5)) is model
