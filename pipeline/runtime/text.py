"""Numbers, lists and errors in sentences for people."""

import json
from collections.abc import Sequence
from typing import Any


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun, in the plural if there are several: the noun with an s unless it is given.

    >>> counted(1, "clip"), counted(2_500, "clip"), counted(2, "gloss", "glosses")
    ('1 clip', '2,500 clips', '2 glosses')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def byte_size(num_bytes: float) -> str:
    """Return a number of bytes in kB, MB, GB or TB, each 1000 of the one before.

    >>> byte_size(0), byte_size(12_300), byte_size(4_600_000), byte_size(2.5e12)
    ('0.0 kB', '12.3 kB', '4.6 MB', '2.5 TB')
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:,.1f} {unit}"
    return f"{num_bytes / 1e3:,.1f} kB"


def time_span(seconds: float) -> str:
    """Return a time in seconds, minutes or hours.

    >>> time_span(0.31), time_span(59.4), time_span(7_000)
    ('0.3 s', '59 s', '1.9 h')
    """
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; libraries add pages to it.

    >>> first_line(RuntimeError("no memory\\nat frame 1"))
    'no memory'
    """
    return str(error).strip().partition("\n")[0]


def first_of(names: Sequence[str], limit: int, rest: str = ", ...") -> str:
    """Return the first names with commas between them. If there are more, `rest` follows; `{}` in it is their number.

    >>> first_of(["a", "b", "c"], 2), first_of(["a", "b", "c"], 1, " and {} more"), first_of(["a"], 1)
    ('a, b, ...', 'a and 2 more', 'a')
    """
    more = len(names) - limit
    return ", ".join(names[:limit]) + (rest.format(more) if more > 0 else "")


def first_lines(lines: Sequence[str], limit: int) -> list[str]:
    """Return the first lines indented by two spaces, and a line that says how many more there are.

    >>> first_lines(["a", "b", "c"], 1)
    ['  a', '  ... and 2 more']
    """
    more = len(lines) - limit
    return [*(f"  {line}" for line in lines[:limit]), *([f"  ... and {more} more"] if more > 0 else [])]


def printable(text: str) -> str:
    """Return a name from the data without characters that move the cursor or cannot be encoded.

    >>> printable("왼쪽 \\x1b[2J")
    '왼쪽 �[2J'
    """
    safe = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return safe.encode("utf-8", "replace").decode("utf-8")


def json_text(document: Any, *, allow_nan: bool = True) -> str:
    """Return a document as indented JSON with readable Korean. Raises ValueError at NaN unless it is allowed."""
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=allow_nan)
