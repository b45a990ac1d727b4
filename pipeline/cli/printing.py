"""What commands print: texts of whole lines on stdout and stderr, broken between words where a terminal is narrow.

A line of stderr stays whole unless stderr is a terminal, so that logs can be searched. Names from the data, which may
hold what steers a terminal, are made harmless here.
"""

import os
import re
import sys
from collections.abc import Iterator
from typing import TextIO

from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.text import columns_of, printable

_TOKEN = re.compile(r"( *)(`[^`]*`[^ ]*|'[^']*'(?!\w)[^ ]*|[^ ]+)")
"""The spaces before a word, and the word; a command in backquotes and a text in quotes are one, to be copied whole."""
_SPACE_IN_NAME = "\x00"
_INDENT = "  "


def echo(text: object, *, err: bool = False, whole: bool = False) -> None:
    """Print a text of whole lines on stdout, or on stderr, in the reader's language.

    Nothing in it steers the terminal. Lines on stderr are broken where a terminal is too narrow for them, unless they
    have to stay `whole`.
    """
    stream, shown = sys.stderr if err else sys.stdout, translated(printable(str(text), keep="\n\t"))
    if err and not whole and (width := _terminal_width(stream)) is not None:
        shown = "\n".join(piece for line in shown.split("\n") for piece in _fitted(line, width))
    stream.write(shown + "\n")
    stream.flush()


def echo_data(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print what is for programs, as JSON or a part of it, or is in the reader's language already."""
    stream = sys.stderr if err else sys.stdout
    stream.write(printable(text, keep="\n\t") + "\n" * nl)
    stream.flush()


def _terminal_width(stream: TextIO) -> int | None:
    """Return the columns of the terminal that a stream is shown on, None without a terminal."""
    if not stream.isatty():
        return None
    try:
        return int(os.environ["COLUMNS"]) or None
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError, AttributeError):
        return None


def broken(text: str, width: int, *, rest: str = "", end: str = "") -> Iterator[str]:
    """Yield the lines of a paragraph, broken at spaces where they are wider than `width` columns.

    What is wider by itself gets a line of its own, whole.

    Args:
        text: one paragraph; the spaces that it begins with stay.
        width: columns of the terminal; a letter of Korean takes two.
        rest: what all lines but the first begin with.
        end: what all lines but the last end with, such as the sign of shells that a command goes on.

    >>> list(broken("one two three", 9, rest="  "))
    ['one two', '  three']
    """
    tokens: list[tuple[str, str]] = _TOKEN.findall(text)
    line = ""
    for number, (spaces, token) in enumerate(tokens):
        room = width - (columns_of(end) if number + 1 < len(tokens) else 0)
        if number and columns_of(line + spaces + token) > room:
            yield line + end
            line = rest + token
        else:
            line += spaces + token
    yield line


def _fitted(line: str, width: int) -> Iterator[str]:
    """Yield a line of stderr in pieces that fit; what is to be copied, and names that were typed, stay whole."""
    if columns_of(line) < width:
        yield line
        return
    for word in sys.argv[1:]:
        if " " in word:
            line = line.replace(word, word.replace(" ", _SPACE_IN_NAME))
    indent = line[: len(line) - len(line.lstrip(" "))] + _INDENT
    for piece in broken(line, width - 1, rest=indent):
        yield piece.replace(_SPACE_IN_NAME, " ")
