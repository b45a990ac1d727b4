"""A checkpoint's file, read without trust: tensors and plain data only."""

from pathlib import Path
from typing import Any

import torch

from signprep.pipeline.errors import CheckpointError
from signprep.pipeline.runtime.text import first_line
from signprep.training.model.classifier import CHECKPOINT_KEY, CHECKPOINT_VERSION, ModelCard

_LIGHTNING_PREFIX = "model."
_ZIP_BEGINS = b"PK\x03\x04"
"""As every file of torch.save does."""


def read_checkpoint(path: Path) -> tuple[dict[str, Any], ModelCard]:
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
        return contents, ModelCard.from_dict(fields)
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
