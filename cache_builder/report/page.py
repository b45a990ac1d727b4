"""The report of a cache as one HTML file that needs nothing else: no network, no other file.

In: the parts of the page. Out: its text. The page's own policy names its one script and its one style sheet by their
hashes: a browser runs and loads nothing else, whatever a gloss may contain.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.clip_table import ClipTable, Named
from signprep.cache_builder.report.findings import ClipFinding

SCRIPTS = ("base", "filter", "pictures", "pager", "classes", "coverage", "clips", "tables", "start")
"""In the order in which they build on one another; together they are one script."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """The parts of a report."""

    title: str
    about: Sequence[str]
    """Lines of text under the title."""
    sections: Sequence[str]
    """HTML of what needs no script."""
    coverage: str
    """HTML of the section about words, signers and views; empty without."""
    clips: str
    """Of `packed_clips`."""
    notes: Sequence[str] = ()
    """Lines of text about what the lists leave out."""
    pictures: str = ""
    """Of `picture_list`."""

    def html(self) -> str:
        """Return the page."""
        style, script = _resource("page.css"), "\n".join(_resource(f"{name}.js") for name in SCRIPTS)
        policy = (
            f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
            "base-uri 'none'; form-action 'none'"
        )
        about = "".join(f'<p class="about">{escape(line)}</p>' for line in self.about)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
            f"<title>{escape(self.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
            f"<header><h1>{escape(self.title)}</h1>{about}{self._contents()}</header>\n"
            + "\n".join(self.sections)
            + self._lists()
            + "\n</main>\n"
            f'<script type="application/octet-stream" id="packed-clips">{self.clips}</script>\n'
            f'<script type="application/json" id="packed-pictures">{self.pictures}</script>\n'
            f'<script type="module">{script}</script>\n</body>\n</html>\n'
        )

    def _contents(self) -> str:
        places = ["findings", "balance", "classes", *(["coverage"] if self.coverage else []), "clips"]
        names = {"findings": "To look at"}
        links = "".join(f'<a href="#{place}">{names.get(place, place.capitalize())}</a>' for place in places)
        return f'<nav class="contents screen" aria-label="Contents">{links}</nav>'

    def _lists(self) -> str:
        """Return where the script puts classes, words and clips, under the form that chooses them."""
        notes = "".join(f'<p class="small">{escape(note)}</p>' for note in self.notes)
        coverage = ""
        if self.coverage:
            coverage = (
                f'\n<section id="coverage"><h2>Coverage</h2>{self.coverage}<div id="matrix-here"></div></section>'
            )
        return (
            '\n<div class="filter"><form id="filter" role="search" aria-label="Choose clips">'
            '<output id="chosen" aria-live="polite"></output></form></div>'
            "<noscript><p>The lists of classes, words and clips need JavaScript.</p></noscript>"
            f'\n<section id="classes"><h2>Classes</h2>{notes}<div id="classes-here"></div></section>'
            + coverage
            + '\n<section id="clips"><h2>Clips</h2><div id="clips-here"></div></section>'
        )


def _resource(name: str) -> str:
    """Return a file of the page, which has nothing that could end its element."""
    text = (files("signprep.cache_builder.report") / "web" / name).read_text(encoding="utf-8")
    assert "</" not in text, f"{name}: could end the element that it is in"
    return text


def _hash(text: str) -> str:
    """Return a source of a content security policy that allows this text alone."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


LISTED_CLIPS = 600_000
"""Of a larger cache the page lists the clips of the first classes only."""
FILTERS = ("signer", "view", "split", "source")
"""Columns by which the page filters, besides the gloss."""


def listed_rows(table: ClipTable, first_classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that the page lists, in the order of positions: all, or whole classes up to a number of clips.

    Args:
        table: of a cache's clips.
        first_classes: places among the glosses of the classes that come first if there is no room for all.
    """
    if len(table) <= LISTED_CLIPS:
        return np.arange(len(table))
    num_classes = len(table.gloss.names)
    order = np.concatenate([first_classes, np.setdiff1d(np.arange(num_classes), first_classes)])
    sizes = np.bincount(table.gloss.codes, minlength=num_classes)[order]
    fitting = order[np.cumsum(sizes) <= LISTED_CLIPS]
    return np.flatnonzero(np.isin(table.gloss.codes, fitting))


def packed_clips(table: ClipTable, rows: NDArray[np.int64], findings: Sequence[ClipFinding], command: str) -> str:
    """Return the listed clips and what was found about them.

    Args:
        table: of a cache's clips.
        rows: that are listed.
        findings: of the cache.
        command: that plays a clip, to which its position is added.
    """
    places = np.full(len(table), -1)
    places[rows] = np.arange(len(rows))
    document: dict[str, Any] = {
        "command": command,
        "position": table.positions[rows].tolist(),
        "ok": table.is_ok[rows].astype(int).tolist(),
        "start": _seconds(table.start_seconds[rows]),
        "end": _seconds(table.end_seconds[rows]),
        "findings": [
            {"title": finding.title, "rows": [place for place in places[finding.rows].tolist() if place >= 0]}
            for finding in findings
        ],
    }
    for name in ("gloss", *FILTERS, "video", "error"):
        document[name] = _named(getattr(table, name), rows, keep_all=name in ("gloss", *FILTERS))
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode("ascii")


def picture_list(table: ClipTable, rows: NDArray[np.int64], side: int, by_row: dict[int, str]) -> str:
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
