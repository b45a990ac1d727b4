"""The clips that a file and its checkpoint are both asked about: a cache's, or without a cache drawn ones."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.logits import SplitClips, answer, split_clips
from signprep.inference.export.metadata import ExportCard
from signprep.inference.export.source import drawn
from signprep.inference.recognizer import Recognizer

NUM_DRAWN = 4
SPLITS = ("val", "test", "train")
"""The first of them that a cache has is compared on."""
_BATCH = 8


class Clips:
    """What both are asked about: the stored clips of a split, or drawn inputs."""

    def __init__(self, cache: Cache | None, recognizer: Recognizer, export_card: ExportCard, at_most: int) -> None:
        """Choose the clips.

        Args:
            cache: None for drawn clips.
            recognizer: the checkpoint's.
            export_card: of the file that is to be asked.
            at_most: so many clips; of more, so many at random.

        Raises:
            CheckpointError: the cache stores other clips than the model was trained on, or none of its glosses.
            CacheError: it has no clips.
        """
        self._cache = cache
        self.split: str | None = None
        self.num_in_split = 0
        self.unknown = 0
        """Clips of the split whose glosses the model does not know."""
        if cache is not None:
            self.split = next((split for split in SPLITS if len(cache.positions(split))), SPLITS[0])
            clips = split_clips(cache, self.split, recognizer)
            self.num_in_split, self.unknown = len(clips.positions), sum(clips.unknown_glosses.values())
            self._stored = _some(clips, at_most)
        self._drawn = _drawn_inputs(export_card)

    def __len__(self) -> int:
        return len(self._drawn) if self._cache is None else len(self._stored.positions)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """What is right, [N]; None for drawn clips."""
        return None if self._cache is None else self._stored.labels

    def one_input(self, recognizer: Recognizer) -> Tensor:
        """Return the first clip as a recognizer's model sees it."""
        if self._cache is None:
            return self._drawn[:1]
        return recognizer.transform(torch.from_numpy(self._cache.read([int(self._stored.positions[0])])))

    def logits(self, recognizer: Recognizer, advance: Callable[[int], None]) -> NDArray[np.float32]:
        """Return the answers of a recognizer, float32 [N, classes]."""
        if self._cache is not None:
            stored = self._stored
            return answer(recognizer, self._cache, stored, batch_size=_BATCH, num_workers=1, advance=advance).logits
        with torch.inference_mode():
            logits = torch.cat([recognizer.model(one) for one in self._drawn.split(1)])
        advance(len(logits))
        return np.asarray(logits, np.float32)


def _some(clips: SplitClips, at_most: int) -> SplitClips:
    chosen = drawn(np.arange(len(clips.positions)), at_most)
    return replace(clips, positions=clips.positions[chosen], labels=clips.labels[chosen])


def _drawn_inputs(export_card: ExportCard) -> Tensor:
    """Return inputs of a file's kind, [NUM_DRAWN, ...]: patches of colour, for on noise a model is sure of anything."""
    spec = export_card.card.model_spec
    frames, side = spec.num_frames, spec.crop_size
    patches = torch.randn([NUM_DRAWN, 3, frames, 5, 5], generator=torch.Generator().manual_seed(0))
    clips = functional.interpolate(patches, size=(frames, side, side))
    if not export_card.with_preprocessing:
        return clips
    rgb = (clips * spec.std + spec.mean).mul(255).clamp(0, 255)
    return rgb.to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()
