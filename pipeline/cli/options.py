"""Click made from the parameters of functions, which are option dataclasses or single options.

Their fields tell names, types, defaults, ranges and help (`pipeline/options.py`). All commands share the rest: options
that show one of their names, refusal of those that mean nothing beside the others, and the line that tells of stopped
work.
"""

import dataclasses
import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import click
from click.core import ParameterSource

from signprep.pipeline.cli.command import Command
from signprep.pipeline.cli.config_file import AS_OPTION, CONFIG
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.errors import StoppedError
from signprep.pipeline.options import Option, check_options, description_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_METAVARS = {int: "N", float: "NUMBER"}
_LARGEST_SHOWN = 10**9
"""A larger upper bound is no help to anybody."""
_NOT_GIVEN = (None, ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)

Function = Callable[..., Any]
Field: TypeAlias = "dataclasses.Field[Any]"


def command(name: str, short_help: str, *, config: bool = False) -> Callable[[Function], Command]:
    """Return the decorator that makes a function a command of signprep, with `--config` if that is asked for.

    Its parameters are the options: a dataclass brings its fields, any other parameter has `option(...)` as its default.
    """

    def decorate(function: Function) -> Command:
        hints, parameters = typing.get_type_hints(function), inspect.signature(function).parameters.values()
        fields = [
            (found.name, hints[found.name], dataclasses.field() if found.default is found.empty else found.default)
            for found in parameters
        ]
        kind = dataclasses.make_dataclass(function.__name__, fields, kw_only=True)
        options = [option for found in option_fields(kind) for option in _parameters_of(*found)]
        if config:
            options.append(_config_option())
        names = [option.name for option in options]
        assert len(set(names)) == len(names), f"{name} has two options of one name: {sorted(names, key=str)}"

        @functools.wraps(function)
        def run(**values: Any) -> Any:
            return function(**vars(_instance(kind, values)))

        made = Command(name, callback=run, params=options, help=function.__doc__, short_help=short_help)
        made.read = lambda values: _instance(kind, dict(values))
        return made

    return decorate


def option_fields(kind: type) -> Iterator[tuple[Field, Any, Option]]:
    """Yield the fields of a dataclass, and of dataclasses in it, that are options, each with its type."""
    for field, type_, described in _fields(kind):
        if dataclasses.is_dataclass(type_):
            yield from option_fields(typing.cast(type, type_))
        elif described is not None:
            yield field, type_, described


def reject_unused(options: type | Sequence[str], goes_with: str) -> None:
    """Raise UsageError if an option was given that means nothing without others.

    Args:
        options: a dataclass, or names of fields.
        goes_with: what they would mean something with, such as "--timeline".
    """
    for name in given(options):
        raise click.UsageError(f"{name} goes with {goes_with}")


def note_unused(options: type | Sequence[str], goes_with: str) -> None:
    """Say on stderr which options were given that change nothing: old scripts may give them all."""
    for name in given(options):
        echo(f"note: {name} changes nothing without {goes_with}", err=True)


def given(options: type | Sequence[str]) -> list[str]:
    """Return the names of those options of the running command that were given, as `--stride`."""
    parameters = given_parameters(options)
    return [found.label if isinstance(found, ShownArgument) else found.opts[0] for found in parameters]


def given_parameters(options: type | Sequence[str] | None, without: Collection[str] = ()) -> Iterator[click.Parameter]:
    """Yield click's parameters of those options, by default all, of the running command that were given."""
    names = [field.name for field, _, _ in option_fields(options)] if isinstance(options, type) else options
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        field = name.removesuffix(AS_OPTION)
        wanted = (names is None or field in names) and field not in without
        if wanted and context.get_parameter_source(name) not in _NOT_GIVEN:
            yield parameter


@contextmanager
def told_if_stopped(out: object) -> Iterator[None]:
    """Turn Ctrl-C into StoppedError for work on `out` that the same command continues."""
    try:
        yield
    except KeyboardInterrupt:
        raise StoppedError(f"{out}: stopped; the same command goes on from here") from None


def option_name(field: Field) -> str:
    """Return what a field is called on the command line."""
    described = description_of(field)
    if described is not None and described.positional:
        return described.metavar or field.name.upper()
    return (described.name if described else None) or f"--{field.name.replace('_', '-')}"


