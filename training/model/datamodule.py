"""ClipData: the loaders of a run's training and validation clips, for the rank that asks."""

from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray

from signprep.cache_builder.reader import Cache
from signprep.training.config import TrainConfig
from signprep.training.data.augmentation import num_draws
from signprep.training.loader import ClipLoader
from signprep.training.model_spec import ModelSpec


class ClipData(LightningDataModule):
    """Makes the loaders of the positions to train and to validate on, once the rank is known."""

    def __init__(
        self, cache: Cache, spec: ModelSpec, config: TrainConfig, *, train: NDArray[np.int64], val: NDArray[np.int64]
    ) -> None:
        super().__init__()
        self._cache, self._config = cache, config
        self._positions = {"train": train, "val": val}
        self._num_draws = num_draws(spec.num_frames)
        self._loaders: dict[str, ClipLoader] = {}

    @property
    def wait_seconds(self) -> float:
        """Time that training has waited for batches."""
        return self._loaders["train"].wait_seconds

    def setup(self, stage: str) -> None:
        """Make the loaders of this rank."""
        assert self.trainer is not None
        config = self._config
        for split, positions in self._positions.items():
            self._loaders[split] = ClipLoader(
                cache=self._cache,
                positions=positions,
                batch_size=config.batch_size,
                shuffle=split == "train",
                balance=split == "train" and config.balanced_sampling,
                seed=config.seed,
                num_draws=self._num_draws if split == "train" else 0,
                num_workers=config.num_workers,
                pin_memory=config.pin_memory and torch.cuda.is_available(),
                rank=self.trainer.global_rank,
                num_ranks=self.trainer.world_size,
            )

    def train_dataloader(self) -> ClipLoader:
        """Return the loader of the training clips."""
        return self._loaders["train"]

    def val_dataloader(self) -> ClipLoader:
        """Return the loader of the validation clips."""
        return self._loaders["val"]

    def state_dict(self) -> dict[str, Any]:
        """Return the place of the next training batch; Lightning itself restores it within an epoch only."""
        return self._loaders["train"].state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from another batch."""
        self._loaders["train"].load_state_dict(state_dict)

    def close(self) -> None:
        """End the reading threads."""
        for loader in self._loaders.values():
            loader.close()
