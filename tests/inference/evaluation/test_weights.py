"""Weights of several checkpoints, fitted on a split, and the file that they are passed on in."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.weights import fit_weights
from signprep.inference.open_model import open_models
from signprep.pipeline.errors import CheckpointError
from tests.inference.test_combination import answered, both, changed, invoke

CLASSES = 7


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def answers(strengths: list[float], num_clips: int = 2500, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Log-probabilities of models that see the right class so clearly, each through noise of its own."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=num_clips)
    right = np.eye(CLASSES)[labels]
    # Log-likelihoods of a Gaussian observation of each class: calibrated as they are.
    logits = [strength * (strength * right + rng.normal(size=right.shape)) for strength in strengths]
    return [log_softmax(one).astype(np.float32) for one in logits], labels


def nll(logs: list[np.ndarray], labels: np.ndarray, weights: list[float]) -> float:
    combined = log_softmax(np.tensordot(weights, np.stack(logs).astype(np.float64), axes=1))
    return float(-combined[np.arange(len(labels)), labels].mean())


def test_the_likeliest_weights_are_found() -> None:
    logs, labels = answers([1.5, 0.7])
    found, better = fit_weights(logs, labels)
    grid = {share: nll(logs, labels, [share, 1 - share]) for share in np.linspace(0, 1, 101)}
    assert found.weights[0] == pytest.approx(min(grid, key=grid.__getitem__), abs=0.011)
    assert found.nll == pytest.approx(nll(logs, labels, list(found.weights))) and found.nll <= min(grid.values()) + 1e-6
    assert better.weights == (1.0, 0.0) and better.nll == pytest.approx(grid[1.0])
    assert found.accuracy > better.accuracy


def test_of_three_models_no_other_weights_are_likelier() -> None:
    logs, labels = answers([1.0, 1.3, 0.0])
    found, _ = fit_weights(logs, labels)
    assert sum(found.weights) == pytest.approx(1) and min(found.weights) >= 0 and found.weights[2] < 0.1
    for other in np.random.default_rng(1).dirichlet(np.ones(3), size=60):
        assert found.nll <= nll(logs, labels, other.tolist()) + 1e-6


@pytest.mark.parametrize("seed", range(12))
def test_together_they_are_never_worse_than_the_better_one_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logs, labels = answers(rng.uniform(0, 2, size=2 + seed % 2).tolist(), num_clips=25, seed=seed)
    found, better = fit_weights(logs, labels)
    accuracies = [float((one.argmax(axis=1) == labels).mean()) for one in logs]
    assert better.accuracy == max(accuracies) <= found.accuracy
    assert found.nll <= better.nll + 1e-9


def test_a_model_that_misleads_gets_no_weight_and_equal_ones_share() -> None:
    logs, labels = answers([1.5, 0.0])
    misleading = log_softmax(-3 * logs[0].astype(np.float64)).astype(np.float32)
    assert fit_weights([misleading, logs[0]], labels)[0].weights == (0.0, 1.0)
    assert fit_weights([logs[0], logs[0]], labels)[0].weights == (0.5, 0.5)


@pytest.fixture
def members(checkpoint: Path, cache: Cache, tmp_path: Path) -> tuple[Path, Path]:
    """Two checkpoints in folders of their own, the second one with the opposite answers."""
    folder = tmp_path / "두 모델"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    one, other = folder / "a" / "best.ckpt", folder / "b" / "best.ckpt"
    shutil.copy(checkpoint, one)
    changed(checkpoint, other, rows=[1, 0], glosses=list(cache.vocabulary.glosses), temperature=0.5)
    return one, other


def test_fitted_weights_are_found_by_whoever_gets_the_file(
    members: tuple[Path, Path], cache: Cache, tmp_path: Path
) -> None:
    file = members[0].parent.parent / "together.json"
    document = answered("evaluate", cache.path, *both(*members), "--fit-weights", file, "--json")
    fitted = document["combined"]["fitted"]
    assert [one["weight"] for one in document["combined"]["members"]] == [0.5, 0.5]
    singles = [one["accuracy"] for one in document["combined"]["members"]]
    assert fitted["accuracy"] >= fitted["better_alone"]["accuracy"] == max(singles)
    assert fitted["nll"] <= fitted["better_alone"]["nll"] and sum(fitted["weights"]) == pytest.approx(1)
    written = json.loads(file.read_text(encoding="utf-8"))
    assert [one["checkpoint"] for one in written["members"]] == ["a/best.ckpt", "b/best.ckpt"]
    told = ("cache", "cache_fingerprint", "split", "clips", "clip_views")
    assert written["fitted_on"] == {name: document[name] for name in told}
    moved = file.parent.rename(tmp_path / "elsewhere") / file.name
    clips = list(cache.read(cache.positions()))
    paths = [moved.parent / "a" / "best.ckpt", moved.parent / "b" / "best.ckpt"]
    expected = open_models(paths, weights=fitted["weights"]).probabilities(clips)
    assert np.array_equal(open_models([moved]).probabilities(clips), expected)
    rows = answered("infer", cache.path, "--split", "val", "--checkpoint", moved)
    assert len(rows) == len(cache.positions("val"))
    again = answered("evaluate", cache.path, "--split", "train", "--checkpoint", moved, "--json")
    assert [one["weight"] for one in again["combined"]["members"]] == pytest.approx(fitted["weights"])
    assert again["split"] == "train" and again["combined"]["fitted"] is None
    shown = " ".join(invoke("evaluate", cache.path, "--checkpoint", moved, "--fit-weights", moved).stdout.split())
    assert "has weights" in shown and "measure on another split" in shown


def test_a_file_of_weights_that_says_something_else_is_a_line(
    members: tuple[Path, Path], cache: Cache, tmp_path: Path
) -> None:
    file = members[0].parent.parent / "together.json"
    answered("evaluate", cache.path, *both(*members), "--fit-weights", file, "--json")
    text = file.read_text(encoding="utf-8")

    def refused(*arguments: object) -> str:
        result = invoke("infer", cache.path, *arguments)
        assert result.exit_code == 1 and isinstance(result.exception, CheckpointError), result.output
        assert "\n" not in str(result.exception)
        return str(result.exception)

    for changed_text, told in (
        ("", "names no checkpoints"),
        ("[]", "names no checkpoints"),
        ('{"combination_version": 1, "members": []}', "names no checkpoints (it has none)"),
        (text.replace('"combination_version": 1', '"combination_version": 2'), "is of version 2"),
        (text.replace('"weight": ', '"weight": -'), "names no checkpoints (weights are"),
        (text.replace("a/best.ckpt", "../best.ckpt"), "lies elsewhere"),
        (text.replace("a/best.ckpt", "a/gone.ckpt"), "which is not there"),
        (text.replace('"sha256": "', '"sha256": "0'), "has changed since the weights were fitted"),
    ):
        file.write_text(changed_text, encoding="utf-8")
        assert told in refused("--checkpoint", file)
    file.write_text(text, encoding="utf-8")
    assert "give it alone" in refused("--checkpoint", file, "--checkpoint", members[0])
    assert "names no checkpoints" in refused("--checkpoint", tmp_path / "gone.json")


def test_weights_are_fitted_for_several_checkpoints_below_the_file(
    members: tuple[Path, Path], cache: Cache, tmp_path: Path
) -> None:
    below = members[0].parent / "together.json"
    elsewhere = invoke("evaluate", cache.path, *both(*members), "--fit-weights", below)
    assert elsewhere.exit_code == 1 and "lies elsewhere" in str(elsewhere.exception) and not below.exists()
    for arguments, told in (
        ([*both(members[0]), "--fit-weights", tmp_path / "x.json"], "goes with several --checkpoint"),
        ([*both(*members), "--weights", "1,2", "--fit-weights", tmp_path / "x.json"], "and not with --weights"),
        ([*both(*members), "--fit-weights", tmp_path / "x.txt"], "ends in .json"),
    ):
        result = invoke("evaluate", cache.path, *arguments)
        assert result.exit_code == 2 and told in " ".join(result.output.split())
