"""The commands of click as signprep has them: help in groups, and proposals for options that were mistyped."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from signprep.pipeline.cli.config_file import CONFIG, name_file_of, with_config
from signprep.pipeline.cli.help import CommandWithHelp

GROUPS = (
    "Arguments", "Data", "Clips", "Windows", "Timeline", "Model", "Optimisation", "Augmentation", "Machine", "Run",
    "Export", "Output", "Other",
)  # fmt: skip
"""The order in which the help of a command lists its options; those that have to be given stand with its arguments."""


class Command(CommandWithHelp):
    """A command whose help has groups, and which proposes options for mistyped ones."""

    read: Callable[[Mapping[str, Any]], Any]
    """Makes the arguments of the command's function from what was parsed; raises UsageError where they mean nothing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; raise NoSuchOption with the options that may have been meant."""
        typed = list(args)
        try:
            if any(word.startswith(f"--{CONFIG}") for word in typed):
                args = with_config(self, ctx, args)
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            # `-lr` is read as the short option `-l`.
            whole = [word for word in typed if len(word) > 2 and word[1] != "-" and word.startswith(error.option_name)]
            raise _no_such_option(whole[0] if whole else error.option_name, self, ctx) from error
        except click.UsageError as error:
            name_file_of(error, self, ctx)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what its options say together is checked here."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            name_file_of(error, self, ctx)
            raise

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Leave the arguments to `format_options`; releases of click before 8.5 do not list them at all."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by their groups."""
        records: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                records[getattr(parameter, "group", "Other")].append(record)
        for group, found in records.items():
            if found:
                with formatter.section(group):
                    formatter.write_dl(found)


def _no_such_option(typed: str, command: click.Command, ctx: click.Context) -> click.UsageError:
    shown = {
        name: parameter.opts[0]
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in parameter.opts
    }
    meant = list(dict.fromkeys(shown[name] for name in meant_names(typed, list(shown))))[:3]
    proposal = f" Did you mean {' or '.join(repr(name) for name in meant)}?" if meant else ""
    return click.UsageError(f"No such option '{typed}'.{proposal}", ctx=ctx)


def meant_names(typed: str, names: Sequence[str]) -> list[str]:
    """Return the options that a mistyped one may have been meant for, the likeliest first.

    Slips of the keys come first, then initials, then words or their beginnings, then other likenesses.

    >>> names = ["--learning-rate", "--label-smoothing", "--batch-size", "--epochs", "--checkpoint"]
    >>> [meant_names(typed, names) for typed in ("--lr", "--bs", "--max-epochs", "--rate", "--bach-size", "--ckpt")]
    [['--learning-rate'], ['--batch-size'], ['--epochs'], ['--learning-rate'], ['--batch-size'], ['--checkpoint']]
    """
    wanted = typed.lstrip("-").replace("_", "-").lower()
    words = wanted.split("-")
    parts = {name: name.lstrip("-").split("-") for name in names}
    tries: tuple[Callable[[str], bool], ...] = (
        lambda name: "".join(part[0] for part in parts[name]) == wanted,
        lambda name: all(any(part.startswith(word) for part in parts[name]) for word in words),
        lambda name: set(parts[name]) <= set(words),
        lambda name: bool(set(parts[name]) & set(words)),
        lambda name: _abbreviates(wanted, name.lstrip("-")),
    )
    if close := difflib.get_close_matches(f"--{wanted}", names, cutoff=0.8):
        return close
    for fits in tries:
        if found := [name for name in names if fits(name)]:
            return found
    return difflib.get_close_matches(f"--{wanted}", names)


def _abbreviates(short: str, name: str) -> bool:
    """Return whether a name begins with the same letter and has all letters of `short` in their order."""
    letters = iter(name)
    return len(short) > 1 and name[:1] == short[:1] and all(letter in letters for letter in short)
