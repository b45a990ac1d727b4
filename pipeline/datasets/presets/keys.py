"""Keys of a YAML document, taken one by one, and what their values become; an error names the file and the key."""

import re
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from signprep.pipeline.datasets.presets.template import Template
from signprep.pipeline.errors import AnnotationError

Found = TypeVar("Found")


class Keys:
    """A mapping of the document, whose keys are taken one by one; what is left in the end is no key of the language."""

    def __init__(self, path: Path, where: str, value: Any) -> None:
        self.path, self.where = path, where
        self._known: list[str] = []
        if not isinstance(value, dict):
            self.fail("", value, "keys with values")
        self._left = {str(key): inner for key, inner in value.items()}

    def fail(self, key: str, value: Any, expected: str) -> NoReturn:
        """Raise AnnotationError: a value is not what it should be."""
        name = ".".join(filter(None, (self.where, key))) or "it"
        raise AnnotationError(f"{self.path}: {name} is {reprlib.repr(value)}; expected {expected}")

    def take(self, key: str, convert: Callable[[Any], Found], expected: str, default: Found | None = None) -> Found:
        """Return a key's value as `convert` makes it. Without a default it has to be there."""
        self._known.append(key)
        value = self._left.pop(key, None)
        if value is None:
            if default is None:
                name = ".".join(filter(None, (self.where, key)))
                raise AnnotationError(f"{self.path}: {name} is missing; expected {expected}")
            return default
        try:
            return convert(value)
        except (TypeError, ValueError) as error:
            self.fail(key, value, f"{expected} ({error})" if str(error) else expected)

    def inner(self, key: str) -> "list[Keys]":
        """Return the mappings of a key, which is one or a list of them; none if it is not there."""
        self._known.append(key)
        value = self._left.pop(key, None)
        where = ".".join(filter(None, (self.where, key)))
        if value is None:
            return []
        if not isinstance(value, list):
            return [Keys(self.path, where, value)]
        return [Keys(self.path, f"{where}[{place}]", one) for place, one in enumerate(value)]

    def end(self) -> None:
        """Raise AnnotationError if there are keys that nobody took."""
        for key in self._left:
            name = ".".join(filter(None, (self.where, key)))
            raise AnnotationError(f"{self.path}: {name} is no key; expected {', '.join(self._known)}")


def as_text(value: Any) -> str:
    """Return a text or a number as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    return str(value)


def as_texts(value: Any) -> tuple[str, ...]:
    """Return a list of texts, or the one that is given."""
    if isinstance(value, list) and not value:
        raise ValueError
    return tuple(map(as_text, value if isinstance(value, list) else [value]))


def as_templates(value: Any) -> tuple[Template, ...]:
    """Return templates, or the one that is given."""
    return tuple(map(Template.of, as_texts(value)))


def as_template(value: Any) -> Template:
    """Return a template."""
    return Template.of(as_text(value))


def as_flag(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise TypeError
    return value


def as_choice(choices: Iterable[str], value: Any) -> str:
    """Return one of the choices."""
    if value not in choices:
        raise ValueError
    return str(value)


def as_rate(value: Any) -> float:
    """Return a number of frames a second."""
    number = float(as_text(value))
    if not 0 < number <= 1000:
        raise ValueError
    return number


def as_regex(value: Any) -> "re.Pattern[str]":
    """Return a regular expression with named groups."""
    try:
        pattern = re.compile(as_text(value))
    except re.error as error:
        raise ValueError(str(error)) from error
    if not pattern.groupindex:
        raise ValueError("it has no group (?P<name>...)")
    return pattern


def as_constants(value: Any) -> dict[str, str]:
    """Return texts by names."""
    if not isinstance(value, dict):
        raise TypeError
    return {as_text(key): as_text(inner) for key, inner in value.items()}


_WORDS = {True: ("True", "yes", "1"), False: ("False", "no", "0")}
"""What files have for what YAML reads as truth values, `yes` and `no` among them."""


def as_allowed(value: Any) -> dict[str, tuple[str, ...]]:
    """Return texts by a text."""
    if not isinstance(value, dict) or not value:
        raise TypeError
    as_list = {as_text(key): inner if isinstance(inner, list) else [inner] for key, inner in value.items()}
    return {
        key: tuple(word for one in inner for word in (_WORDS[one] if isinstance(one, bool) else (as_text(one),)))
        for key, inner in as_list.items()
    }


def as_separator(value: Any) -> str:
    """Return one character."""
    if len(text := as_text(value)) != 1:
        raise ValueError
    return text


def as_steps(value: Any) -> tuple[str, ...]:
    """Return the parts between dots."""
    return tuple(as_text(value).split("."))
