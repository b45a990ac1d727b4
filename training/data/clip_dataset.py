"""ClipDataset: the clips of a cache's split as a map-style torch Dataset, for loops and loaders of one's own.

In: a cache. Out: pairs of a clip, as RGB or as points, and its label. Each clip is read and converted for itself, in
whatever process asks for it, as `DataLoader` wants it; `ClipLoader` reads whole batches in threads and leaves the
conversion to the device, which is faster.
"""

import operator
from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from signprep.cache_builder import as_cache
from signprep.cache_builder.format.index import SPLITS
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.reopened import ReopenedCache
from signprep.pipeline.errors import CacheCorruptError, SignprepError
from signprep.pipeline.runtime.paths import StrPath
from signprep.pipeline.runtime.text import counted, printable

if TYPE_CHECKING:
    import datasets

SHOWN_CLIPS = 8
"""Clips that a notebook shows, of as many classes as there are."""


class ClipDataset(Dataset[tuple[Any, int]]):
    """The clips of one split, each as `(clip, label)`.

    A clip of a cache of pixels is a uint8 tensor [T, 3, H, W] of RGB, 0 to 255; one of landmarks is a float32 tensor
    [T, 75, 3]: x and y in sides of the picture, and confidence, 0 where nothing was seen. `transform` takes it, and
    what it returns comes in its place. The label is an int, the place of the gloss in `classes`.

    `dataset[0]`, negative places and iteration work as for a list; a slice is a ClipDataset of those clips. Any
    `DataLoader` takes it, whatever starts its processes: each of them opens the cache for itself.
    """

    def __init__(
        self, cache: Cache | StrPath, split: str | None, transform: Callable[[Tensor], Any] | None = None
    ) -> None:
        """Take the clips of a split that can be read, in the order of their positions.

        Args:
            cache: open, or its path or URL.
            split: train, val or test; None for the clips of all splits.
            transform: a function of a clip. Loaders that start their processes by spawn or forkserver pickle it.

        Raises:
            TypeError: an argument is of another type.
            ValueError: there is no such split, or the cache has no clips in it.
            CacheError: the cache does not open.
        """
        if transform is not None and not callable(transform):
            raise TypeError(f"transform is {transform!r:.60}; expected a function of a clip, or None")
        opened = as_cache(cache)
        self.split, self.transform = split, transform
        self.positions = opened.positions(split)
        """Where the clips lie in the cache, int64 [N]."""
        if not len(self.positions):
            counts = {name: len(opened.positions(name)) for name in SPLITS}
            has = ", ".join(f"{name} ({counted(number, 'clip')})" for name, number in counts.items() if number)
            which = f"in its split {split!r}" if split else "that can be read"
            raise ValueError(f"{opened}: has no clips {which}; it has {has or 'none in any split'}")
        self._labels = opened.labels()[self.positions]
        self._source = ReopenedCache(opened)

    @property
    def cache(self) -> Cache:
        """The cache, opened by this process for itself. Raises CacheError if it has become another one."""
        return self._source.get()

    @property
    def classes(self) -> list[str]:
        """The glosses, in the order of their labels."""
        return list(self.cache.vocabulary.glosses)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each gloss."""
        return dict(self.cache.vocabulary.labels())

    @property
    def targets(self) -> list[int]:
        """The label of each clip, known without reading the clips."""
        labels: list[int] = self._labels.tolist()
        return labels

    def __len__(self) -> int:
        return len(self.positions)

    @overload
    def __getitem__(self, index: int) -> tuple[Any, int]: ...
    @overload
    def __getitem__(self, index: slice) -> "ClipDataset": ...

    def __getitem__(self, index: int | slice) -> "tuple[Any, int] | ClipDataset":
        """Return a clip with its label, or the dataset of a slice.

        Raises IndexError outside the dataset, CacheCorruptError if the clip is damaged.
        """
        if isinstance(index, slice):
            part = object.__new__(type(self))
            vars(part).update(vars(self), positions=self.positions[index], _labels=self._labels[index])
            return part
        try:
            place = operator.index(index)
        except TypeError:
            raise TypeError(
                f"index is {index!r:.60}, of type {type(index).__name__}; expected a whole number or a slice "
                "(torch.utils.data.Subset takes a list of places)"
            ) from None
        if not -len(self) <= place < len(self):
            raise IndexError(f"index {place} is outside a dataset of {counted(len(self), 'clip')}")
        frames = torch.from_numpy(self.cache[int(self.positions[place])])
        # Contiguous: a view would have its channels last in memory, which few expect of a tensor of this shape.
        clip = frames.permute(0, 3, 1, 2).contiguous() if frames.dtype == torch.uint8 else frames.float()
        return (clip if self.transform is None else self.transform(clip)), int(self._labels[place])

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        return (self[place] for place in range(len(self)))

    def to_huggingface(self) -> "datasets.Dataset":
        """Return the clips as a `datasets.Dataset` that reads them from the cache when its rows are asked for.

        `transform` has no part in it. Raises SignprepError if the package `datasets` is not installed.
        """
        from signprep.cache_builder.export.huggingface import to_huggingface

        return to_huggingface(self.cache, self.positions)

    def _facts(self) -> dict[str, str]:
        spec = self.cache.clip_spec
        pixels = f"uint8 [{spec.num_frames}, 3, {spec.size}, {spec.size}], RGB"
        points = f"float32 {list(spec.clip_shape)}, x, y and confidence"
        num_here = len(np.unique(self._labels))
        here = f", {num_here:,} of them here" if num_here < len(self.classes) else ""
        facts = {
            "split": f"{self.split or 'all'}, {counted(len(self), 'clip')}",
            "classes": f"{len(self.classes):,}{here}",
            "clip": points if spec.landmarks else pixels,
        }
        return facts if self.transform is None else facts | {"transform": repr(self.transform)}

    def __repr__(self) -> str:
        lines = (f"    {name}: {printable(fact)}" for name, fact in self._facts().items())
        return "\n".join([f"ClipDataset of {printable(str(self.cache))}", *lines])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the facts, and a few clips that move."""
        rows = "".join(f"<tr><th>{name}</th><td>{_html(fact)}</td></tr>" for name, fact in self._facts().items())
        try:
            pictures = "".join(self._thumbnail(place) for place in self._to_show())
        except SignprepError as error:  # this PyAV makes none, or the cache was changed
            pictures = f"<p>{_html(str(error))}</p>"
        return f"<div><p><b>ClipDataset</b> of {_html(str(self.cache))}</p><table>{rows}</table>{pictures}</div>"

    def _to_show(self) -> list[int]:
        """Return places of clips to show: the first one of each class, then others."""
        firsts = np.sort(np.unique(self._labels, return_index=True)[1])[:SHOWN_CLIPS]
        others = np.setdiff1d(np.arange(min(len(self), 2 * SHOWN_CLIPS)), firsts)
        places: list[int] = np.concatenate([firsts, others])[:SHOWN_CLIPS].tolist()
        return places

    def _thumbnail(self, place: int) -> str:
        from signprep.cache_builder.report.pictures import MEDIUM, clip_seconds, moving_picture

        position, name = int(self.positions[place]), _html(self.classes[self._labels[place]])
        try:
            picture = moving_picture(self.cache, position, clip_seconds(self.cache, position), MEDIUM)
            shown = f'<img alt="{name}" src="data:image/webp;base64,{picture}">'
        except CacheCorruptError:
            shown = "damaged"
        style = "display:inline-block;margin:4px;text-align:center"
        return f'<figure style="{style}">{shown}<figcaption>{name}</figcaption></figure>'


def _html(text: str) -> str:
    return escape(printable(text))
