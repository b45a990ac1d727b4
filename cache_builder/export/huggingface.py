"""A cache's clips as a `datasets.Dataset` that reads them out of the cache, without a copy.

What `datasets` holds is a table of positions, labels and names; clips are read when rows are asked for. So `len`,
`filter`, `sort`, `shuffle` and `select` by columns cost nothing, and a row brings its clip.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from signprep.cache_builder import as_cache
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.reopened import ReopenedCache
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.paths import StrPath

if TYPE_CHECKING:
    import datasets

NAMES = ("segment_id", "video", "signer", "view", "take", "split")
"""Index columns that tell where a clip is from."""
SECONDS = ("start_seconds", "end_seconds")


def to_huggingface(cache: Cache | StrPath, positions: NDArray[np.int64] | str | None = None) -> "datasets.Dataset":
    """Return clips of a cache as a `datasets.Dataset`.

    A row has `clip`, a uint8 array [T, H, W, 3] of RGB or float16 points [T, 75, 3]; `label`, a ClassLabel that knows
    the glosses; `position` in the cache, `segment_id`, `video`, `signer`, `view`, `take`, `split`, and the seconds of
    the label. `clip` is no column of the table: it is read by the dataset's transform, which `set_format` and
    `set_transform` take away. Column access (`dataset["label"]`) reads no clips.

    Args:
        cache: open, or its path or URL.
        positions: int64 [N]; or the name of a split; None for all clips that can be read.

    Raises SignprepError if the package `datasets` is not installed, ValueError if there is no such split.
    """
    require_extra("datasets", "datasets")
    import datasets

    cache = as_cache(cache)
    if positions is None or isinstance(positions, str):
        positions = cache.positions(positions)
    rows = cache.index.take(pa.array(positions))
    columns = {"position": rows["position"], "label": rows["label"].cast(pa.int64())}
    columns |= {name: rows[name].cast(pa.string()) for name in NAMES} | {name: rows[name] for name in SECONDS}
    features = datasets.Features(
        {"position": datasets.Value("int64"), "label": datasets.ClassLabel(names=list(cache.vocabulary.glosses))}
        | {name: datasets.Value("string") for name in NAMES}
        | {name: datasets.Value("float64") for name in SECONDS}
    )
    table = datasets.table.InMemoryTable(pa.table(columns).cast(features.arrow_schema))
    description = f"Clips of {cache}, read from it when a row is asked for."
    made = datasets.Dataset(table, info=datasets.DatasetInfo(features=features, description=description))
    return made.with_transform(_ClipReader(cache))


class _ClipReader:
    """The transform of such a dataset: adds `clip` to rows that have a position."""

    def __init__(self, cache: Cache) -> None:
        self._source = ReopenedCache(cache)

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if "position" not in rows:
            return rows
        cache = self._source.get()
        return {"clip": [cache[position] for position in rows["position"]], **rows}
