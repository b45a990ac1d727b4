"""Fields of option dataclasses that describe themselves, and the options of a scan and of a generated data set.

A dataclass whose fields people set is an `Options`, and declares its fields with `option(...)`. The command line
(`pipeline/cli/options.py`) is made from the same fields, so that a default, a range and a sentence of help are written
once. Nothing heavy is imported here, and not click.
"""

import dataclasses
import math
import numbers
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass
from functools import partial
from typing import Any

REQUIRED = MISSING
FRACTION = {"minimum": 0, "maximum": 1}
SAMPLED_VIDEOS = 1000
"""About so many are opened by `scan --probe sample`, evenly spread over the folders."""
VIEWS = "FUDLR"
MAX_ITEMS = 9999
"""Items have four digits."""
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
    suggested: tuple[str, ...] = ()
    """Words that a shell completes, where others are allowed too."""
    is_path: bool = False
    """True if a shell completes paths, though the value may be something else, such as a URL."""
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
    shown_default: str | None = None
    """What the help says instead of the default, where another option decides."""

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
            chosen = value if isinstance(value, tuple) else (value,)
            return None if set(chosen) <= set(self.choices) else f"one of {', '.join(self.choices)}"
        if not self.allowed() or not isinstance(value, int | float):
            return None
        inside = (
            (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )
        is_too_large = value >= 2**63 if isinstance(value, int) else not math.isfinite(value)
        if inside and is_too_large:
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


def check_types(values: Any) -> None:
    """Raise TypeError unless each field of a dataclass, which was made of a file's values, is of its type.

    Types are plain ones, and unions of them. A whole number may stand for a float; a bool is no number.
    """
    numbers_of = {int: numbers.Integral, float: numbers.Real}
    for name, hint in typing.get_type_hints(type(values)).items():
        value, types = getattr(values, name), typing.get_args(hint) or (hint,)
        allowed = tuple(numbers_of.get(type_, type_) for type_ in types)
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in types):
            expected = " or ".join(type_.__name__ for type_ in types)
            raise TypeError(f"{name} is {value!r:.60}; it must be {expected}")


def require_type(name: str, value: object, kind: type) -> None:
    """Raise TypeError unless an argument of a function is of the type that it takes."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r:.60}, of type {type(value).__name__}; expected {kind.__name__}")


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


machine_option = partial(option, group="Machine")
output_option = partial(option, group="Output")


def json_option(help_: str) -> Any:
    """Return the field of `--json`."""
    return output_option(False, help_, name="--json")


def out_option(help_: str, default: Any = None) -> Any:
    """Return the field of the file to be written, which old scripts call otherwise."""
    return output_option(default, help_, aliases=("--output", "--output-path"), metavar="FILE")


def workers_option(help_: str = "Work in this many processes of this machine; -1 takes all cores.") -> Any:
    """Return the field of a number of processes."""
    return machine_option(-1, help_, read=_workers)


def _workers(typed: int) -> int:
    if typed < 1 and typed != -1:
        raise ValueError(f"{typed} is neither -1, for all cores, nor at least 1")
    return typed


@dataclass(frozen=True, kw_only=True)
class ScanOptions(Options):
    """The depth of a scan. Raises ValueError on values that mean nothing."""

    num_frames: int = option(16, "Report segments that have fewer frames than this.", aliases=("--frames",), minimum=1)
    probe: str = option(
        "all",
        f"Open all videos (1 to 2 ms each), about {SAMPLED_VIDEOS} of them, or none.",
        choices=("all", "sample", "none"),
    )
    deep: bool = option(False, "Decode every frame of the opened videos to find damage, which is slow.")
    workers: int = workers_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.deep and self.probe == "none":
            raise ValueError("--deep decodes videos, --probe none opens none: choose one of them")


def _frame_size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"{text!r} is not WIDTHxHEIGHT, as in 1920x1080")
    return int(width), int(height)


@dataclass(frozen=True, kw_only=True)
class SampleSpec(Options, group="Data"):
    """The videos of a generated data set. Raises ValueError on values that cannot be rendered."""

    words: int = option(5, "Render this many different signs.", minimum=1, maximum=200)
    signers: int = option(
        6, "Let this many sign; the last two are REAL17 and REAL18, AIHub's validation signers.", minimum=1, maximum=18
    )
    views: str = option("F", f"Film from these views, some of the letters {VIEWS}.")
    takes: int = option(1, "Perform each sign so often, each time under a word id of its own.", minimum=1)
    """Word ids of their own are what AIHub's homonyms have."""
    sentences: int = option(
        0, "Also render this many SEN videos of each signer, with several signs each.", minimum=0, maximum=MAX_ITEMS
    )
    frame_size: tuple[int, int] = option(
        (1920, 1080),
        "Render videos of this width and height in pixels.",
        name="--size",
        type=str,
        read=_frame_size,
        show=lambda size: f"{size[0]}x{size[1]}",
        metavar="WIDTHxHEIGHT",
    )
    """Even numbers of pixels, 64 to 4096."""
    keypoints: bool = option(False, "Also write each frame's true keypoints, in AIHub's form, to keypoint/.")
    seed: int = option(0, "Render the same videos for the same seed.", minimum=0, maximum=2**63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.takes > MAX_ITEMS // self.words:
            raise ValueError(f"takes is {self.takes}; it must be between 1 and {MAX_ITEMS // self.words}")
        if not self.views or set(self.views) - set(VIEWS) or len(set(self.views)) < len(self.views):
            raise ValueError(f"views is {self.views!r}; it must be some of the letters {VIEWS}, each once")
        if len(self.frame_size) != 2 or any(side % 2 or not 64 <= side <= 4096 for side in self.frame_size):
            raise ValueError(f"frame_size is {self.frame_size}; it must be two even numbers of pixels, 64 to 4096")
