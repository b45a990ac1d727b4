"""A checkpoint's file, read without trust: tensors and plain data only."""

from pathlib import Path
from typing import Any

import torch

from signprep.pipeline.errors import CheckpointError
from signprep.training.classifier import CHECKPOINT_KEY, CHECKPOINT_VERSION, ModelCard


def read_checkpoint(path: Path) -> tuple[dict[str, Any], ModelCard]:
    """Return what a checkpoint of `signprep train` holds, and its model card.

    Tensors are mapped, not read, until they are used.

    Raises:
        CheckpointError: there is no such file, it is no signprep checkpoint, or one of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint; `signprep train` writes best.ckpt and last.ckpt")
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        fields = contents[CHECKPOINT_KEY]
        version = fields["checkpoint_version"]
    except Exception as error:  # on damaged files torch raises a dozen kinds, AssertionError among them
        raise CheckpointError(f"{path}: is no signprep checkpoint") from error
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(
            f"{path}: is a checkpoint of version {version}; this signprep reads version {CHECKPOINT_VERSION}"
        )
    try:
        return contents, ModelCard.from_dict(fields)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its model card is damaged ({error})") from error
