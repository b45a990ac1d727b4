"""What the page's script works with: every clip as columns of numbers, packed.

In: columns, findings, pictures. Out: text for the page. The clips are JSON, compressed by gzip and written in base64:
half a million rows fit into a few megabytes, and no character of a name can mean anything to HTML. The browser unpacks
them itself.
"""

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.columns import ClipColumns, Named
from signprep.cache_builder.report.findings import Finding

LISTED_CLIPS = 600_000
"""Of a larger cache the page lists the clips of the first classes only."""
FILTERS = ("signer", "view", "split", "source")
"""Columns by which the page filters, besides the gloss."""


def listed_rows(columns: ClipColumns, first_classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that the page lists, in the order of positions: all, or whole classes up to a number of clips.

    Args:
        columns: of a cache.
        first_classes: places among the glosses of the classes that come first if there is no room for all.
    """
    if len(columns) <= LISTED_CLIPS:
        return np.arange(len(columns))
    num_classes = len(columns.gloss.names)
    order = np.concatenate([first_classes, np.setdiff1d(np.arange(num_classes), first_classes)])
    sizes = np.bincount(columns.gloss.codes, minlength=num_classes)[order]
    fitting = order[np.cumsum(sizes) <= LISTED_CLIPS]
    return np.flatnonzero(np.isin(columns.gloss.codes, fitting))


def packed_clips(columns: ClipColumns, rows: NDArray[np.int64], findings: Sequence[Finding], command: str) -> str:
    """Return the listed clips and what was found about them.

    Args:
        columns: of a cache.
        rows: that are listed.
        findings: of the cache.
        command: that plays a clip, to which its position is added.
    """
    places = np.full(len(columns), -1)
    places[rows] = np.arange(len(rows))
    document: dict[str, Any] = {
        "command": command,
        "position": columns.positions[rows].tolist(),
        "ok": columns.is_ok[rows].astype(int).tolist(),
        "start": _seconds(columns.start_seconds[rows]),
        "end": _seconds(columns.end_seconds[rows]),
        "findings": [
            {"title": finding.title, "rows": [place for place in places[finding.rows].tolist() if place >= 0]}
            for finding in findings
        ],
    }
    for name in ("gloss", *FILTERS, "video", "error"):
        document[name] = _named(getattr(columns, name), rows, keep_all=name in ("gloss", *FILTERS))
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode("ascii")


def picture_list(columns: ClipColumns, rows: NDArray[np.int64], side: int, by_row: dict[int, str]) -> str:
    """Return the pictures as JSON: of each its place in the list of clips, and its base64."""
    places = {row: place for place, row in enumerate(rows.tolist()) if row in by_row}
    shown = [row for row in by_row if row in places]
    return json.dumps({"side": side, "clips": [places[row] for row in shown], "webp": [by_row[row] for row in shown]})


def _named(column: Named, rows: NDArray[np.int64], *, keep_all: bool) -> dict[str, Any]:
    """Return a column as names and codes; names that no listed row has are left out unless `keep_all`."""
    if keep_all:
        return {"names": column.names, "codes": column.codes[rows].tolist()}
    used, codes = np.unique(column.codes[rows], return_inverse=True)
    return {"names": [column.names[code] for code in used.tolist()], "codes": codes.tolist()}


def _seconds(values: NDArray[np.float64]) -> list[float]:
    return np.round(values, 3).tolist()
