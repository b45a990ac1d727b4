"""Checkpoints whose numbers, names or bytes are not those of a run: refused, each with a CheckpointError."""

import copy
import io
import math
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from signprep.inference.open_model import open_model
from signprep.inference.recognizer import Recognizer
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CheckpointError
from signprep.training.config import TrainConfig
from signprep.training.model.checkpoint import CHECKPOINT_KEY, ModelMetadata
from signprep.training.model.pretrained import load_pretrained
from signprep.training.model_spec import build_model, model_spec

NAME = f"{__name__}:normed"
SPEC = model_spec(NAME, num_frames=2, crop_size=8, dropout_rate=0.0)
CLIPS = ClipSpec(num_frames=4, size=16)
GLOSSES = Vocabulary(glosses=("왼쪽", "오른쪽", "위"))


def normed(*, num_classes: int, num_frames: int, crop_size: int, dropout_rate: float) -> nn.Module:
    model = nn.Sequential(nn.BatchNorm3d(3), nn.Flatten(), nn.Linear(3 * num_frames * crop_size**2, num_classes))
    model.register_buffer("mask", torch.tensor([0.0, -math.inf]))
    return model


def contents_of_a_run() -> dict[str, Any]:
    torch.manual_seed(0)
    metadata = ModelMetadata(model_spec=SPEC, clip_spec=CLIPS, vocabulary=GLOSSES, cache_fingerprint="abc")
    weights = {f"model.{name}": value for name, value in build_model(SPEC, len(GLOSSES)).state_dict().items()}
    return {CHECKPOINT_KEY: metadata.to_dict() | {"train_config": TrainConfig().to_dict()}, "state_dict": weights}


GOOD = contents_of_a_run()
TENSORS = sorted(GOOD["state_dict"])
FLOATS = [name for name in TENSORS if GOOD["state_dict"][name].is_floating_point()]


def opened(contents: Any, folder: Path, name: str = "best.ckpt") -> Recognizer:
    torch.save(contents, folder / name)
    return open_model(folder / name, own_model=NAME)


def answers(recognizer: Recognizer) -> np.ndarray:
    clips = np.random.default_rng(0).integers(0, 256, (2, *recognizer.metadata.clip_spec.clip_shape), np.uint8)
    return recognizer.probabilities(list(clips))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return answers(opened(GOOD, tmp_path_factory.mktemp("good")))


def with_tensor(name: str, value: Any) -> dict[str, Any]:
    return {**GOOD, "state_dict": {**GOOD["state_dict"], name: value}}


