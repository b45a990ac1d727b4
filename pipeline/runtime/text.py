"""Numbers, lists and errors in sentences for people; names from data in terminals and in JSON."""

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u2064\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
"""Unicode's control and format characters, ends of lines and surrogates: they move a cursor, turn or hide the text
around them, or cannot be encoded. U+200C and U+200D, joiners that many scripts write words with, are not of them."""


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
    return ", ".join(map(printable, names[:limit])) + (rest.format(more) if more > 0 else "")


def first_lines(lines: Sequence[str], limit: int) -> list[str]:
    """Return the first lines indented by two spaces, and a line that says how many more there are.

    >>> first_lines(["a", "b", "c"], 1)
    ['  a', '  ... and 2 more']
    """
    more = len(lines) - limit
    return [*(f"  {printable(line)}" for line in lines[:limit]), *([f"  ... and {more} more"] if more > 0 else [])]


def printable(text: str, *, keep: str = "") -> str:
    """Return a text with U+FFFD for all that steers a terminal, turns text around or cannot be encoded.

    Everything that commands print goes through it: names come from label files, file names and others' caches. A name
    becomes one line; of whole texts, `keep` has the ends of lines.

    >>> printable("왼쪽 \\x1b[2J"), printable("one\\n\\u202etwo", keep="\\n")
    ('왼쪽 �[2J', 'one\\n�two')
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else "\N{REPLACEMENT CHARACTER}", text)


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: two a letter of Korean, none what is put onto a letter.

    >>> columns_of("clip"), columns_of("왼쪽"), columns_of(unicodedata.normalize("NFD", "왼쪽"))
    (4, 4, 4)
    """
    if text.isascii():
        return len(text)
    return sum(map(_columns_of_letter, text))


def _columns_of_letter(letter: str) -> int:
    if unicodedata.category(letter) in ("Mn", "Me", "Cf") or "\u1160" <= letter <= "\u11ff":  # Korean in pieces
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def json_text(document: Any, *, indent: int | None = 2) -> str:
    """Return a document as JSON that every reader takes, with readable Korean.

    What `printable` replaces is written as an escape, so that it stays what it is; a number that is none (NaN,
    infinity), for which JSON has no word, becomes null.
    """
    try:
        text = json.dumps(document, ensure_ascii=False, indent=indent, allow_nan=False)
    except ValueError:
        text = json.dumps(_with_null(document), ensure_ascii=False, indent=indent, allow_nan=False)
    # Outside of strings JSON has no such character but the ends of lines, which `json` escapes inside them.
    return _UNSAFE.sub(lambda found: "\n" if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def _with_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_null(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_null(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
