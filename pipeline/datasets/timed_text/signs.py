"""What files of timed text hold, whatever their format."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple


class TimedSign(NamedTuple):
    """One annotation."""

    number: int
    """Its place in the file, from 0."""
    start_seconds: float
    end_seconds: float
    gloss: str
    """As it is written."""


class TimedText(NamedTuple):
    """The contents of a file."""

    signs: list[TimedSign]
    problems: list[str]
    """Parts of the file that are of no use, in words."""
    empty: str = ""
    """How many annotations have no text, in words; nothing if all have one."""
    media: Sequence[tuple[str, float]] = ()
    """File names of the videos that it names, and by how many seconds their time is later than the signs'."""

    @property
    def content(self) -> int:
        """A number that two files share whose signs are the same to a millisecond, in whatever order and format."""
        signs = (
            (round(sign.start_seconds * 1000), round(sign.end_seconds * 1000), sign.gloss.split())
            for sign in self.signs
        )
        # SubRip has no `<` or `{`: `infer` writes them as wide letters there.
        return hash(
            frozenset((start, end, unicodedata.normalize("NFKC", " ".join(words))) for start, end, words in signs)
        )
