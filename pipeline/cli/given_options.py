"""Options that were given although they mean nothing beside the others: told, not passed over in silence."""

from collections.abc import Iterator, Sequence

import click
from click.core import ParameterSource


def refuse_given(names: Sequence[str], goes_with: str) -> None:
    """Raise UsageError if one of these parameters of the present command was given.

    Args:
        names: of the command's function.
        goes_with: what they would mean something with, such as "--timeline".
    """
    for option in _given(names):
        raise click.UsageError(f"{option} goes with {goes_with}")


def note_given(names: Sequence[str], goes_with: str) -> None:
    """Say on stderr if one of these parameters was given: scripts of long ago may give them all."""
    for option in _given(names):
        click.echo(f"note: {option} changes nothing without {goes_with}", err=True)


def _given(names: Sequence[str]) -> Iterator[str]:
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP):
            yield parameter.opts[0]
