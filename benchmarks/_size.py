"""How much a benchmark measures: toy is for tests, medium is `make bench`, full is `make bench-full`."""

from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")


class Size(StrEnum):
    TOY = "toy"
    MEDIUM = "medium"
    FULL = "full"

    def pick(self, toy: T, medium: T, full: T) -> T:
        """Return the value of this size.

        >>> Size.MEDIUM.pick(1, 4, 7)
        4
        """
        return {Size.TOY: toy, Size.MEDIUM: medium, Size.FULL: full}[self]
