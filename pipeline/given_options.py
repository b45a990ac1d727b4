"""Options that were given although they mean nothing beside the others: told, not passed over in silence."""

from collections.abc import Sequence

import click
from click.core import ParameterSource


def refuse_given(names: Sequence[str], goes_with: str) -> None:
    """Raise UsageError if one of these parameters of the present command was given.

    Args:
        names: of the command's function.
        goes_with: what they would mean something with, such as "--timeline".
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source not in (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP):
            raise click.UsageError(f"{parameter.opts[0]} goes with {goes_with}")
