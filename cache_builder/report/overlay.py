"""The points of a cache of landmarks over the pictures of a cache of pixels, clip by clip.

In: both caches. Out: for a clip of pixels the points of the clip with its segment id, in sides of its own picture. Two
clips of one segment id belong together if they show the same time; points lie over pixels if both were cropped alike,
or if each clip says in `crop_box` what it shows.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder import open_cache
from signprep.cache_builder.format.index import OK
from signprep.cache_builder.options import Location
from signprep.cache_builder.reader import Cache
from signprep.pipeline.clip_spec import SIGNER
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.text import counted

SAME_SECONDS = 0.1
"""Two clips show the same time if their starts and their ends differ by no more; keypoints may end with another frame
than their video."""
COLOURS_TOLD = "the signer's left hand is orange, the right one blue"


class Overlay:
    """The points over one cache's pictures."""

    def __init__(self, pixels: Cache, location: Location) -> None:
        """Open a cache of landmarks, and find each clip's partner.

        Raises SignprepError if the caches do not belong together, CacheError if it cannot be opened.
        """
        self.landmarks = open_cache(location)
        _require_alike(pixels, self.landmarks)
        self._ours = pixels.index.select(_COLUMNS)
        self._theirs = self.landmarks.index.filter(pc.equal(self.landmarks.index["status"].cast(pa.string()), OK))
        self._rows = _partners(self._ours, self._theirs)
        self._is_boxed = pixels.clip_spec.crop == SIGNER
        own = self._rows[pixels.positions()]
        self.num_over, self.num_without = int((own >= 0).sum()), int((own < 0).sum())
        if not self.num_over:
            raise SignprepError(
                f"{self.landmarks}: none of its clips has segment id and seconds of one of {pixels}; expected a cache "
                "of the same data, as build-cache --also-landmarks makes it"
            )

    def points(self, position: int) -> NDArray[np.float32] | None:
        """Return the points over the clip of pixels at a position, float32 [T, 75, 3], x and y in sides of its picture.

        None if there is no clip of them. Raises CacheCorruptError if it is damaged.
        """
        row = int(self._rows[position])
        if row < 0:
            return None
        points = self.landmarks.read([self._theirs["position"][row].as_py()])[0].astype(np.float32)
        if self._is_boxed:  # each clip shows a part of its own
            corner, end = np.array(self._theirs["crop_box"][row].as_py(), np.float32).reshape(2, 2)
            own_corner, own_end = np.array(self._ours["crop_box"][position].as_py(), np.float32).reshape(2, 2)
            points[..., :2] = (points[..., :2] * (end - corner) + corner - own_corner) / (own_end - own_corner)
        return points

    def require(self, position: int, segment_id: str) -> NDArray[np.float32]:
        """Return the points as `points` does. Raises SignprepError if there are none."""
        found = self.points(position)
        if found is None:
            raise SignprepError(f"{self.landmarks}: has no clip {segment_id} of the same seconds")
        return found

    def __str__(self) -> str:
        name = str(self.landmarks).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
        without = f"; {counted(self.num_without, 'clip')} have none" if self.num_without else ""
        return f"Points of {name} are drawn over the pictures of {counted(self.num_over, 'clip')}{without}"


def _require_alike(pixels: Cache, landmarks: Cache) -> None:
    """Raise SignprepError unless points of one cache lie over pixels of the other."""
    if pixels.clip_spec.content != "pixels":
        raise SignprepError(
            f"{pixels}: is a cache of landmarks, which are drawn anyway; --landmarks is for one of pixels"
        )
    if landmarks.clip_spec.content != "landmarks":
        raise SignprepError(f"{landmarks}: is a cache of pixels; --landmarks takes a cache of landmarks")
    for name, option in (("num_frames", "--num-frames"), ("crop", "--crop")):
        own, other = getattr(pixels.clip_spec, name), getattr(landmarks.clip_spec, name)
        if own != other:
            raise SignprepError(
                f"{landmarks}: was built with {option} {other}, {pixels} with {option} {own}: its points do not lie "
                f"over these pictures; build it with {option} {own}"
            )


_COLUMNS = ["segment_id", "clip_start_seconds", "clip_end_seconds", "crop_box"]


def _partners(ours: pa.Table, theirs: pa.Table) -> NDArray[np.int64]:
    """Return for each row of one cache the row of the other with its segment id and seconds, int64 [N]; -1 for none."""
    found = pc.index_in(ours["segment_id"], theirs["segment_id"].combine_chunks())
    rows = pc.fill_null(found, -1).to_numpy().astype(np.int64)
    if not theirs.num_rows:
        return rows
    for name in ("clip_start_seconds", "clip_end_seconds"):
        own, other = (pc.fill_null(table[name], float("nan")).to_numpy() for table in (ours, theirs))
        rows[~(np.abs(own - other[rows]) <= SAME_SECONDS)] = -1
    return rows
