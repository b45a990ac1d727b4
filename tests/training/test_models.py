"""The seven models, models of one's own, and weights from elsewhere."""

import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from signprep.pipeline.errors import CheckpointError, TrainingError
from signprep.pipeline.segment import Vocabulary
from signprep.training.classifier import CHECKPOINT_KEY, CHECKPOINT_VERSION
from signprep.training.model_spec import (
    K400_FILES,
    MODEL_SPECS,
    ModelSpec,
    build_model,
    channels_last,
    head_name,
    model_spec,
    parameter_counts,
)
from signprep.training.pretrained import K400_ROOT, freeze_backbone, keep_frozen_in_eval, load_pretrained

NUM_CLASSES = 5
GLOSSES = Vocabulary(glosses=("왼쪽", "오른쪽", "위", "아래", "중앙"))
SMALL_X3D = model_spec("x3d_xs", num_frames=2, crop_size=32)

# Millions, with 400 classes: published by PyTorchVideo for its Kinetics-400 models.
MILLIONS = {
    "efficient_x3d_xs": 3.79, "efficient_x3d_s": 3.79, "x3d_xs": 3.79, "x3d_s": 3.79, "x3d_m": 3.79,
    "slow_r50": 32.45, "mvit_base_16x4": 36.61,
}  # fmt: skip
ONE_OF_EACH_FAMILY = ["efficient_x3d_xs", "x3d_xs", "slow_r50", "mvit_base_16x4"]


def clips_for(spec: ModelSpec, batch: int = 2) -> torch.Tensor:
    shape = (batch, 3, spec.num_frames, spec.crop_size, spec.crop_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def training_step(model: nn.Module, spec: ModelSpec) -> torch.Tensor:
    """One step of SGD; return the logits."""
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.01)
    logits: torch.Tensor = model(clips_for(spec))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    optimizer.step()
    return logits


@pytest.mark.parametrize("name", MODEL_SPECS)
def test_every_model_learns_a_step_and_answers_the_same_after_saving(name: str, tmp_path: Path) -> None:
    spec = model_spec(name, num_frames=4, crop_size=64)
    model = channels_last(build_model(spec, NUM_CLASSES)).train()
    assert training_step(model, spec).shape == (2, NUM_CLASSES)
    assert all(parameter.grad is not None for parameter in model.parameters())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    reloaded = channels_last(build_model(spec, NUM_CLASSES))
    reloaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    with torch.no_grad():
        assert torch.equal(model.eval()(clips_for(spec)), reloaded.eval()(clips_for(spec)))


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
        ("x3d_s", {"crop_size": 16}, r"16 pixels.*32 to 2048 pixels.*--crop-size 32"),
        ("slow_r50", {"num_frames": 0}, r"0 frames.*1 to 1024 frames.*--num-frames 1 "),
        ("mvit_base_16x4", {"num_frames": 13}, r"13 frames.*multiples of 2 from 2 to 1024 frames.*--num-frames 12 "),
        ("mvit_base_16x4", {"crop_size": 182}, r"182 pixels.*multiples of 4 from 32.*--crop-size 180"),
        ("efficient_x3d_s", {"dropout_rate": 1.0}, r"dropout rate of 1\.0.*0 <= rate < 1"),
        ("mvit_base_16x4", {"crop_size": 112, "pretrained": True}, "16 frames of 224 pixels only, not 16 of 112"),
        ("mymodels:small", {"pretrained": True}, "no Kinetics-400 weights for a model of one's own"),
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


# Weights from elsewhere.


def kinetics_weights(spec: ModelSpec, num_classes: int = 400) -> dict[str, torch.Tensor]:
    """Made-up weights under the names, and in the shapes, of a Kinetics-400 file."""
    return {name: torch.full_like(value, 0.25) for name, value in build_model(spec, num_classes).state_dict().items()}