def first_is(number: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def changed(value: torch.Tensor) -> torch.Tensor:
        value = value.clone()
        value.view(-1)[0] = number
        return value

    return changed


DAMAGES: dict[str, Callable[[torch.Tensor], Any]] = {
    "NaN": first_is(math.nan),
    "infinite": first_is(math.inf),
    "infinite below": first_is(-math.inf),
    "all NaN": lambda value: torch.full_like(value, math.nan),
    "too large for its type": lambda value: torch.full_like(value, 1e300, dtype=torch.float64),
    "whole numbers": lambda value: torch.zeros_like(value, dtype=torch.int64),
    "complex": lambda value: torch.zeros_like(value, dtype=torch.complex64),
    "sparse": lambda value: value.to_sparse(),
    "without numbers": lambda value: value.to("meta"),
    "of another shape": lambda value: torch.cat([value, value]),
    "of no dimension": lambda value: torch.tensor(0.5),
    "empty": lambda value: value[:0],
    "a list": lambda value: value.tolist(),
    "None": lambda value: None,
    "a text": lambda value: "weights",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FLOATS)
def test_weights_that_cannot_answer_are_refused(name: str, damage: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.ckpt: "):
        opened(with_tensor(name, DAMAGES[damage](GOOD["state_dict"][name])), tmp_path)


@pytest.mark.parametrize("name", TENSORS)
def test_weights_that_are_missing_or_unknown_are_refused(name: str, tmp_path: Path) -> None:
    if not name.endswith("num_batches_tracked"):  # which no answer depends on
        with pytest.raises(CheckpointError, match=r"do not fit .* missing"):
            opened({**GOOD, "state_dict": {k: v for k, v in GOOD["state_dict"].items() if k != name}}, tmp_path)
    with pytest.raises(CheckpointError, match=r"do not fit .* unknown"):
        opened(with_tensor(f"{name}2", GOOD["state_dict"][name]), tmp_path)


def test_a_variance_below_zero_is_refused_and_a_models_own_infinities_are_not(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="running_var, which are variances, are negative"):
        opened(with_tensor("model.0.running_var", torch.tensor([1.0, -1e-3, 1.0])), tmp_path)
    assert math.isinf(opened(GOOD, tmp_path).model.mask[1])


def leaves(fields: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in fields.items():
        yield (*path, name)
        if isinstance(value, dict) and name != "train_config":
            yield from leaves(value, (*path, name))


def with_field(path: tuple[str, ...], *value: Any) -> dict[str, Any]:
    """The contents with another value of a field of the model's metadata, or without it."""
    contents = {**GOOD, CHECKPOINT_KEY: copy.deepcopy(GOOD[CHECKPOINT_KEY])}
    inner = contents[CHECKPOINT_KEY]
    for name in path[:-1]:
        inner = inner[name]
    inner.pop(path[-1])
    if value:
        inner[path[-1]] = value[0]
    return contents


FIELDS = [path for path in leaves(GOOD[CHECKPOINT_KEY]) if path != ("train_config",)]
VALUES: list[Any] = [
    None, True, -1, 0, 0.5, 10**400, math.nan, math.inf, -math.inf, "", "x", "\ud800", [], ["a", "a"], [1], {}, (1, 2),
    {"a": 1}, b"x", torch.zeros(3), torch.tensor(math.nan),
]  # fmt: skip


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_any_value_of_any_field_is_refused_or_answers(path: tuple[str, ...], tmp_path: Path) -> None:
    for value in [(), *((value,) for value in VALUES)]:
        try:
            found = answers(opened(with_field(path, *value), tmp_path))
        except CheckpointError as error:
            assert "best.ckpt: " in str(error) and len(str(error).splitlines()) == 1
        else:
            assert np.isfinite(found).all() and found.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (("temperature",), [0, 0.0, -1, 1e-300, 1e300, math.nan, math.inf, "1", True, None, torch.tensor(1.0)]),
        (
            ("glosses",),
            [[], ["위"], list("abcd"), ["a", "a", "b"], ["a", "b", 3], "abc", {"a": 1, "b": 2, "c": 3}, None],
        ),
        (("model_spec", "std"), [0, -1, 1e-38, math.nan, math.inf, "1", None]),
        (("model_spec", "mean"), [1e38, math.nan, -math.inf, "0", None]),
        (("model_spec", "num_frames"), [0, -1, 3, 5, 2.0, "2", True, 10**9, None]),
        (("model_spec", "crop_size"), [0, -8, 16, 8.0, 10**9, None]),
        (("model_spec", "dropout_rate"), [-0.1, 1, math.nan, "0", None]),
        (("model_spec", "name"), ["x3d_s", "os:system", "efficient_x3d_xs", "", "a b:c", None, 3]),
        (("clip_spec", "num_frames"), [0, 1, -4, 4.0, "4", 10**9, None]),
        (("clip_spec", "size"), [0, 2, 18, -16, "16", 10**9, None]),
        (("clip_spec", "pixels"), ["bgr", "", None, 3]),
        (("clip_spec", "crop"), ["middle", "0,0,2,2", "nan,0,1,1", None, 3]),
        (("clip_spec", "span"), ["all", 0, -1, math.nan, None, True]),
        (("clip_spec", "margin_seconds"), [-1, math.nan, "0", None]),
        (("cache_fingerprint",), [None, 3, ["abc"]]),
        (("checkpoint_version",), [0, 2, -1, "1", None, math.nan]),
    ],
    ids=str,
)
def test_what_no_run_writes_is_refused(path: tuple[str, ...], values: list[Any], tmp_path: Path) -> None:
    for value in values:
        with pytest.raises(CheckpointError, match=r"best\.ckpt: "):
            opened(with_field(path, value), tmp_path)
            pytest.fail(f"{value!r} was taken")


@pytest.mark.parametrize(
    "contents", [{}, [], None, "best", 3, {CHECKPOINT_KEY: {}}, {CHECKPOINT_KEY: GOOD["signprep"]}]
)
def test_files_of_torch_that_hold_something_else_are_refused(contents: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"best\.ckpt: "):
        opened(contents, tmp_path)
    for state in (None, [], 3, {3: torch.zeros(1)}, {None: None}):
        with pytest.raises(CheckpointError, match=r"best\.ckpt: "):
            opened({**GOOD, "state_dict": state}, tmp_path)


def test_damaged_bytes_are_found_or_change_no_answer(tmp_path: Path, expected: np.ndarray) -> None:
    path, drawn = tmp_path / "best.ckpt", random.Random(0)
    torch.save(GOOD, path)
    whole = path.read_bytes()
    refused = 0
    for number in range(150):
        data = bytearray(whole)
        if number % 3:
            for _ in range(1 + number % 4):
                data[drawn.randrange(len(data))] ^= 1 << drawn.randrange(8)
        else:
            first = drawn.randrange(len(data))
            del data[first : first + drawn.choice([1, 64, len(data)])]
        path.write_bytes(data)
        try:
            found = answers(open_model(path, own_model=NAME))
        except CheckpointError as error:
            refused += 1
            assert "best.ckpt: " in str(error) and len(str(error).splitlines()) == 1
        else:
            assert np.array_equal(found, expected)
    assert refused > 75


def test_an_answer_that_is_no_number_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    huge = torch.full_like(GOOD["state_dict"]["model.2.weight"], 3e38)
    recognizer = opened(with_tensor("model.2.weight", huge), tmp_path)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: its answers are no numbers; use another file"):
        answers(recognizer)


def test_no_run_begins_with_weights_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save(with_tensor("model.0.weight", torch.full([3], math.nan)), path)
    with pytest.raises(CheckpointError, match=r"best\.ckpt: its weights 0\.weight are not all finite"):
        load_pretrained(build_model(SPEC, 3), SPEC, path, vocabulary=GLOSSES)


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["best.ckpt", "best.pt", "best.pkl", "best.onnx", "best.pte", "best", "best.zip"])
@pytest.mark.parametrize("kind", ["torch", "torch of old", "pickle", "zip"])
def test_nothing_that_is_pickled_runs_under_any_name(name: str, kind: str, tmp_path: Path) -> None:
    path, hostile = tmp_path / name, {CHECKPOINT_KEY: Touches(tmp_path / "owned"), "state_dict": {}}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("best/data.pkl", pickle.dumps(hostile))
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(hostile))
    else:
        torch.save(hostile, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(CheckpointError, match=path.name):
        open_model(path)
    assert not (tmp_path / "owned").exists()


def scripted() -> bytes:
    data = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(2, 3)), data)
    return data.getvalue()


@pytest.mark.parametrize(
    "name", ["best.ckpt", "last.CKPT", "weights.bin", "best.onnx", "best.pte", "best.pkl", "a.pt.txt"]
)
def test_a_program_under_the_name_of_data_is_not_run(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(scripted())
    with pytest.raises(CheckpointError, match=r"is a program, a file of torchscript.* let its name end in \.pt"):
        open_model(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"cannot be read as weights"):
        load_pretrained(build_model(SPEC, 3), SPEC, tmp_path / name, vocabulary=GLOSSES)
