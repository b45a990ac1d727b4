"""The help of commands: broken between words, for terminals of 40 columns and more, with Korean letters of two columns.

click breaks lines at hyphens, and counts a letter of Korean as one column; so the writing of texts is done here. Lines
behind `\\b`, such as examples, stay as they are where they fit; an example that is wider goes on behind a backslash, as
shells read it.
"""

import re
import shutil
from collections.abc import Iterable, Iterator

import click
from click import formatting

from signprep.pipeline.cli.printing import broken, echo_data
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.text import columns_of

_NARROW = 60
_TERM_COLUMNS, _TERM_COLUMNS_NARROW = 30, 6
_GOES_ON, _BOUND = " \\", "\0"


class HelpFormatter(click.HelpFormatter):
    """Writes help in lines that end between words."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        if width is None and formatting.FORCED_WIDTH is None:
            width = max(min(shutil.get_terminal_size().columns, max_width or 80) - 2, 20)
        super().__init__(indent_increment, width, max_width)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how a command is called."""
        line = translated(f"{prefix or 'Usage: '}{prog} {args}".rstrip())
        self._write_lines(broken(line, self.width, rest=" " * 4))

    def write_heading(self, heading: str) -> None:
        """Write the heading of a group of options."""
        super().write_heading(translated(heading))

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        self._write_lines(_paragraphs(text, self.width - self.current_indent))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = _TERM_COLUMNS, col_spacing: int = 2) -> None:
        """Write terms with what they mean beside them, or below them where a term is wide or the terminal narrow."""
        rows = list(rows)
        most = min(col_max, _TERM_COLUMNS if self.width >= _NARROW else _TERM_COLUMNS_NARROW)
        column = min(max((columns_of(term) for term, _ in rows), default=0), most) + col_spacing
        for term, meaning in rows:
            terms = list(_term(term, self.width - self.current_indent))
            told, room = in_readers_language(meaning), self.width - self.current_indent - column
            meant = list(_paragraphs(told, room)) if told else []
            if meant and columns_of(terms[-1]) <= column - col_spacing:
                terms[-1] += " " * (column - columns_of(terms[-1])) + meant.pop(0)
            self._write_lines([*terms, *(" " * column + line if line else "" for line in meant)])

    def _write_lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(" " * self.current_indent + line + "\n" if line else "\n")


class HelpContext(click.Context):
    """A context whose help is written by `HelpFormatter`, and printed as everything else is."""

    formatter_class = HelpFormatter


def print_help(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Print the help of a command and end it: what `--help` does."""
    if value and not ctx.resilient_parsing:
        echo_data(ctx.get_help())
        ctx.exit()


class CommandWithHelp(click.Command):
    """A command whose help is written by `HelpFormatter`, and printed by `echo`: click's own fails on ASCII."""

    context_class = HelpContext

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option `--help`."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = print_help
        return option


def in_readers_language(help_: str) -> str:
    """Return the help of an option, and what stands in brackets behind it, in the reader's language."""
    told, begins, extra = help_.partition("  [")
    extras = "; ".join(map(translated, extra.removesuffix("]").split("; ")))
    return translated(told) + (f"{begins}{extras}]" if begins else "")


def _paragraphs(text: str, width: int) -> Iterator[str]:
    """Yield the lines of paragraphs, with an empty one between two."""
    for number, paragraph in enumerate(text.strip("\n").split("\n\n")):
        if number:
            yield ""
        lines = paragraph.strip("\n").splitlines()
        if lines and lines[0].strip() == "\b":
            for line in translated(re.sub(r"\\\n *", "", "\n".join(lines[1:]))).splitlines():
                yield from _kept(line, width)
        elif lines:
            indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
            told = translated(" ".join(line.strip() for line in lines))
            yield from broken(indent + told, width, rest=indent)


def _kept(line: str, width: int) -> Iterator[str]:
    if columns_of(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    bound = re.sub(r"(?<= )(--[a-z-]+) (?=[^- ])", "\\1" + _BOUND, line)  # an option and its value stay together
    for piece in broken(bound, width, rest=indent + " " * 4, end=_GOES_ON):
        yield piece.replace(_BOUND, " ")


def _term(term: str, width: int) -> Iterator[str]:
    """Yield an option with its choices or its opposite, in lines that end behind one of them."""
    if columns_of(term) <= width:
        yield term
        return
    line = ""
    for piece in re.split(r"(?<=\|)|(?<= / )", term):
        if line and columns_of((line + piece).rstrip()) > width:
            yield line.rstrip()
            line = " " * 4
        line += piece
    yield line
