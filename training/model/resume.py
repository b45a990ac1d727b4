"""Whether a run can go on from a checkpoint: only as the same run."""

from pathlib import Path

from signprep.pipeline.errors import CheckpointError
from signprep.training.config import TrainConfig
from signprep.training.model.checkpoint import read_checkpoint
from signprep.training.model.classifier import CHECKPOINT_KEY, ModelCard


def check_resumable(path: Path, card: ModelCard, config: TrainConfig) -> None:
    """Raise CheckpointError unless the checkpoint is of a run with this model, these classes, clips and options."""
    contents, before = read_checkpoint(path)
    try:
        options = TrainConfig.from_dict(contents[CHECKPOINT_KEY]["train_config"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its options are not those of this signprep ({error})") from error
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
