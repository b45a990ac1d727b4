"""Models of one's own: functions of a module that signprep does not know."""

import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch

from signprep.pipeline.errors import TrainingError
from signprep.training.model.pretrained import freeze_backbone, keep_frozen_in_eval, load_pretrained
from signprep.training.model_spec import (
    ModelSpec,
    build_model,
    channels_last,
    head_name,
    model_spec,
    parameter_counts,
)
from tests.training.small_models import GLOSSES, NUM_CLASSES, clips_for, signprep_checkpoint

SMALL_MODEL = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, num_classes, num_frames, crop_size, dropout_rate):
        super().__init__()
        self.frames = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.steps = nn.GRU(8, 16, batch_first=True)
        self.dropout = nn.Dropout(dropout_rate)
        self.answer = nn.Linear(16, num_classes)

    def forward(self, clips):
        batch, channels, num_frames, height, width = clips.shape
        clips.view(batch, -1)  # fails unless they are contiguous
        frames = self.frames(clips.transpose(1, 2).reshape(-1, channels, height, width))
        _, last = self.steps(frames.reshape(batch, num_frames, -1))
        return self.answer(self.dropout(last[0]))

def small(**options):
    return Small(**options)
"""

_numbers = count()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module into the current folder and return its name, one that was never imported."""
    monkeypatch.chdir(tmp_path)

    def write(source: str) -> str:
        name = f"own_models_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        return name

    return write


def own_spec(module: str, factory: str = "small") -> ModelSpec:
    return model_spec(f"{module}:{factory}", num_frames=3, crop_size=40)


def test_a_model_of_ones_own_trains_freezes_and_takes_weights(own: Callable[[str], str], tmp_path: Path) -> None:
    spec = own_spec(own(SMALL_MODEL))
    path_before = list(sys.path)
    model = channels_last(build_model(spec, NUM_CLASSES))
    assert sys.path == path_before
    assert all(module.training for module in model.modules())
    assert int(model.frames[1].num_batches_tracked) == 0  # trying it left no trace
    clips = clips_for(spec).to(memory_format=torch.channels_last_3d)
    model(clips).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())

    assert head_name(model, spec, NUM_CLASSES) == "answer"
    again = build_model(spec, NUM_CLASSES)
    path = signprep_checkpoint(tmp_path / "best.ckpt", model, GLOSSES.glosses)
    load_pretrained(again, spec, path, vocabulary=GLOSSES)
    with torch.no_grad():
        assert torch.equal(model.eval()(clips), again.eval()(clips))

    freeze_backbone(again, spec, NUM_CLASSES)
    assert parameter_counts(again)[1] == 17 * NUM_CLASSES
    keep_frozen_in_eval(again.train())
    again(clips)
    assert int(again.frames[1].num_batches_tracked) == int(model.frames[1].num_batches_tracked)


def test_a_model_of_ones_own_takes_16_frames_of_224_by_default() -> None:
    spec = model_spec("mymodels:small")
    assert (spec.num_frames, spec.crop_size) == (16, 224)
    assert model_spec("mymodels:small", num_frames=8, crop_size=15).crop_size == 15


FLAT = "from torch import nn\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_package", r"does not import.*no_such_package"),
        ("1 / 0", r"does not import.*ZeroDivisionError"),
        ("big = 1", r"small is not there"),
        ("small = 1", r"small is no function"),
        ("def small(classes): pass", r"num_classes=5, num_frames=3, crop_size=40.*failed: TypeError"),
        ("def small(**options):\n    raise ValueError('no\\nway')", r"failed: ValueError: no \(.*\.py, line 2\)$"),
        ("def small(**options): return 1", r"gives int; it must give a torch\.nn\.Module"),
        (FLAT + "def small(**options): return nn.Linear(7, 5)", r"fails on a clip \[1, 3, 3, 40, 40\]: RuntimeError"),
        (FLAT + "def small(**options): return nn.Flatten()", r"gives torch\.float32 \[1, 14400\].*float \[1, 5\]"),
        (
            "from torch import nn\nclass Pair(nn.Module):\n    def forward(self, clips): return clips, 1\n"
            "def small(**options): return Pair()",
            "gives tuple for a clip",
        ),
        (
            FLAT + "def small(**options):\n"
            "    return nn.Sequential(nn.Flatten(), nn.Linear(14400, 5), nn.Softmax(dim=1))",
            "gives probabilities, they sum to 1; leave out the softmax",
        ),
    ],
)
def test_mistakes_in_a_model_of_ones_own_are_told_before_training(
    source: str, said: str, own: Callable[[str], str]
) -> None:
    spec = own_spec(own(source))
    with pytest.raises(TrainingError, match=said) as caught:
        build_model(spec, NUM_CLASSES)
    assert spec.name.partition(":")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(TrainingError, match=r"there is no module no_such_module"):
        build_model(own_spec("no_such_module"), NUM_CLASSES)


def test_a_head_that_cannot_be_told_is_asked_for(own: Callable[[str], str]) -> None:
    source = FLAT + "def small(num_classes, **options):\n"
    source += (
        "    model = nn.Sequential(nn.Flatten(), nn.Linear(14400, num_classes), nn.Linear(num_classes, num_classes))\n"
    )
    spec = own_spec(own(source + "    return model"))
    with pytest.raises(TrainingError, match=r"it has 1, 2\); give the model an attribute head_name"):
        freeze_backbone(build_model(spec, NUM_CLASSES), spec, NUM_CLASSES)
    spec = own_spec(own(source + "    model.head_name = '2'\n    return model"))
    model = build_model(spec, NUM_CLASSES)
    freeze_backbone(model, spec, NUM_CLASSES)
    assert [name for name, parameter in model.named_parameters() if parameter.requires_grad] == ["2.weight", "2.bias"]
    spec = own_spec(own(source + "    model.head_name = '0'\n    return model"))
    with pytest.raises(TrainingError, match="it has 1, 2 and says '0'"):
        freeze_backbone(build_model(spec, NUM_CLASSES), spec, NUM_CLASSES)


def test_logits_of_one_clip_that_happen_to_sum_to_1_are_logits(own: Callable[[str], str]) -> None:
    source = (
        "import torch\nfrom torch import nn\n\n"
        "class Lucky(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.weight = nn.Parameter(torch.ones(5))\n"
        "        self.asked = 0\n\n"
        "    def forward(self, clips):\n"
        "        self.asked += 1\n"
        "        return self.weight.repeat(len(clips), 1) * (0.2 if self.asked == 1 else 0.3)\n\n"
        "def small(**options): return Lucky()"
    )
    assert isinstance(build_model(own_spec(own(source)), NUM_CLASSES), torch.nn.Module)
