"""Whether a run can go on from a checkpoint: only as the same run."""

import pickle
from pathlib import Path

import torch

from signprep.pipeline.errors import CheckpointError
from signprep.training.classifier import CHECKPOINT_KEY, CHECKPOINT_VERSION, ModelCard
from signprep.training.config import TrainConfig


def check_resumable(path: Path, card: ModelCard, config: TrainConfig) -> None:
    """Raise CheckpointError unless the checkpoint is of a run with this model, these classes, clips and options."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint to go on from; without --resume a run starts anew")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        fields = contents[CHECKPOINT_KEY]
        version = fields["checkpoint_version"]
        if version != CHECKPOINT_VERSION:
            raise CheckpointError(
                f"{path}: is a checkpoint of version {version}; this signprep reads version {CHECKPOINT_VERSION}"
            )
        before = ModelCard.from_dict(fields)
        options = TrainConfig.from_dict(fields["train_config"])
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is no checkpoint that a run can go on from") from error
    anew = f"--pretrained {path} starts a new run with its weights"
    if before.vocabulary != card.vocabulary:
        ours, theirs = len(card.vocabulary), len(before.vocabulary)
        raise CheckpointError(
            f"{path}: was trained on {theirs} glosses and this cache has {ours}, not the same ones in the same order; "
            f"{anew}"
        )
    if before.model_spec != card.model_spec:
        raise CheckpointError(
            f"{path}: is of {_described(before)}, this run of {_described(card)}; give the same options, or {anew}"
        )
    if before.cache_fingerprint != card.cache_fingerprint:
        raise CheckpointError(
            f"{path}: the cache has changed since it was written, and so has the order of its clips; {anew}"
        )
    changed = options.differences(config)
    if changed:
        shown = ", ".join(f"{name} {getattr(options, name)} -> {getattr(config, name)}" for name in changed)
        raise CheckpointError(f"{path}: was written with other options ({shown}); give the same ones, or {anew}")


def _described(card: ModelCard) -> str:
    spec = card.model_spec
    return f"{spec.name} with {spec.num_frames} frames of {spec.crop_size}, dropout {spec.dropout_rate:g}"
