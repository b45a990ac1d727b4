"""Fields of option dataclasses that describe themselves: help, group, names, choices and range in one place.

A dataclass whose fields people set is an `Options`, and declares its fields with `option(...)`. The command line
(`pipeline/cli/options.py`) is made from the same fields, so that a default, a range and a sentence of help are written
once. Nothing heavy is imported here, and not click.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from typing import Any

REQUIRED = MISSING
_DESCRIPTION = "signprep.option"


@dataclass(frozen=True, kw_only=True)
class Option:
    """The description of a field. Without `help` the field is no option of a command, and is only checked."""

    help: str = ""
    """A whole sentence; the default and the range are added to it."""
    group: str | None = None
    """The heading under which the help of a command lists it; None for the dataclass's OPTION_GROUP, or Run."""
    name: str | None = None
    """The name on the command line if it is not that of the field, such as `--stream-dir`."""
    aliases: tuple[str, ...] = ()
    """Other names that are accepted without being shown."""
    positional: bool = False
    """True for an argument of the command, as CACHE; aliases name it as an option."""
    hidden: bool = False
    """True for an option that is accepted without being shown."""
    metavar: str | None = None
    """The word for the value in the help."""
    choices: tuple[str, ...] = ()
    old_choices: tuple[tuple[str, str], ...] = ()
    """Former names of choices, each with its present name; accepted on the command line without being shown."""
    minimum: float | None = None
    above: float | None = None
    """The bound itself is not allowed, as for `below`."""
    maximum: float | None = None
    below: float | None = None
    value_if_bare: str | None = None
    """The value if the option is given without one, as `--resume`."""
    type: Any = None
    """The type of what is typed, where `read` makes the field's value from it."""
    read: Callable[[Any], Any] | None = None
    """Makes the field's value from what was typed, when the command runs. It may raise ValueError or SignprepError."""
    show: Callable[[Any], Any] | None = None
    """The inverse of `read`, for the default."""

    def allowed(self) -> str:
        """Return what a number may be, as words.

        >>> Option(minimum=0, below=1).allowed(), Option(above=0).allowed(), Option(minimum=1, maximum=9).allowed()
        ('at least 0 and below 1', 'above 0', 'between 1 and 9')
        """
        if self.minimum is not None and self.maximum is not None:
            return f"between {self.minimum} and {self.maximum}"
        bounds = {"at least": self.minimum, "above": self.above, "at most": self.maximum, "below": self.below}
        return " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)

    def complaint(self, value: Any) -> str | None:
        """Return what the value must be, None if it is. Of values that are no numbers only choices are checked."""
        if self.choices:
            return None if value in self.choices else f"one of {', '.join(self.choices)}"
        if not self.allowed() or not isinstance(value, int | float):
            return None
        inside = (
            (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )
        if inside and not math.isfinite(value):
            return f"a finite number {self.allowed()}"
        return None if inside else self.allowed()


def option(default: Any, help_: str = "", **description: Any) -> Any:
    """Return a dataclass field with the description of an `Option`.

    Args:
        default: of the field; REQUIRED if it has to be given.
        help_: a whole sentence. Without one the field is no option of a command, and is only checked.
        description: other fields of `Option`.
    """
    return dataclasses.field(default=default, metadata={_DESCRIPTION: Option(help=help_, **description)})


def description_of(field: "dataclasses.Field[Any]") -> Option | None:
    """Return the description of a field, None if it was not declared by `option`."""
    found: Option | None = field.metadata.get(_DESCRIPTION)
    return found


def check_options(options: Any) -> None:
    """Raise ValueError if a field of a dataclass is not one of its choices, or outside its range. None is allowed."""
    for field in dataclasses.fields(options):
        described, value = description_of(field), getattr(options, field.name)
        if described is not None and value is not None and (expected := described.complaint(value)):
            raise ValueError(f"{field.name} is {value!r}; it must be {expected}")


class Options:
    """The base of dataclasses that are checked when they are made.

    The help of a command lists their options under `group`, where a field names no other.
    """

    OPTION_GROUP = "Run"

    def __init_subclass__(cls, group: str | None = None) -> None:
        if group is not None:
            cls.OPTION_GROUP = group

    def __post_init__(self) -> None:
        check_options(self)


def workers_option(help_: str = "Work in this many processes of this machine; -1 takes all cores.") -> Any:
    """Return the field of a number of processes."""
    return option(-1, help_, group="Machine", read=_workers)


def _workers(typed: int) -> int:
    if typed < 1 and typed != -1:
        raise ValueError(f"{typed} is neither -1, for all cores, nor at least 1")
    return typed
