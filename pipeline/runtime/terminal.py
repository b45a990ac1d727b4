"""The rich console of all commands: in the reader's language, and no name from the data steers the terminal."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from signprep.pipeline.runtime.language import is_korean, translated
from signprep.pipeline.runtime.text import printable

_ASCII = str.maketrans("█▒░▓▚▏▁▂▃▄▅▆▇▀\N{REPLACEMENT CHARACTER}", "#=-+*|_.-~=+*^?")
"""Bars and pictures where the terminal's encoding is none of Unicode's, as cp949 on Korean Windows."""


class Terminal(Console):
    """A console whose texts go through `printable`; rich's own styles and cursor movements are left alone."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts and tables as rich does, in the reader's language: lines, titles and heads, not cells."""
        super().print(*(map(_translated, objects) if is_korean() else objects), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of what is printed, as rich asks for them."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
                continue
            text = printable(segment.text, keep="\n")
            yield Segment(text if self.encoding.startswith("utf") else text.translate(_ASCII), segment.style)


def _translated(what: Any) -> Any:
    """Return what is printed in the reader's language; a table is changed itself."""
    if isinstance(what, str):
        return translated(what)
    if isinstance(what, Text):
        found = translated(what.plain)
        return what if found == what.plain else Text(found, style=what.style)
    if isinstance(what, Table):
        what.title, what.caption = _translated(what.title), _translated(what.caption)
        for column in what.columns:
            if isinstance(column.header, str):
                # A header that is over two lines, for the column to be narrow, is so in both languages.
                shown = translated(column.header.replace("\n", " "))
                column.header = shown.replace(" ", "\n") if "\n" in column.header else shown
    return what
