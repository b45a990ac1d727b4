"""How many clips there are of what: by split, source, signer, view and class, by duration, and where there are none.

In: the columns of a cache. Out: small tables of whole numbers, which text and page draw as they like. Only clips that
are there count: a failed one is a hole.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.columns import ClipColumns, Named

MOST_BINS = 30
_STEPS_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
LONG_TAIL_PERCENT = 99.5
"""Of the clips have a bin of their own; the last bin holds the longer ones too."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Clips by the names of one column and by split."""

    column: str
    names: tuple[str | None, ...]
    clips: NDArray[np.int64]
    """int64 [names, splits]."""

    @property
    def totals(self) -> NDArray[np.int64]:
        """Clips of each name in all splits, int64 [names]."""
        return self.clips.sum(axis=1)


@dataclass(frozen=True, kw_only=True)
class Durations:
    """How long clips last."""

    edges_seconds: NDArray[np.float64]
    """float64 [bins + 1]; a bin is half-open, and the last one holds what is longer too."""
    clips: NDArray[np.int64]
    quantiles_seconds: tuple[float, ...]
    """Least, 5 %, median, 95 %, greatest."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Which word there is by which signer from which view."""

    signers: tuple[str | None, ...]
    views: tuple[str | None, ...]
    words: NDArray[np.int64]
    """int64 [signers, views]: how many words have clips."""
    num_words: int
    num_unsigned: int
    """Pairs of a word and a signer without any clip."""
    num_views_missing: int
    """Combinations of word, signer and view without a clip where another view of the same word and signer has one."""


def balances(columns: ClipColumns) -> dict[str, Balance]:
    """Return the clips by split, source, signer, view and gloss; columns in which nothing is known are left out."""
    named = {
        "split": columns.split,
        "source": columns.source,
        "signer": columns.signer,
        "view": columns.view,
        "gloss": columns.gloss,
    }
    return {name: balance(columns, name, column) for name, column in named.items() if column.known}


def balance(columns: ClipColumns, name: str, column: Named) -> Balance:
    """Return the clips that are there by the names of a column and by split."""
    num_splits = len(columns.split.names)
    both = column.codes[columns.is_ok].astype(np.int64) * num_splits + columns.split.codes[columns.is_ok]
    clips = np.bincount(both, minlength=len(column.names) * num_splits)
    return Balance(column=name, names=column.names, clips=clips.reshape(len(column.names), num_splits))


def durations(columns: ClipColumns) -> Durations | None:
    """Return how long the clips last; None if there is none."""
    seconds = columns.durations_seconds[columns.is_ok]
    if not len(seconds):
        return None
    edges = bin_edges(float(seconds.min()), float(np.percentile(seconds, LONG_TAIL_PERCENT)))
    clips, _ = np.histogram(np.minimum(seconds, edges[-1]), edges)
    return Durations(
        edges_seconds=edges,
        clips=clips,
        quantiles_seconds=tuple(float(value) for value in np.quantile(seconds, (0, 0.05, 0.5, 0.95, 1))),
    )


def bin_edges(least: float, most: float) -> NDArray[np.float64]:
    """Return the edges of bins of a round width that hold [least, most], 30 bins at most unless they are very wide.

    >>> bin_edges(0.9, 1.3)[[0, -1]].tolist()
    [0.9, 1.32]
    """
    step = next((step for step in _STEPS_SECONDS if (most - least) / step <= MOST_BINS - 2), _STEPS_SECONDS[-1])
    first, last = np.floor(least / step + 1e-9), np.floor(most / step + 1e-9) + 1
    return np.round(np.arange(first, last + 1) * step, 6)


def coverage(columns: ClipColumns) -> Coverage | None:
    """Return which words there are by whom and from where; None if neither signers nor views are known."""
    if not columns.signer.known and not columns.view.known:
        return None
    shape = len(columns.gloss.names), len(columns.signer.names), len(columns.view.names)
    has = np.zeros(shape, np.bool_)
    ok = columns.is_ok
    has[columns.gloss.codes[ok], columns.signer.codes[ok], columns.view.codes[ok]] = True
    # Clips of unknown signers or views, beside those of known ones, are no signer and no view that others could miss.
    signers, views = columns.signer.known or (None,), columns.view.known or (None,)
    has = has[:, : len(signers), : len(views)]
    signed = np.asarray(has.any(axis=2))
    return Coverage(
        signers=signers,
        views=views,
        words=has.sum(axis=0),
        num_words=shape[0],
        num_unsigned=int((~signed).sum()),
        num_views_missing=int((signed[:, :, np.newaxis] & ~has).sum()),
    )
