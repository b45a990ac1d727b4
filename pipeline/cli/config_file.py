"""Options from a file: `--config FILE.yaml`, or `--config run.json` of an earlier run.

They stand in front of those that were typed, which come first where both are given.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from signprep.pipeline.runtime.text import json_text

CONFIG = "config"
AS_OPTION = "__as_option"
"""Ends the parameter of an argument's name as an option: `--cache` of CACHE."""
FROM_FILE = "signprep.from_file"
"""Under this name a context's `meta` has the options that came from a file."""
_FILE = "signprep.file"
"""And under this one the file."""
RUN_COMMAND = "command"
"""The part of run.json that says what was typed."""
_NOT_REPEATED = frozenset({CONFIG, "resume", "overwrite"})
_MOST_BYTES = 2**20


def with_config(command: click.Command, ctx: click.Context, typed: list[str]) -> list[str]:
    """Return the words of a command line with those of its `--config` file in front.

    Raises UsageError if the file cannot be read, holds no options, or holds one that the command does not have.
    """
    found, _, _ = command.make_parser(ctx).parse_args(list(typed))
    path = found.get(CONFIG)
    if path is None or ctx.resilient_parsing:
        return typed
    by_name = {name: parameter for parameter in command.params for name in names_of(parameter)}
    # Arguments are there even if they were not typed.
    arguments = {each.name for each in command.params if isinstance(each, click.Argument)}
    given = {
        _field(name)
        for name, value in found.items()
        if name not in arguments or (isinstance(value, str | tuple) and value)
    }
    words: list[str] = []
    from_file: set[str] = set()
    for name, value in _options(Path(path), command.name or "").items():
        parameter = by_name.get(name.replace("_", "-"))
        if parameter is None or parameter.name == CONFIG:
            [nearest] = difflib.get_close_matches(name, by_name, 1, 0.7) or [""]
            meant = f". Did you mean {nearest!r}?" if nearest and nearest != CONFIG else ""
            raise click.UsageError(f"{path}: {command.name} has no option {name!r}{meant}", ctx=ctx)
        if (field := _field(parameter)) not in given | _NOT_REPEATED:
            words += words_for(parameter, value, f"{path}: {name}")
            from_file.add(field)
    ctx.meta[FROM_FILE], ctx.meta[_FILE] = from_file, path
    return [*words, *typed]


def name_file_of(error: click.UsageError, command: click.Command, ctx: click.Context) -> None:
    """Raise UsageError with the file in front of a message, if that is about an option that came from there."""
    message = error.format_message()
    option = next(iter(re.findall(r"--[a-z][\w-]*", message)), None)
    about = {_field(found) for found in command.params if option in found.opts}
    if about & ctx.meta.get(FROM_FILE, set()):
        raise click.UsageError(f"{ctx.meta[_FILE]}: {message}", ctx=ctx) from error


def typed_options(ctx: click.Context) -> dict[str, Any]:
    """Return the options that a command was given, typed or by a file, as `with_config` reads them from run.json."""
    return {
        field: _plain(ctx.params[parameter.name or ""])
        for parameter in ctx.command.params
        if ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        and (field := _field(parameter)) not in _NOT_REPEATED
    }


def words_of(parameter: click.Parameter, ctx: click.Context) -> Iterator[str]:
    """Yield the words that give an option the value that it has in a context."""
    if parameter.name != CONFIG:  # whose options are there themselves
        yield from words_for(parameter, _plain(ctx.params[parameter.name or ""]), parameter.name or "")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [str(each) for each in value]
    return value if isinstance(value, bool | int | float) or value is None else str(value)


def read_document(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the options that a YAML file holds by their names, and the line of each.

    Raises UsageError if it cannot be read, or holds no options.
    """
    import yaml  # which is not needed otherwise

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is larger than 1 MiB")
        text = path.read_text("utf-8-sig")
        document, tree = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise click.UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        line = 1 + error.problem_mark.line if error.problem_mark else 1
        reason = error.problem or error.context or "it is damaged"
        if re.match(r" *\t", text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""):
            told = f"line {line} begins with a tab; YAML takes spaces there"
        else:
            told = f"line {line} is not YAML ({reason:.200})"
        raise click.UsageError(f"{path}: is no file of options: {told}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise click.UsageError(f"{path}: is no file of options ({reason:.200})") from error
    if not isinstance(document, dict) or not all(isinstance(name, str) for name in document):
        raise click.UsageError(f"{path}: holds no options; expected lines such as `batch-size: 8`")
    lines: dict[str, int] = {}
    for key, _ in tree.value:
        line = key.start_mark.line + 1
        if key.value in lines:  # of which YAML would silently take the last
            raise click.UsageError(f"{path}:{line}: {key.value} is in line {lines[key.value]} already")
        lines[key.value] = line
    return document, lines


def _options(path: Path, command: str) -> dict[str, Any]:
    """Return the options that a file holds, by their names."""
    document, _ = read_document(path)
    if "run_version" not in document:
        return document
    typed = document.get(RUN_COMMAND)
    if not isinstance(typed, dict):
        raise click.UsageError(f"{path}: was written by a version that did not keep what was typed; type it again")
    if typed.get("name") != command:
        raise click.UsageError(f"{path}: holds the options of {typed.get('name')}, not of {command}")
    options = typed.get("options")
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise click.UsageError(f"{path}: holds no options; expected lines such as `batch-size: 8`")
    return options


def names_of(parameter: click.Parameter) -> Iterator[str]:
    """Yield what a file may call an option, with hyphens."""
    yield _field(parameter).replace("_", "-")
    if isinstance(parameter, click.Option):
        yield from (name.removeprefix("--").replace("_", "-") for name in parameter.opts if name.startswith("--"))


def _field(parameter: click.Parameter | str) -> str:
    """Return the field of an option; an argument and its name as an option are one field."""
    name = parameter if isinstance(parameter, str) else parameter.name or ""
    return name.removesuffix(AS_OPTION)


def words_for(parameter: click.Parameter, value: Any, where: str) -> Iterator[str]:
    """Yield the words that give an option this value on the command line."""
    name = max(parameter.opts, key=lambda name: name.startswith("--"))
    if isinstance(value, bool) and getattr(parameter, "is_flag", False):
        yield from [name] if value else parameter.secondary_opts[:1]
        return
    is_repeated = isinstance(value, list) and (getattr(parameter, "multiple", False) or parameter.nargs == -1)
    for each in value if is_repeated else [] if value is None else [value]:
        if not isinstance(each, str | int | float) or isinstance(each, bool):
            expected = "one value" if isinstance(each, list) else "a number, or text in quotes"
            raise click.UsageError(f"{where} is {json_text(each, indent=None):.80}; expected {expected}")
        text = repr(each) if isinstance(each, float) else str(each)
        yield f"{name}={text}" if isinstance(parameter, click.Option) else text
