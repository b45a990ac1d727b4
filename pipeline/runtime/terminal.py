"""The rich console of all commands, which lets no name from the data steer the terminal."""

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from signprep.pipeline.runtime.text import printable

_ASCII = str.maketrans("█▒░▓▚▏▁▂▃▄▅▆▇▀\N{REPLACEMENT CHARACTER}", "#=-+*|_.-~=+*^?")
"""Bars and pictures where the terminal's encoding is none of Unicode's, as cp949 on Korean Windows."""


class Terminal(Console):
    """A console whose texts go through `printable`; rich's own styles and cursor movements are left alone."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Yield the segments of what is printed, as rich asks for them."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
                continue
            text = printable(segment.text, keep="\n")
            yield Segment(text if self.encoding.startswith("utf") else text.translate(_ASCII), segment.style)