def _fields(kind: type) -> Iterator[tuple[Field, Any, Option | None]]:
    """Yield each field of a dataclass with its type, without None, and its description if it is an option."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        type_ = hints[field.name]
        described = description_of(field)
        if typing.get_origin(type_) in (Union, types.UnionType):
            # A dataclass that may be None is made by the command, if it is asked for.
            type_ = next(part for part in typing.get_args(type_) if part is not types.NoneType) if described else None
        if described is not None and described.group is None:
            described = dataclasses.replace(described, group=getattr(kind, "OPTION_GROUP", "Run"))
        yield field, type_, described if described and described.help else None


def _parameters_of(field: Field, type_: Any, described: Option) -> Iterator[click.Parameter]:
    multiple = typing.get_origin(type_) in (tuple, frozenset) and described.type is None
    value_type = described.type or (typing.get_args(type_)[0] if multiple else type_)
    name, click_type = option_name(field), click.Path(path_type=Path) if value_type is Path else value_type
    if described.choices:
        click_type = ChoiceWithFormer(described)
    required = field.default is dataclasses.MISSING
    completed: dict[str, Any] = (
        {"shell_complete": partial(complete, described)} if described.suggested or described.is_path else {}
    )
    if described.positional:
        yield ShownArgument(
            [field.name],
            type=click_type,
            metavar=(name if required else f"[{name}]") + ("..." if multiple else ""),
            nargs=-1 if multiple else 1,
            required=required and not described.aliases,
            label=name,
            description=described.help,
            **completed,
        )
        if described.aliases:
            names = [*described.aliases, field.name + AS_OPTION]
            yield ShownOption(names, type=click_type, multiple=multiple, hidden=True, **completed)
        return
    details: dict[str, Any]
    if type_ is bool:
        details = {"is_flag": True}
        if field.default is None:  # neither is asked for
            name, details["default"] = f"{name}/--no-{name.removeprefix('--')}", None
    elif described.value_if_bare is not None:
        details = {"is_flag": False, "flag_value": described.value_if_bare}
    elif multiple:
        details = {"multiple": True, "required": required}
    elif required:
        details = {"required": True}
    else:
        details = {"default": described.show(field.default) if described.show else field.default}
    option = ShownOption(
        [name, *described.aliases, field.name],
        type=click_type,
        metavar=described.metavar or (None if described.choices else _metavar(name, value_type)),
        help=described.help,
        hidden=described.hidden,
        show_default=described.shown_default or True,
        **completed,
        **details,
    )
    option.group = "Arguments" if required else described.group or "Run"
    option.allowed = described.allowed() if (described.maximum or 0) < _LARGEST_SHOWN else ""
    yield option


def _config_option() -> click.Option:
    option = ShownOption(
        ["--config", CONFIG],
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Take options from this YAML file, or from the run.json of a run; those that are typed come first.",
    )
    option.group = "Run"
    return option


def _metavar(name: str, type_: Any) -> str:
    """Return the word for a value: the last word of the option's name where that tells more than the type."""
    word = name.split("-")[-1].upper()
    if type_ is Path and word not in ("DIR", "FILE"):
        return "PATH" if "-" in name.lstrip("-") else "FILE"
    return _METAVARS.get(type_, word)


class ShownOption(click.Option):
    """An option that shows the first of its names; the others are accepted."""

    group = "Other"
    allowed = ""
    """The range of its values, as words."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option and its help, with the first of its names."""
        names, self.opts = self.opts, self.opts[:1]
        try:
            return super().get_help_record(ctx)
        finally:
            self.opts = names

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return what stands in brackets behind the help."""
        extra = super().get_help_extra(ctx)
        if self.allowed:
            extra["range"] = self.allowed
        return extra

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return what errors call it."""
        return f"'{self.opts[0]}'"


class ShownArgument(click.Argument):
    """An argument with help, which click has only since 8.5."""

    group = "Arguments"

    def __init__(self, names: Sequence[str], *, label: str, description: str, **details: Any) -> None:
        super().__init__(names, **details)
        self.label, self.description = label, description

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return the argument and its help."""
        return self.label, self.description

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """Return what errors call it."""
        return f"'{self.label}'"


def complete(
    option: Option, ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list["CompletionItem[str]"]:
    """Return what a shell proposes for a value that has begun: the words that fit, or else paths."""
    from click.shell_completion import CompletionItem  # which is not needed otherwise

    words = [CompletionItem(word) for word in option.suggested if word.startswith(incomplete)]
    return words or ([CompletionItem(incomplete, type="file")] if option.is_path else [])


class ChoiceWithFormer(click.Choice[str]):
    """A choice that also takes former names."""

    def __init__(self, option: Option) -> None:
        super().__init__(option.choices)
        self._former = dict(option.old_choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name that a choice has now."""
        return super().convert(self._former.get(value, value), param, ctx)


def _instance(kind: type, values: dict[str, Any]) -> Any:
    """Take the values of a dataclass's fields out of `values` and make it; a ValueError is a UsageError."""
    arguments: dict[str, Any] = {}
    for field, type_, described in _fields(kind):
        if dataclasses.is_dataclass(type_):
            arguments[field.name] = _instance(typing.cast(type, type_), values)
        elif described is not None:
            value = _value(field, described, values)
            if value is not None:
                arguments[field.name] = frozenset(value) if typing.get_origin(type_) is frozenset else value
    try:
        instance = kind(**arguments)
        check_options(instance)
    except ValueError as error:
        # The complaint of a dataclass names its field; who typed the option knows that one's name.
        word, _, rest = str(error).partition(" ")
        names = {field.name: option_name(field) for field, _, _ in _fields(kind)}
        raise click.UsageError(f"{names.get(word, word)} {rest}".rstrip()) from error
    return instance


def _from_home(value: Any) -> Any:
    """Return a path, or several, with the home in place of `~`, which shells leave alone in `--out=~/a.zarr`."""
    if isinstance(value, tuple):
        return tuple(map(_from_home, value))
    is_path = isinstance(value, Path) or (isinstance(value, str) and "/" in value)
    return type(value)(os.path.expanduser(value)) if is_path and str(value).startswith("~") else value  # noqa: PTH111


def _value(field: Field, described: Option, values: dict[str, Any]) -> Any:
    value = _from_home(values.pop(field.name))
    if described.positional and described.aliases:
        named = _from_home(values.pop(field.name + AS_OPTION))
        if named and value and not isinstance(value, tuple):
            raise click.UsageError(f"give {option_name(field)} once: as an argument, or as {described.aliases[0]}")
        value = (*value, *named) if isinstance(value, tuple) else value or named
        if not value and field.default is dataclasses.MISSING:
            raise click.UsageError(f"Missing argument '{option_name(field)}'.")
    if described.read is None or value is None:
        return value
    try:
        return described.read(value)
    except ValueError as error:
        raise click.UsageError(f"Invalid value for '{option_name(field)}': {error}") from error
