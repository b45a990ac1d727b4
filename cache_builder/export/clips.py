"""What is exported of a cache: its clips by split, what is known of each, and each as a file.

In: a cache and the options. Out: MP4 files that play at the speed of signing, or arrays. MP4 has the pixels of the
cache, I420 or RGB: with a rate factor of 0 bit for bit, else nearly, and `Fidelity` says how nearly.
"""

import io
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, TypeVar

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from signprep.cache_builder.format.codec import StoredClip
from signprep.cache_builder.format.index import SPLITS
from signprep.cache_builder.options import MP4, NPY, DatasetExportOptions
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.pictures import LOSSLESS, clip_frames, mp4
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.machine import usable_cores

UNASSIGNED = "unassigned"
"""The split of clips that have none in the cache."""
MEASURED_CLIPS = 16
"""The fidelity is measured on so many clips, evenly spread."""
_TOLD = (
    "segment_id", "video", "signer", "view", "take", "item", "source", "start_seconds", "end_seconds",
    "clip_start_seconds", "clip_end_seconds",
)  # fmt: skip
"""Index columns that a clip's metadata have, besides position, label, gloss and split."""

Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How far the pixels of some clips are from the cache's, after they were encoded and decoded."""

    psnr_db: float
    """Peak signal-to-noise ratio of all stored numbers together, 10 log10(255^2 / mean squared error); infinity if all
    are equal."""
    largest_error: int
    """Of one number, in levels of 255."""
    num_clips: int

    @classmethod
    def of(cls, pairs: Iterable[tuple[StoredClip, StoredClip]]) -> Self:
        """Measure clips, each as the cache stores it and as it was decoded."""
        squares, largest, count, num_clips = 0.0, 0, 0, 0
        for stored, decoded in pairs:
            errors = decoded.astype(np.int64) - stored
            squares, largest = squares + float((errors**2).sum()), max(largest, int(np.abs(errors).max()))
            count, num_clips = count + errors.size, num_clips + 1
        psnr_db = 10 * math.log10(255**2 * count / squares) if squares else math.inf
        return cls(psnr_db=psnr_db, largest_error=largest, num_clips=num_clips)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields; an infinite ratio is null."""
        psnr = None if math.isinf(self.psnr_db) else round(self.psnr_db, 2)
        return {"psnr_db": psnr, "largest_error": self.largest_error, "num_clips": self.num_clips}


class Export:
    """The clips of a cache that are written, by split."""

    def __init__(self, cache: Cache, options: DatasetExportOptions) -> None:
        """Choose the clips. Raises CacheError if there are none of what was asked for."""
        self.cache, self.options = cache, options
        self.is_video = (options.clips or (MP4 if cache.clip_spec.content == "pixels" else NPY)) == MP4
        readable = cache.positions()
        self._readable = readable
        self._index = cache.index.take(pa.array(readable)).select(["position", "label", "gloss", "split", *_TOLD])
        all_splits = pc.fill_null(self._index["split"].cast(pa.string()), UNASSIGNED).to_numpy(zero_copy_only=False)
        names = sorted(set(all_splits.tolist()), key=_order_of_splits)
        wanted = [name for name in names if not options.splits or name in options.splits]
        self.splits = {name: readable[all_splits == name].tolist() for name in wanted}
        """Positions by split, ascending; train, val and test come first."""
        if missing := [split for split in options.splits if split not in names]:
            has = ", ".join(names) or "none"
            raise CacheError(f"{cache}: has no clips in its split {missing[0]!r}; its splits with clips: {has}")
        if not self.splits:
            raise CacheError(f"{cache}: has no clip that can be read; there is nothing to export")
        self._decoded: dict[int, StoredClip] = {}
        """Clips on which the fidelity is measured, as they come out of what was written: x264 does not choose alike
        each time."""

    @property
    def positions(self) -> list[int]:
        """All positions, split by split."""
        return [position for positions in self.splits.values() for position in positions]

    @property
    def threads(self) -> int:
        """Threads that encode."""
        return usable_cores() if self.options.workers == -1 else self.options.workers

    def told(self, position: int) -> dict[str, Any]:
        """Return what is known of a clip, as plain JSON types; `seconds` is how long it plays."""
        [row] = self._index.slice(int(np.searchsorted(self._readable, position)), 1).to_pylist()
        row["split"] = row["split"] or UNASSIGNED
        start, end = row["clip_start_seconds"], row["clip_end_seconds"]
        seconds = end - start if start is not None and end is not None and end > start else 1.0
        head = {name: row[name] for name in ("position", "label", "gloss", "split")}
        # A column `video` is the clip itself where videofolder reads it.
        rest = {{"video": "source_video"}.get(name, name): row[name] for name in _TOLD}
        return head | {"seconds": round(seconds, 6)} | rest

    def frames(self, position: int) -> list[av.VideoFrame]:
        """Return a clip of pixels as frames of what the cache stores, I420 or RGB; RGB as I420 unless it is lossless.

        Raises CacheCorruptError if it is damaged.
        """
        clip = self.cache.read([position])[0]
        if self.cache.clip_spec.pixels == "rgb24" and self.options.crf == LOSSLESS:
            return [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in clip]
        return clip_frames(self.cache, clip)

    def file(self, position: int) -> bytes:
        """Return a clip as the contents of an MP4 or NPY file: uint8 [T, H, W, 3] or float16 [T, 75, 3].

        Raises CacheCorruptError if it is damaged.
        """
        if self.is_video:
            data = mp4(self.frames(position), self.told(position)["seconds"], self.options.crf)
            if position in self._measured:
                self._decoded[position] = decoded_clip(data, self.cache.clip_spec.pixels)
            return data
        file = io.BytesIO()
        np.save(file, self.cache[position])
        return file.getvalue()

    @cached_property
    def fidelity(self) -> Fidelity:
        """How far written videos are from the cache, measured on a few of them."""
        for position in self._measured - self._decoded.keys():
            self.file(position)
        return Fidelity.of((self.cache.read([position])[0], clip) for position, clip in sorted(self._decoded.items()))

    @cached_property
    def _measured(self) -> frozenset[int]:
        most = len(self.positions)
        places = np.linspace(0, most - 1, min(MEASURED_CLIPS, most)).round().astype(int)
        return frozenset(self.positions[place] for place in places.tolist())

    def in_order(self, make: Callable[[int], Made], positions: Sequence[int]) -> Iterator[tuple[int, Made]]:
        """Yield positions with what a function makes of them in threads, in their order, a few at a time."""
        waiting: deque[tuple[int, Future[Made]]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="signprep-export") as pool:
            try:
                for position in positions:
                    waiting.append((position, pool.submit(make, position)))
                    if len(waiting) > 4 * self.threads:
                        done, made = waiting.popleft()
                        yield done, made.result()
                while waiting:
                    done, made = waiting.popleft()
                    yield done, made.result()
            finally:
                for _, future in waiting:
                    future.cancel()


def decoded_clip(data: bytes, pixels: str) -> StoredClip:
    """Return the frames of an MP4 as a cache of such pixels stores them, uint8 [T, ...]."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = [frame.to_ndarray(format=pixels) for frame in container.decode(video=0)]
    return np.array(frames, np.uint8)


def _order_of_splits(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS)), split
