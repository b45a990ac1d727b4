"""Texts with fields in braces, `videos/{video_id}.mp4`, that rows fill in, and patterns that find fields in texts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Template:
    """A text with fields: its parts in turn, texts and names of fields."""

    parts: tuple[tuple[str, str], ...]
    """(text, name of the field behind it); the last name is empty."""

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the template that a text means. Raises ValueError if a brace has no partner.

        >>> Template.of("{sign}/{video}.mp4").fill({"sign": "book", "video": "00335"})
        'book/00335.mp4'
        """
        pieces = _FIELD.split(text)
        if any("{" in piece or "}" in piece for piece in pieces[::2]):
            raise ValueError(f"{text!r} has a brace without a partner")
        names = [*(name.strip() for name in pieces[1::2]), ""]
        return cls(tuple(zip(pieces[::2], names, strict=True)))

    def __str__(self) -> str:
        return "".join(f"{text}{{{name}}}" if name else text for text, name in self.parts)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields."""
        return tuple(name for _, name in self.parts if name)

    def fill(self, row: Mapping[str, str]) -> str | None:
        """Return the text with a row's values in place of the fields; None if one of them is absent or empty."""
        filled = []
        for text, name in self.parts:
            filled.append(text)
            if name:
                value = row.get(name)
                if not value:
                    return None
                filled.append(value)
        return "".join(filled)


def first_filled(templates: tuple[Template, ...], row: Mapping[str, str]) -> str | None:
    """Return what the first of these templates gives whose fields a row has, None without one."""
    for template in templates:
        if (text := template.fill(row)) is not None:
            return text
    return None


@dataclass(frozen=True)
class Extract:
    """Fields that a pattern finds in a text."""

    of: tuple[Template, ...]
    pattern: "re.Pattern[str]"

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that it finds."""
        return tuple(self.pattern.groupindex)

    def add_to(self, row: dict[str, str]) -> None:
        """Add the fields to a row; nothing if the pattern does not match the whole text."""
        text = first_filled(self.of, row)
        if text is not None and (match := self.pattern.fullmatch(text)):
            row.update({name: value for name, value in match.groupdict().items() if value})
