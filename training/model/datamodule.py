"""The clips that a run trains and validates on, and their loaders; a cache that cannot train the model is refused."""

from collections.abc import Callable
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401

import numpy as np
import pyarrow as pa
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor

from signprep.cache_builder.reader import Cache
from signprep.pipeline.datasets.splits import leaks
from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.text import counted, first_of
from signprep.training.config import TrainConfig
from signprep.training.loader import ClipLoader
from signprep.training.model_spec import MODEL_SPECS, ModelSpec
from signprep.training.transforms import num_draws


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


def split_positions(cache: Cache, log: Callable[[str], None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions to train on and to validate on.

    Raises:
        TrainingError: a split is empty, there is one gloss only, or a take or a video is in both splits.
    """
    train, val = cache.positions("train"), cache.positions("val")
    for name, positions in (("train", train), ("val", val)):
        if not len(positions):
            raise TrainingError(
                f"{cache}: has no clips in its split {name!r}; build it from data of at least two signers or takes"
            )
    labels = cache.labels()
    known = np.unique(labels[train])
    if len(known) < 2:
        raise TrainingError(f"{cache}: its training clips are all of one gloss; there is nothing to tell apart")
    columns = [cache.index[name].cast(pa.string()).to_pylist() for name in ("split", "take", "video_hash", "signer")]
    found = leaks(zip(*columns, strict=True))
    forbidden = [str(leak) for leak in found if leak.forbidden]
    if forbidden:
        copies = any(leak.kind == "video content" for leak in found)
        cure = "; build it again with --duplicates drop or together" if copies else ""
        raise TrainingError(f"{cache}: training and validation overlap: {'; '.join(forbidden)}{cure}")
    for leak in found:
        log(f"take care, accuracy will not tell of new people: {leak}")
    unknown = np.setdiff1d(labels[val], known)
    if len(unknown):
        names = [cache.vocabulary.glosses[label] for label in unknown]
        log(
            f"warning: {counted(len(unknown), 'gloss', 'glosses')} to validate without a training clip, so they cannot "
            f"be learnt: {first_of(names, 5)}"
        )
    return train, val


def require_clips_for(cache: Cache, spec: ModelSpec) -> None:
    """Raise TrainingError if the cache stores fewer frames than the model needs, or clips of another content."""
    if cache.clip_spec.content != spec.content:
        names = ", ".join(name for name, other in MODEL_SPECS.items() if other.content == cache.clip_spec.content)
        raise TrainingError(
            f"{cache}: stores {cache.clip_spec.content} but {spec.name} reads {spec.content}; train another model "
            f"(--model-name, one of {names}), or on another cache"
        )
    if cache.clip_spec.num_frames < spec.num_frames:
        raise TrainingError(
            f"{cache}: stores {cache.clip_spec.num_frames} frames a clip but {spec.name} needs {spec.num_frames}; "
            f"build a cache with --num-frames {spec.num_frames}, or train with --num-frames "
            f"{cache.clip_spec.num_frames}"
        )


def balanced_class_weights(cache: Cache, positions: NDArray[np.int64]) -> Tensor:
    """Return weights inverse to the classes' numbers of clips, with mean 1 over the clips; float32 [classes]."""
    counts = np.bincount(cache.labels()[positions], minlength=len(cache.vocabulary))
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights.astype(np.float32))
