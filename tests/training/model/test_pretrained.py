"""Weights from elsewhere, and what of a model they leave as it is."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from signprep.pipeline.errors import CheckpointError
from signprep.training.model.pretrained import K400_ROOT, freeze_backbone, keep_frozen_in_eval, load_pretrained
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
from tests.training.small_models import (
    GLOSSES,
    NUM_CLASSES,
    ONE_OF_EACH_FAMILY,
    SMALL_X3D,
    signprep_checkpoint,
    training_step,
)


def kinetics_weights(spec: ModelSpec, num_classes: int = 400) -> dict[str, torch.Tensor]:
    """Made-up weights under the names, and in the shapes, of a Kinetics-400 file."""
    return {name: torch.full_like(value, 0.25) for name, value in build_model(spec, num_classes).state_dict().items()}


@pytest.fixture(scope="module")
def x3d_weights() -> dict[str, torch.Tensor]:
    return kinetics_weights(SMALL_X3D)


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
    load_pretrained(model, spec, "k400", vocabulary=GLOSSES)
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
    with pytest.raises(CheckpointError, match=r"file\.pt: cannot be read as weights \((?!KeyError|EOFError)"):
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
    load_pretrained(model, SMALL_X3D, path, vocabulary=GLOSSES)
    given = trained.state_dict()
    equal = {
        name: value.shape == given[name].shape and torch.equal(value, given[name])
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
