"""The file of a sweep: options of `train`, of which some have several values.

In: a YAML file as of `train --config`, where a list or `{choices: [...]}` gives the values of an option to choose from,
and `{low: 1e-4, high: 1e-2, log: true}` the ends of a range. Out: a `Space`, checked: every value that a trial may get
has been read by the command itself, so that a mistake ends the sweep before it begins, with the line of the file.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from signprep.pipeline.cli.command import Command, meant_names
from signprep.pipeline.cli.config_file import names_of, read_document, words_for
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.text import json_text

SETTINGS = "sweep"
"""The key whose values are options of the sweep itself."""
_NOT_FOR_TRIALS = {
    "resume": "a sweep goes on by itself",
    "overwrite": "trials have folders of their own",
    "config": "put its options into this file",
}
_OF_THE_SWEEP = ("output_dir", "experiment_name")
"""Options that say where the sweep lies."""
_RANGE, _CHOICES = {"low", "high", "log", "step"}, {"choices"}
_WORDS_OF_OTHERS = {"min": "low", "max": "high", "values": "choices", "lower": "low", "upper": "high"}


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    is_whole: bool
    log: bool = False
    step: float | None = None

    def ends(self) -> Iterator[Any]:
        """Yield the values to try before any trial."""
        yield from (self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Some values, each of any kind that an option takes."""

    values: tuple[Any, ...]

    def ends(self) -> Iterator[Any]:
        """Yield the values to try before any trial."""
        yield from self.values

    @property
    def labels(self) -> dict[str | int | float | bool | None, Any]:
        """Return each value by what stands for it in the study, which knows no lists."""
        return {json_text(value, indent=None) if isinstance(value, list) else value: value for value in self.values}


@dataclass(frozen=True, kw_only=True)
class Space:
    """What the trials of a sweep have in common, and where they differ."""

    path: Path
    settings: Mapping[str, Any]
    """Options of the sweep by their fields."""
    fixed: Mapping[str, Any]
    """Options of `train` by their fields, as the file has them."""
    varied: Mapping[str, Range | Choices]
    lines: Mapping[str, int]
    """The line of each option."""
    tried: tuple[Any, ...] = ()
    """The arguments of the command's function for each value that was tried."""

    @property
    def folder(self) -> Path:
        """The folder of the sweep: OUTPUT_DIR/EXPERIMENT_NAME, by default outputs/ and the name of the file."""
        return Path(self.fixed.get("output_dir", "outputs")) / str(self.fixed.get("experiment_name", self.path.stem))

    def to_dict(self) -> dict[str, Any]:
        """Return what makes the trials what they are, as plain JSON types."""
        return {"options": dict(self.fixed), "ranges": {name: vars(range_) for name, range_ in self.varied.items()}}


def read_space(path: Path, command: Command) -> Space:
    """Return what a file asks for of a command, `train`.

    Raises UsageError, with the file and the line, if it asks for what the command does not have or take.
    """
    document, lines = read_document(path)
    settings = document.pop(SETTINGS, None) or {}
    if not isinstance(settings, dict):
        raise _error(path, lines, SETTINGS, "expected options of the sweep below it, such as `trials: 20`")
    parameters = {name: parameter for parameter in command.params for name in names_of(parameter)}
    fixed: dict[str, Any] = {}
    varied: dict[str, Range | Choices] = {}
    typed: dict[str, str] = {}
    for name, value in document.items():
        parameter = parameters.get(name.replace("_", "-"))
        if parameter is None:
            raise _error(path, lines, name, f"{command.name} has no such option{_meant(name, list(parameters))}")
        field = next(names_of(parameter)).replace("-", "_")
        if field in typed:
            raise _error(path, lines, name, f"the same option is in line {lines[typed[field]]} already")
        typed[field] = name
        try:
            read = _read_value(value, parameter)
        except ValueError as error:
            raise _error(path, lines, name, str(error)) from error
        if field in _NOT_FOR_TRIALS:
            raise _error(path, lines, name, _NOT_FOR_TRIALS[field])
        if not isinstance(read, Range | Choices):
            fixed[field] = read
        elif field in _OF_THE_SWEEP:
            raise _error(path, lines, name, "a sweep has one folder: give one value")
        else:
            varied[field] = read
    if not varied:
        raise click.UsageError(
            f"{path}: no option has several values; give one of them a list, or a range such as "
            "`learning-rate: {low: 1e-4, high: 1e-2, log: true}`"
        )
    space = Space(path=path, settings=settings, fixed=fixed, varied=varied, lines=lines)
    return replace(space, tried=tuple(_tried(space, command, typed)))


