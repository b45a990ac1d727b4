"""Which clips of a class are shown: few, of as many signers and views as there are."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.columns import ClipColumns


def shown_rows(columns: ClipColumns, classes: NDArray[np.int64], most: int) -> list[list[int]]:
    """Return rows to show of each class, `most` at most, the first of which tells most.

    Args:
        columns: of a cache.
        classes: their places among the glosses.
        most: rows of a class.
    """
    ok_rows = np.flatnonzero(columns.is_ok)
    order = ok_rows[np.argsort(columns.gloss.codes[ok_rows], kind="stable")]
    bounds = np.searchsorted(columns.gloss.codes[order], np.arange(len(columns.gloss.names) + 1))
    return [_spread(columns, order[bounds[code] : bounds[code + 1]].tolist(), most) for code in classes.tolist()]


def _spread(columns: ClipColumns, rows: list[int], most: int) -> list[int]:
    """Return rows in an order in which each has the signer, the view and the split that were shown least before."""
    columns_to_spread = (columns.signer, columns.view, columns.split)
    times: tuple[Counter[int], ...] = (Counter(), Counter(), Counter())
    left = {row: tuple(int(column.codes[row]) for column in columns_to_spread) for row in rows}
    shown: list[int] = []
    while left and len(shown) < most:
        row = min(left, key=lambda row: (sum(map(Counter.__getitem__, times, left[row])), times[0][left[row][0]], row))
        for counter, code in zip(times, left.pop(row), strict=True):
            counter[code] += 1
        shown.append(row)
    return shown
