"""Damaged checkpoints: each is refused, or answers finite numbers, the same ones if only bytes were damaged."""

import json
import random
from pathlib import Path

import signprep.training.runtime.torchvision_operators  # noqa: F401

import torch

from signprep.inference.recognizer import load_checkpoint
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import SignprepError
from signprep.training.model.checkpoint import CHECKPOINT_KEY, ModelMetadata
from signprep.training.model_spec import build_model, model_spec
from tests.mutations.damage import damaged, damaged_json

SPEC = ClipSpec(num_frames=2, size=32)


def make(folder: Path) -> None:
    """Write the checkpoint of a small model."""
    torch.manual_seed(0)
    spec = model_spec("efficient_x3d_xs", num_frames=2, crop_size=32)
    metadata = ModelMetadata(
        model_spec=spec,
        clip_spec=SPEC,
        vocabulary=Vocabulary(glosses=("왼쪽", "오른쪽", "위")),
        cache_fingerprint="0" * 32,
    )
    weights = {f"model.{name}": value for name, value in build_model(spec, 3).state_dict().items()}
    torch.save({CHECKPOINT_KEY: metadata.to_dict(), "state_dict": weights}, folder / "best.ckpt")


def check(folder: Path, rng: random.Random, work: Path) -> str:
    """Damage a checkpoint and ask it; return what became of it."""
    path, whole = work / "best.ckpt", folder / "best.ckpt"
    if only_bytes := rng.random() < 0.5:
        path.write_bytes(damaged(whole.read_bytes(), rng))
    else:
        contents = torch.load(whole, weights_only=True)
        if rng.random() < 0.5:
            contents[CHECKPOINT_KEY] = damaged_json(contents[CHECKPOINT_KEY], rng)
        else:
            damage_weights(contents["state_dict"], rng)
        try:
            torch.save(contents, path)
        except UnicodeEncodeError:  # pickle holds no half characters
            return "not made"
    try:
        recognizer = load_checkpoint(path)
    except SignprepError as error:
        assert str(path) in str(error), f"an error does not name its checkpoint: {error}"
        return "refused"
    stored = torch.full((1, *SPEC.clip_shape), 100, dtype=torch.uint8)
    try:
        logits = recognizer.logits(stored)
    except SignprepError as error:
        assert str(error)
        return "refused when asked"
    assert logits.isfinite().all(), "logits are not finite"
    json.dumps(recognizer.softmax(logits).tolist(), allow_nan=False)
    assert len(recognizer.glosses) == logits.shape[1]
    if only_bytes:
        assert torch.equal(logits, load_checkpoint(whole).logits(stored)), "a damaged checkpoint answers otherwise"
    return "read"


def damage_weights(weights: dict[str, torch.Tensor], rng: random.Random) -> None:
    """Change one tensor: its numbers, its shape, its type, its name, or take it away."""
    name = rng.choice(list(weights))
    value = weights[name]
    match rng.randrange(6):
        case 0:
            number = rng.choice((float("nan"), float("inf"), -float("inf"), 1e30))
            weights[name] = torch.full_like(value, number if value.is_floating_point() else -1)
        case 1:
            weights[name] = value.reshape(-1)[:-1] if value.numel() > 1 else value.reshape(1, 1)
        case 2:
            weights[name] = value.to(rng.choice((torch.float16, torch.int64, torch.complex64, torch.float64)))
        case 3:
            weights[f"{name}x"] = weights.pop(name)
        case 4:
            del weights[name]
        case 5:
            flat = value.clone().reshape(-1)
            flat[rng.randrange(flat.numel())] = -1
            weights[name] = flat.reshape(value.shape)
