"""The clips of a cache that a run trains on and validates on; a cache that cannot train the model is refused."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from signprep.cache_builder.reader import Cache
from signprep.pipeline.datasets.splits import leaks
from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.text import counted, first_of
from signprep.training.model_spec import ModelSpec


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
        raise TrainingError(f"{cache}: training and validation overlap: {'; '.join(forbidden)}")
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


def require_frames(cache: Cache, spec: ModelSpec) -> None:
    """Raise TrainingError if the cache stores fewer frames than the model needs."""
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
