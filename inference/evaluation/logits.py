"""The logits of a model for the clips of a cache's split.

In: a recognizer and a cache. Out: clips whose labels are the model's, whatever the order of the cache's glosses, and
logits. All logits stay in memory (30,000 clips of 3,000 classes: 360 MB), since calibration and views need them whole.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.format.index import FAILED, REMOVED, counts_by_value
from signprep.cache_builder.reader import Cache
from signprep.inference.recognizer import Recognizer, cache_logits, check_cache_compatible
from signprep.pipeline.errors import CacheError, CheckpointError
from signprep.pipeline.runtime.text import first_of

NAMED_GLOSSES = 3
"""So many glosses of the cache and of the model are named where none are the same."""


@dataclass(frozen=True, kw_only=True)
class SplitClips:
    """The clips of a split that a model can be asked about, and how many others there are."""

    positions: NDArray[np.int64]
    """Positions in the cache, ascending, [N]."""
    labels: NDArray[np.int64]
    """The model's labels of the clips' glosses, [N]."""
    num_failed: int
    """Rows of the split whose clips could not be decoded when the cache was built."""
    num_removed: int
    unknown_glosses: dict[str, int]
    """Numbers of clips by gloss, for glosses that the model does not know; most first."""


def split_clips(cache: Cache, split: str, recognizer: Recognizer) -> SplitClips:
    """Return the clips of a split, their glosses found by name among the model's.

    Raises:
        CheckpointError: the model was trained on other clips than the cache stores, or knows none of its glosses.
        CacheError: the split has no clips.
    """
    check_cache_compatible(cache, recognizer.metadata.clip_spec)
    positions = cache.positions(split)
    if not len(positions):
        counts = pc.value_counts(cache.index["split"].cast(pa.string())).to_pylist()
        found = ", ".join(f"{entry['values']} ({entry['counts']:,} rows)" for entry in counts if entry["values"])
        raise CacheError(f"{cache}: has no clips in its split {split!r}; its splits: {found or 'none'}")
    model_labels, glosses = recognizer.metadata.vocabulary.labels(), cache.vocabulary.glosses
    to_model = np.array([model_labels.get(gloss, -1) for gloss in glosses], np.int64)
    cache_labels = cache.labels()[positions]
    labels = to_model[cache_labels]
    known = labels >= 0
    if not known.any():
        raise CheckpointError(
            f"{cache}: the checkpoint knows none of the glosses of its split {split!r}, which has "
            f"{first_of([glosses[label] for label in np.unique(cache_labels)], NAMED_GLOSSES)}; the model knows "
            f"{first_of(list(model_labels), NAMED_GLOSSES)}. Use a cache whose classes are named as the training "
            "cache's (--class-by)"
        )
    unknown, counts = np.unique(cache_labels[~known], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rows = cache.index.filter(pc.equal(cache.index["split"].cast(pa.string()), split))
    statuses = counts_by_value(rows["status"])
    return SplitClips(
        positions=positions[known],
        labels=labels[known],
        num_failed=statuses.get(FAILED, 0),
        num_removed=statuses.get(REMOVED, 0),
        unknown_glosses={glosses[unknown[place]]: int(counts[place]) for place in order},
    )


def predict_logits(
    recognizer: Recognizer,
    cache: Cache,
    clips: SplitClips,
    *,
    batch_size: int,
    num_workers: int,
    advance: Callable[[int], None],
) -> NDArray[np.float32]:
    """Return the model's logits for clips, float32 [N, classes], not divided by a temperature.

    They are computed as training's validation does: in whole batches, nothing augmented. `num_workers` threads read,
    and `advance` is told the number of clips done so far.

    Raises:
        CacheCorruptError: a clip's bytes are damaged.
        CheckpointError: the model gives no numbers for a clip.
        SignprepError: there is no memory for a batch.
    """
    logits = np.empty((len(clips.positions), len(recognizer.metadata.vocabulary)), np.float32)
    done = 0
    for batch in cache_logits(recognizer, cache, clips.positions, batch_size=batch_size, num_workers=num_workers):
        logits[done : done + len(batch)] = batch.cpu()
        done += len(batch)
        advance(done)
    broken = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(broken):
        name = cache.segment_id(int(clips.positions[broken[0]]))
        raise CheckpointError(
            f"the model gives no numbers for {len(broken):,} of {len(logits):,} clips, {name} among them: its weights "
            "are damaged, or its training diverged; evaluate another checkpoint"
        )
    return logits
