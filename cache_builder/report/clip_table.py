"""The label index of a cache as arrays that are quick to count.

In: a cache. Out: `ClipTable`, a row for each clip that is or should be there: failed ones are in, removed ones are not.
Columns of repeating names are numbers into a tuple of names, so that half a million rows are counted by
`numpy.bincount` and no row becomes a Python object.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.format.index import OK, REMOVED
from signprep.cache_builder.reader import Cache

SPLITS_FIRST = ("train", "val", "test")
VIEWS_FIRST = ("F", "U", "D", "L", "R")
"""AIHub's views: from the front, from above, from below, left and right."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """A column of names of which many rows share one: row r has `names[codes[r]]`."""

    codes: NDArray[np.int32]
    names: tuple[str | None, ...]
    """Each name once; None, if rows have no name, comes last."""

    @property
    def known(self) -> tuple[str, ...]:
        """The names without None."""
        return tuple(name for name in self.names if name is not None)

    def of(self, row: int) -> str | None:
        """Return the name of one row."""
        return self.names[self.codes[row]]

    def sorted_names(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the names that these rows have, each once, sorted."""
        return sorted({self.of(row) or "" for row in rows.tolist()})

    def counts(self, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many of these rows have each name, int64 [names]."""
        return np.bincount(self.codes[rows], minlength=len(self.names))


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """The rows of an index whose clips were not removed, in the order of their positions; N of them."""

    cache: Cache
    positions: NDArray[np.int64]
    is_ok: NDArray[np.bool_]
    """False where the clip failed."""
    gloss: Named
    """Names in the order of the labels, classes without a clip among them."""
    source: Named
    signer: Named
    view: Named
    split: Named
    take: Named
    video: Named
    content: Named
    """Hash of the video's bytes; the video's name where the index has none."""
    error: Named
    label_start_seconds: NDArray[np.float64]
    label_end_seconds: NDArray[np.float64]
    start_seconds: NDArray[np.float64]
    """The start of the sampled span; of the label where the clip failed."""
    end_seconds: NDArray[np.float64]
    is_repeating: NDArray[np.bool_]
    """True where a frame of the video is shown more than once: the span has fewer frames than the clip."""
    num_removed: int

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def durations_seconds(self) -> NDArray[np.float64]:
        """The lengths of the sampled spans, float64 [N]."""
        return self.end_seconds - self.start_seconds

    def named(self, name: str) -> Named:
        """Return a column of names by its own name."""
        column: Named = getattr(self, name)
        return column

    def where(self, row: int) -> str:
        """Return the video of a row and the seconds in it, for people."""
        return f"{self.video.of(row)} {self.start_seconds[row]:.2f}-{self.end_seconds[row]:.2f} s"


def clip_table(cache: Cache) -> ClipTable:
    """Return the clips of a cache for a report."""
    everything = cache.index
    status = everything["status"].cast(pa.string())
    table = everything.filter(pc.not_equal(status, REMOVED))
    label_start, label_end = _floats(table["start_seconds"]), _floats(table["end_seconds"])
    start, end = _floats(table["clip_start_seconds"]), _floats(table["clip_end_seconds"])
    video, video_hash = table["video"], table["video_hash"]
    return ClipTable(
        cache=cache,
        positions=table["position"].to_numpy(),
        is_ok=pc.equal(table["status"].cast(pa.string()), OK).to_numpy(),
        gloss=_named(table["gloss"], cache.vocabulary.glosses),
        source=_named(table["source"]),
        signer=_named(table["signer"]),
        view=_named(table["view"], VIEWS_FIRST, keep_all=False),
        split=_named(table["split"], SPLITS_FIRST, keep_all=False),
        take=_named(table["take"]),
        video=_named(video),
        content=_named(pc.coalesce(video_hash, video)),
        error=_named(table["error"]),
        label_start_seconds=label_start,
        label_end_seconds=label_end,
        start_seconds=np.where(np.isnan(start), label_start, start),
        end_seconds=np.where(np.isnan(end), label_end, end),
        is_repeating=_is_repeating(table["sampled_seconds"]),
        num_removed=everything.num_rows - table.num_rows,
    )


def _named(column: pa.ChunkedArray, first: Iterable[str] = (), *, keep_all: bool = True) -> Named:
    """Return a column as numbers and names: `first` (with `keep_all` those too that no row has), others, then None."""
    column = column.cast(pa.string())
    found = column.unique().to_pylist()
    names: list[str | None] = [name for name in first if keep_all or name in found]
    names += sorted({name for name in found if name is not None} - set(names))
    if None in found:
        names.append(None)
    codes = pc.index_in(column, pa.array(names, pa.string()))
    return Named(codes=codes.to_numpy(), names=tuple(names))


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Return a column of numbers, NaN where it is null."""
    return pc.fill_null(column, float("nan")).to_numpy()


def _is_repeating(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return where a list of ascending numbers has one twice."""
    found = np.zeros(len(column), np.bool_)
    times = column.combine_chunks()
    values, parents = times.flatten().to_numpy(zero_copy_only=False), pc.list_parent_indices(times).to_numpy()
    again = (np.diff(values) <= 0) & (np.diff(parents) == 0)
    found[parents[1:][again]] = True
    return found
