"""How much a benchmark measures: toy is for tests, medium is `make bench`, full is `make bench-full`.

And where it keeps what others want, too. The runner imports this, and nothing that takes time.
"""

from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")
FOLDER_VARIABLE = "SIGNPREP_BENCHMARKS_FOLDER"
"""Where the runner has its benchmarks keep what they share."""


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