def trial_words(space: Space, command: click.Command, values: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line with the common options and these values of the others."""
    parameters = {next(names_of(each)).replace("-", "_"): each for each in command.params}
    options = {name: value for name, value in space.fixed.items() if name not in _OF_THE_SWEEP} | dict(values)
    arguments: list[str] = []
    for name, value in options.items():
        arguments += words_for(parameters[name], value, f"{space.path}: {name}")
    return arguments


def _read_value(value: Any, parameter: click.Parameter) -> Any:
    """Return a range, choices, or the one value that is there. Raises ValueError on what is none of them."""
    takes_several = getattr(parameter, "multiple", False) or parameter.nargs == -1
    if isinstance(value, list) and not takes_several:
        value = {"choices": value}
    if not isinstance(value, dict):
        return value
    unknown = next((str(name) for name in value if name not in _RANGE | _CHOICES), None)
    if unknown is not None:
        meant = _WORDS_OF_OTHERS.get(unknown)
        raise ValueError(
            f"{unknown!r} is no part of a range"
            + (f"; did you mean {meant!r}?" if meant else "; expected low, high, log and step, or choices")
        )
    if "choices" in value:
        if len(value) > 1 or not isinstance(value["choices"], list) or not value["choices"]:
            raise ValueError("choices is a list of values, and stands alone")
        return Choices(values=tuple(dict((repr(each), each) for each in value["choices"]).values()))
    return _read_range(value, parameter)


def _read_range(value: Mapping[str, Any], parameter: click.Parameter) -> Range:
    if not isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType):
        raise ValueError("takes no numbers, of which there could be a range; give a list of its values")
    is_whole = isinstance(parameter.type, click.types.IntParamType)
    missing = [name for name in ("low", "high") if value.get(name) is None]
    if missing:
        raise ValueError(f"a range needs low and high; {missing[0]} is missing")
    numbers = {name: _number(name, value[name], is_whole) for name in ("low", "high", "step") if value.get(name)}
    low, high = numbers.get("low", 0), numbers.get("high", 0)
    log, step = value.get("log", False), numbers.get("step")
    if not isinstance(log, bool):
        raise ValueError(f"log is {log!r}; expected true or false")
    if low >= high:
        raise ValueError(f"low is {low:g} and high is {high:g}; low must be below high")
    if log and (low <= 0 or step is not None):
        raise ValueError(f"log needs low above 0 and no step; low is {low:g}, step is {step}")
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"step is {step:g}; it must be above 0, and at most high - low")
    return Range(low=low, high=high, is_whole=is_whole, log=log, step=step)


def _number(name: str, value: Any, is_whole: bool) -> float:
    """Return a number as YAML has it; it takes 1e-4, without a point, for text."""
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}; expected a number") from None
    if not math.isfinite(number) or (is_whole and number != int(number)):
        raise ValueError(f"{name} is {value!r}; expected a {'whole' if is_whole else 'finite'} number")
    return int(number) if is_whole else number


def _tried(space: Space, command: Command, typed: Mapping[str, str]) -> Iterator[Any]:
    """Let the command read each value once, beside the first ones of the others; `typed` has each field's name there.

    Yield what it makes of them.
    """
    first = {name: next(range_.ends()) for name, range_ in space.varied.items()}
    tries: list[tuple[str | None, dict[str, Any]]] = [(None, first)]
    tries += [(name, first | {name: end}) for name, range_ in space.varied.items() for end in range_.ends()]
    for name, values in tries:
        try:
            words = trial_words(space, command, values)
            with command.make_context(command.name, words, resilient_parsing=False) as context:
                yield command.read(context.params)
        except (click.UsageError, SignprepError) as error:
            told = error.format_message() if isinstance(error, click.UsageError) else str(error)
            shown = {next(names_of(each)).replace("-", "_"): each.opts[0] for each in command.params}
            culprits = [field for field in typed if f"{shown[field]} " in told or f"'{shown[field]}'" in told]
            culprit = name or (culprits[0] if len(culprits) == 1 else "")
            raise _error(space.path, space.lines, typed.get(culprit, ""), told) from error


def _meant(name: str, names: list[str]) -> str:
    found = meant_names(f"--{name}", [f"--{known}" for known in names])[:2]
    return f"; did you mean {' or '.join(repr(each.removeprefix('--')) for each in found)}?" if found else ""


def _error(path: Path, lines: Mapping[str, int], name: str, told: str) -> click.UsageError:
    where = f"{path}:{lines[name]}: {name}" if name in lines else str(path)
    return click.UsageError(f"{where}: {told}")
