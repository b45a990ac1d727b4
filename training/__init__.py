"""All that needs torch, up to a trained checkpoint: models, loader, transforms, runs; predictions are inference/'s.

`ClipDataset` and `ClipDataModule` are the doors for loops and Lightning trainers of one's own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signprep.training.data.clip_dataset import ClipDataset
    from signprep.training.model.datamodule import ClipDataModule

__all__ = ["ClipDataModule", "ClipDataset"]

# Imports are made on first use: the command line imports this package and must stay free of torch.


def __getattr__(name: str) -> Any:
    if name == "ClipDataset":
        from signprep.training.data.clip_dataset import ClipDataset

        return ClipDataset
    if name == "ClipDataModule":
        from signprep.training.model.datamodule import ClipDataModule

        return ClipDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
