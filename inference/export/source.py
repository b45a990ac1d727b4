"""What a format is written from: a trained model, what the file says of itself, and clips to try and calibrate with."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from signprep.cache_builder.reader import Cache
from signprep.inference.export.metadata import ExportCard
from signprep.inference.recognizer import Recognizer
from signprep.pipeline.errors import CacheError

CALIBRATION_CLIPS = 64
"""At most, of the training split; observing one takes about a quarter of a second."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Input of the functions that write a format."""

    recognizer: Recognizer
    """On the CPU."""
    export_card: ExportCard
    cache: Cache | None
    """For the clips that calibrate int8."""
    calibration: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Positions of those clips; none for fp32."""

    @property
    def example(self) -> Tensor:
        """A drawn input, float [1, 3, T, H, W]."""
        spec = self.recognizer.card.model_spec
        shape = (1, 3, spec.num_frames, spec.crop_size, spec.crop_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def calibration_clips(self) -> Iterator[Tensor]:
        """Yield the clips that calibrate int8 as the model sees them, float [1, 3, T, H, W]."""
        for position in self.calibration:
            assert self.cache is not None
            clip = torch.from_numpy(self.cache.read([int(position)]))
            yield self.recognizer.transform(clip).contiguous()


def calibration_positions(cache: Cache) -> NDArray[np.int64]:
    """Return the clips of a cache that calibrate int8: of its training split, or of all where it has none."""
    positions = cache.positions("train")
    if not len(positions):
        positions = cache.positions()
    if not len(positions):
        raise CacheError(f"{cache}: has no clips to calibrate int8 with")
    return drawn(positions, CALIBRATION_CLIPS)


def drawn(positions: NDArray[np.int64], at_most: int) -> NDArray[np.int64]:
    """Return so many at random, always the same ones, in their order.

    Every k-th would not do: the five views of a take lie side by side, and every fifth clip is of one view.
    """
    if len(positions) <= at_most:
        return positions
    chosen = np.random.default_rng(0).choice(len(positions), at_most, replace=False)
    return positions[np.sort(chosen)]
