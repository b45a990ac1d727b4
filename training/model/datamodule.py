"""The clips that a run trains and validates on, and their loaders; a cache that cannot train the model is refused."""

from collections.abc import Callable
from typing import Any

import signprep.training.runtime.torchvision_operators  # noqa: F401

import numpy as np
import pyarrow as pa
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor

from signprep.cache_builder import as_cache
from signprep.cache_builder.reader import Cache
from signprep.pipeline.datasets.splits import leaks
from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.paths import StrPath
from signprep.pipeline.runtime.text import counted, first_of
from signprep.training.config import TrainConfig
from signprep.training.loader import ClipLoader, FrameChooser
from signprep.training.model_spec import MODEL_SPECS, ModelSpec
from signprep.training.runtime.copies import Copies
from signprep.training.runtime.device import CPU_THREADS
from signprep.training.transforms import FrameChoice, num_draws


class ClipDataModule(LightningDataModule):
    """The training and validation clips of a cache for any Lightning trainer, in `Batch`es that threads read ahead.

    `training_step` and `validation_step` get a `Batch`: clips as stored on the device of the model, and labels, int64
    [B]. `transform_of(spec)(batch.clips)` is what a model of signprep takes. A trainer of several devices divides each
    epoch among them without a sampler of its own, and goes on within an epoch from its checkpoint.
    """

    def __init__(
        self,
        cache: Cache | StrPath,
        batch_size: int = 8,
        *,
        num_workers: int = 1,
        seed: int = 0,
        balanced_sampling: bool = False,
        num_draws: int = 0,
        pin_memory: bool = True,
    ) -> None:
        """Choose how the clips are read; which ones are trained and validated on is decided when a trainer begins.

        Args:
            cache: open, or its path or URL.
            batch_size: clips a step on one device.
            num_workers: threads that read.
            seed: of the order of the training clips.
            balanced_sampling: let every class come equally often in an epoch of training.
            num_draws: random numbers in [0, 1) that each training clip brings for its augmentation.
            pin_memory: read into memory that a GPU copies from, if there is one.

        Raises CacheError if the cache does not open. A trainer's start raises TrainingError if a split is empty, all
        training clips have one gloss, or a take or a video is in both splits.
        """
        super().__init__()
        self.cache = as_cache(cache)
        self._batch_size, self._num_workers, self._seed = batch_size, num_workers, seed
        self._balanced_sampling, self._num_draws, self._pin_memory = balanced_sampling, num_draws, pin_memory
        self._positions: dict[str, NDArray[np.int64]] = {}
        self._frame_chooser: FrameChooser | None = None
        self._loaders: dict[str, ClipLoader] = {}

    @property
    def wait_seconds(self) -> float:
        """Time that training has waited for batches, and its GPU for their copies."""
        return self._loaders["train"].wait_seconds + self._loaders["train"].stalled_seconds

    def setup(self, stage: str) -> None:
        """Make the loaders of this rank."""
        assert self.trainer is not None
        if not self._positions:
            train, val = split_positions(self.cache, rank_zero_info)
            self._positions = {"train": train, "val": val}
        device = self.trainer.strategy.root_device
        on_gpu = device.type == "cuda"
        for split, positions in self._positions.items():
            self._loaders[split] = ClipLoader(
                cache=self.cache,
                positions=positions,
                batch_size=self._batch_size,
                shuffle=split == "train",
                balance=split == "train" and self._balanced_sampling,
                seed=self._seed,
                num_draws=self._num_draws if split == "train" else 0,
                frame_chooser=self._frame_chooser,
                num_workers=self._num_workers,
                pin_memory=on_gpu and self._pin_memory,
                copies=Copies(device) if on_gpu else None,
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


class ClipData(ClipDataModule):
    """The clips of `signprep train`, by its options; checkpoints have the place of the next batch under this name."""

    def __init__(
        self, cache: Cache, spec: ModelSpec, config: TrainConfig, *, train: NDArray[np.int64], val: NDArray[np.int64]
    ) -> None:
        super().__init__(
            cache,
            config.batch_size,
            num_workers=CPU_THREADS if config.num_workers is None else config.num_workers,
            seed=config.seed,
            balanced_sampling=config.balanced_sampling,
            num_draws=num_draws(spec.num_frames, config.augmentation),
            pin_memory=bool(config.pin_memory),
        )
        self._positions = {"train": train, "val": val}
        self._frame_chooser = FrameChoice(num_frames=spec.num_frames, limits=config.augmentation)


ONE_CLIP_SHARE, KNOWN_SHARE = 0.9, 0.1
"""Where so many of the glosses have one training clip, and fewer validation clips than that share are of trained
glosses, glosses are no classes: they are whole sentences."""


def split_positions(cache: Cache, log: Callable[[str], None]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions to train on and to validate on.

    Raises:
        TrainingError: a split is empty, there is one gloss only, or a take or a video is in both splits; or nearly
            each clip has a gloss of its own.
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
    _require_classes(cache, labels[train], labels[val], log)
    unknown = np.setdiff1d(labels[val], known)
    if len(unknown):
        names = [cache.vocabulary.glosses[label] for label in unknown]
        log(
            f"warning: {counted(len(unknown), 'gloss', 'glosses')} to validate without a training clip, so they cannot "
            f"be learnt: {first_of(names, 5)}"
        )
    return train, val


def _require_classes(
    cache: Cache, train: NDArray[np.integer], val: NDArray[np.integer], log: Callable[[str], None]
) -> None:
    """Refuse labels that are no classes, as sentences are: nearly each clip its own, and hardly one validated again.

    Where only the first is so, say it: with one clip of each gloss something may still be learnt.
    """
    known, counts = np.unique(train, return_counts=True)
    once, shared = int((counts == 1).sum()), int(np.isin(val, known).sum())
    if once < ONE_CLIP_SHARE * len(known):
        return
    told = f"{once:,} of {len(known):,} glosses have one training clip each"
    if shared >= KNOWN_SHARE * len(val):
        log(f"warning: {told}; a sign is learnt from several signers and takes")
        return
    raise TrainingError(
        f"{cache}: there is nothing to learn: {told}, and {shared:,} of {len(val):,} validation clips have a gloss "
        f"that is trained, such as {cache.vocabulary.glosses[known[0]]!r}, as where glosses are whole sentences; train "
        "on labels of single signs, with their times in the videos (a table with start and end, subtitles or ELAN "
        "files)"
    )


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


def frame_spacing(cache: Cache, positions: NDArray[np.int64], num_frames: int) -> float | None:
    """Return the seconds from one of so many frames of a clip to the next, the median of the clips; None if unknown."""
    rows = cache.index.select(["clip_start_seconds", "clip_end_seconds"]).take(pa.array(positions))
    starts, ends = (column.to_numpy() for column in rows.columns)
    seconds = (ends - starts)[np.isfinite(ends - starts)]
    return float(np.median(seconds)) / num_frames if len(seconds) else None


def balanced_class_weights(cache: Cache, positions: NDArray[np.int64]) -> Tensor:
    """Return weights inverse to the classes' numbers of clips, with mean 1 over the clips; float32 [classes]."""
    counts = np.bincount(cache.labels()[positions], minlength=len(cache.vocabulary))
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights.astype(np.float32))
