"""Checkpoints on disk whole or not at all: Lightning writes them to the folder of temporary files and moves them, which
from one file system to another is a copy, and a full disk leaves the beginning of one in the place of a good one.
"""

import io
import os
from pathlib import Path
from typing import Any

import torch

import signprep.training.runtime.torchvision_operators  # noqa: F401  (before lightning)

from lightning.fabric.plugins.io import TorchCheckpointIO  # isort: skip

from signprep.pipeline.errors import SignprepError, TrainingError
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.text import byte_size

LAST = "last.ckpt"


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the one that is there, and then in its place."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint. Raises TrainingError if its disk is full or cannot be written."""
        # In memory first: on a full disk torch's own writer ends the whole program.
        data = io.BytesIO()
        torch.save(checkpoint, data)
        target = Path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(target) as beside, beside.open("wb") as file:
                file.write(data.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except (SignprepError, OSError) as error:
            last = target.with_name(LAST)
            what_then = f"--resume goes on from {last}" if last.is_file() else "start again with --overwrite"
            raise TrainingError(
                f"{error}; a checkpoint takes {byte_size(len(data.getbuffer()))}. Make room, and {what_then}"
            ) from error