@pytest.fixture(scope="module")
def x3d_weights() -> dict[str, torch.Tensor]:
    return kinetics_weights(SMALL_X3D)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's folder of checkpoints, an empty one."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def assert_all_but_the_head_is_a_quarter(model: nn.Module, spec: ModelSpec) -> None:
    head = head_name(model, spec, NUM_CLASSES)
    filled = {
        name: bool((value == 0.25).all()) for name, value in model.state_dict().items() if value.is_floating_point()
    }
    assert {name for name, is_filled in filled.items() if not is_filled} == {f"{head}.weight", f"{head}.bias"}


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_kinetics_weights_fill_all_but_the_head(name: str, hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = MODEL_SPECS[name] if name.startswith("mvit") else model_spec(name, num_frames=2, crop_size=32)
    weights = kinetics_weights(spec)
    torch.save(weights if name.startswith("efficient") else {"model_state": weights}, hub / K400_FILES[name])
    model = channels_last(build_model(spec, NUM_CLASSES))
    assert not load_pretrained(model, spec, "k400", vocabulary=GLOSSES)
    assert_all_but_the_head_is_a_quarter(model, spec)


def test_a_download_is_announced_on_stderr(
    hub: Path, x3d_weights: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def download(url: str, path: str, *_: object, **__: object) -> None:
        assert url == f"{K400_ROOT}/X3D_XS.pyth"
        torch.save({"model_state": x3d_weights}, path)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    load_pretrained(build_model(SMALL_X3D, NUM_CLASSES), SMALL_X3D, "k400", vocabulary=GLOSSES)
    printed = capsys.readouterr()
    assert not printed.out and "X3D_XS.pyth" in printed.err


def test_where_nothing_can_be_downloaded_the_error_says_which_file_to_put_where(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **options: object) -> None:
        assert options["weights_only"] is True
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    with pytest.raises(CheckpointError) as caught:
        load_pretrained(build_model(SMALL_X3D, NUM_CLASSES), SMALL_X3D, "k400", vocabulary=GLOSSES)
    message = str(caught.value)
    assert f"{K400_ROOT}/X3D_XS.pyth: cannot be downloaded" in message and "name resolution" in message
    assert f"put it at {hub / 'X3D_XS.pyth'}, or give its path" in message


def test_a_damaged_download_is_named(hub: Path) -> None:
    (hub / "X3D_XS.pyth").write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(CheckpointError, match=r"X3D_XS\.pyth: cannot be read.*delete it"):
        load_pretrained(build_model(SMALL_X3D, NUM_CLASSES), SMALL_X3D, "k400", vocabulary=GLOSSES)


def test_weights_from_a_path_may_have_any_number_of_classes_but_the_kinetics_file_has_400(
    hub: Path, tmp_path: Path
) -> None:
    weights = kinetics_weights(SMALL_X3D, num_classes=7)
    for path in (tmp_path / "weights.pt", hub / "X3D_XS.pyth"):
        torch.save({"model_state": weights}, path)
    model = build_model(SMALL_X3D, NUM_CLASSES)
    load_pretrained(model, SMALL_X3D, str(tmp_path / "weights.pt"), vocabulary=GLOSSES)
    assert_all_but_the_head_is_a_quarter(model, SMALL_X3D)
    with pytest.raises(CheckpointError, match=r"blocks\.5\.proj\.weight \[7, 2048\] instead of \[400, 2048\]"):
        load_pretrained(model, SMALL_X3D, "k400", vocabulary=GLOSSES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("blocks.0.norm.weight"), r"1 weight missing \(blocks\.0\.norm\.weight\)"),
        (lambda weights: weights.update(new=torch.zeros(1)), r"1 weight unknown \('new'\)"),
        (
            lambda weights: weights.update({"blocks.0.norm.bias": torch.zeros(3)}),
            r"1 weight of another shape \(blocks\.0\.norm\.bias \[3\] instead of \[24\]\)",
        ),
        (
            lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("blocks.1.")],
            r"[0-9]+ weights missing \(blocks\.1\.\S+, blocks\.1\.\S+, blocks\.1\.\S+, \.\.\.\)",
        ),
        (lambda weights: weights.update({"blocks.5.proj.weight": torch.tensor(1.0)}), r"proj\.weight \[\] instead of"),
        (lambda weights: weights.update({"blocks.5.proj.weight": "text"}), r"'blocks\.5\.proj\.weight' \(str\)"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(
    change: Callable[[dict], object], said: str, x3d_weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weights: dict[str, Any] = dict(x3d_weights)
    change(weights)
    torch.save({"model_state": weights}, tmp_path / "weights.pt")
    model = build_model(SMALL_X3D, NUM_CLASSES)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=said) as caught:
        load_pretrained(model, SMALL_X3D, str(tmp_path / "weights.pt"), vocabulary=GLOSSES)
    assert str(tmp_path / "weights.pt") in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_counters_that_old_files_lack_are_not_missed(x3d_weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    old = {name: value for name, value in x3d_weights.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "weights.pt")
    model = build_model(SMALL_X3D, NUM_CLASSES)
    load_pretrained(model, SMALL_X3D, str(tmp_path / "weights.pt"), vocabulary=GLOSSES)
    assert_all_but_the_head_is_a_quarter(model, SMALL_X3D)


class Hostile:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_run(tmp_path: Path, hub: Path) -> None:
    model = build_model(SMALL_X3D, NUM_CLASSES)
    for path in (tmp_path / "hostile.pt", hub / "X3D_XS.pyth"):
        torch.save({"model_state": Hostile(tmp_path / "was-run")}, path)
    for source in (str(tmp_path / "hostile.pt"), "k400"):
        with pytest.raises(CheckpointError, match=r"cannot be read.*Python objects.*never loaded"):
            load_pretrained(model, SMALL_X3D, source, vocabulary=GLOSSES)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("content", [b"", b"hello\n", b"\x80\x04junk", b'{"a": 1}', b"PK\x03\x04" + bytes(60)])
def test_what_is_no_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"file\.pt: cannot be read as weights"):
        load_pretrained(build_model(SMALL_X3D, NUM_CLASSES), SMALL_X3D, str(path), vocabulary=GLOSSES)


@pytest.mark.parametrize(
    "content",
    [[1, 2], 3, torch.zeros(3), {}, {"model_state": {}}, {"model_state": [1]}, {"epoch": 3}, {"signprep": {}}],
    ids=str,
)
def test_what_holds_no_weights_is_named(content: object, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"file\.pt: holds no weights by name"):
        load_pretrained(build_model(SMALL_X3D, NUM_CLASSES), SMALL_X3D, str(path), vocabulary=GLOSSES)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.pt: there is no such file"):
        load_pretrained(
            build_model(SMALL_X3D, NUM_CLASSES), SMALL_X3D, str(tmp_path / "nothing.pt"), vocabulary=GLOSSES
        )


def signprep_checkpoint(path: Path, model: nn.Module, glosses: tuple[str, ...], **card: object) -> str:
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    fields = {"checkpoint_version": CHECKPOINT_VERSION, "glosses": list(glosses)} | card
    torch.save({CHECKPOINT_KEY: fields, "state_dict": state | {"accuracy.total": torch.zeros(1)}}, path)
    return str(path)


@pytest.mark.parametrize(
    ("glosses", "takes_head"),
    [
        (GLOSSES.glosses, True),
        (GLOSSES.glosses[::-1], False),
        (("걷다", "뛰다", "위", "아래", "중앙"), False),
        (("위", "아래"), False),
    ],
)
def test_the_head_of_a_signprep_checkpoint_is_taken_with_the_same_glosses_only(
    glosses: tuple[str, ...], takes_head: bool, tmp_path: Path
) -> None:
    trained = build_model(SMALL_X3D, len(glosses))
    path = signprep_checkpoint(tmp_path / "best.ckpt", trained, glosses)
    model = build_model(SMALL_X3D, NUM_CLASSES)
    assert load_pretrained(model, SMALL_X3D, path, vocabulary=GLOSSES) is takes_head
    equal = {
        name: value.shape == trained.state_dict()[name].shape and torch.equal(value, trained.state_dict()[name])
        for name, value in model.state_dict().items()
    }
    # A bias is zero at first, in any head of that width.
    assert all(equal[name] for name in equal if not name.startswith("blocks.5.proj"))
    assert equal["blocks.5.proj.weight"] is takes_head


def test_checkpoints_of_another_model_or_a_newer_version_are_refused(tmp_path: Path) -> None:
    model = build_model(SMALL_X3D, NUM_CLASSES)
    other = build_model(model_spec("efficient_x3d_xs"), NUM_CLASSES)
    path = signprep_checkpoint(tmp_path / "other.ckpt", other, GLOSSES.glosses)
    with pytest.raises(CheckpointError, match=r"other\.ckpt: its weights do not fit x3d_xs.*missing.*unknown"):
        load_pretrained(model, SMALL_X3D, path, vocabulary=GLOSSES)
    path = signprep_checkpoint(tmp_path / "new.ckpt", model, GLOSSES.glosses, checkpoint_version=99)
    with pytest.raises(CheckpointError, match="is a checkpoint of version 99"):
        load_pretrained(model, SMALL_X3D, path, vocabulary=GLOSSES)


# Freezing.


@pytest.mark.parametrize("name", ONE_OF_EACH_FAMILY)
def test_a_frozen_backbone_learns_nothing_and_keeps_its_statistics(name: str) -> None:
    spec = model_spec(name, num_frames=2, crop_size=32, dropout_rate=0.5)
    model = build_model(spec, NUM_CLASSES)
    head = head_name(model, spec, NUM_CLASSES)
    features = 768 if name.startswith("mvit") else 2048
    freeze_backbone(model, spec, NUM_CLASSES)
    assert parameter_counts(model)[1] == (features + 1) * NUM_CLASSES
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    keep_frozen_in_eval(model)
    training_step(model, spec)
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        f"{head}.weight", f"{head}.bias",
    }  # fmt: skip
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{head}.weight", f"{head}.bias"}
    assert all(module.training for module in model.modules() if isinstance(module, nn.Dropout))


def test_without_frozen_parts_every_norm_learns() -> None:
    model = build_model(SMALL_X3D, NUM_CLASSES).train()
    keep_frozen_in_eval(model)
    assert all(module.training for module in model.modules())


# Models of one's own.

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
    assert load_pretrained(again, spec, path, vocabulary=GLOSSES)
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
