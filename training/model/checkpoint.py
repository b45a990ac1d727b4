"""A checkpoint's file, read without trust: tensors and plain data only."""

from pathlib import Path
from typing import Any

import torch

from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.text import first_line
from signprep.training.config import TrainConfig
from signprep.training.model.metadata import CHECKPOINT_KEY, CHECKPOINT_VERSION, ModelMetadata

_LIGHTNING_PREFIX = "model."
_ZIP_BEGINS = b"PK\x03\x04"
"""As every file of torch.save does."""


def read_checkpoint(path: Path) -> tuple[dict[str, Any], ModelMetadata]:
    """Return what a checkpoint of `signprep train` holds, and its model card.

    Tensors are mapped, not read, until they are used.

    Raises:
        CheckpointError: there is no such file, it is no signprep checkpoint, or one of another version.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder; give the checkpoint in it, such as {path / 'best.ckpt'}")
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint; `signprep train` writes best.ckpt and last.ckpt")
    with path.open("rb") as file:
        begins = file.read(4)
    if begins != _ZIP_BEGINS:
        raise CheckpointError(
            f"{path}: is no signprep checkpoint, nor any file of torch; `signprep train` writes best.ckpt and last.ckpt"
        )
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        fields = contents[CHECKPOINT_KEY]
        require_version(str(path), fields)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or first_line(error)})") from error
    except CheckpointError:
        raise
    except Exception as error:  # on damaged files torch raises a dozen kinds, AssertionError among them
        raise CheckpointError(
            f"{path}: is no signprep checkpoint, or it was cut off; copy it again: `signprep train` writes best.ckpt "
            "and last.ckpt"
        ) from error
    try:
        return contents, ModelMetadata.from_dict(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its model card is damaged ({error})") from error


def require_version(label: str, fields: dict[str, Any]) -> None:
    """Raise CheckpointError unless a checkpoint's model card is of the version that is read here; `label` names it."""
    version = fields["checkpoint_version"]
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{label}: is a checkpoint of version {version}; this signprep reads version {CHECKPOINT_VERSION}"
        )


def model_weights(contents: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the weights of the model by its own names, without Lightning's prefix."""
    return {
        name.removeprefix(_LIGHTNING_PREFIX): value
        for name, value in contents["state_dict"].items()
        if name.startswith(_LIGHTNING_PREFIX)
    }


def check_resumable(path: Path, card: ModelMetadata, config: TrainConfig) -> None:
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


def _described(card: ModelMetadata) -> str:
    spec = card.model_spec
    return f"{spec.name} with {spec.num_frames} frames of {spec.crop_size}, dropout {spec.dropout_rate:g}"
