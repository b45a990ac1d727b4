"""Templates and scripts of pages in the reader's language: their own words are translated before they are used.

In: the text of a Jinja2 template or of a script. Out: the same in Korean, if that is the reader's language. Words of a
template are what stands between its tags, values of attributes that are read, and sentences in its expressions; an
expression in a text is a value of its sentence. Words of a script are its strings and templates with a space or a
capital letter in them, as keys have neither. Values of a page come from Python, and go through `shown`.
"""

import re
from typing import Any

from markupsafe import Markup

from signprep.pipeline.runtime.language import is_korean, translated

_TAG = re.compile(r"(<(?:[^>{]|\{%.*?%\}|\{\{.*?\}\})*>|\{%.*?%\}|\{#.*?#\})", re.DOTALL)
_ATTRIBUTE = re.compile(r'\b(aria-label|title|alt|placeholder)="((?:[^"{]|\{\{.*?\}\})*)"')
_EXPRESSION = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_STRING = re.compile(r'"([^"\\\n]*)"')
_SCRIPT_TEMPLATE = re.compile(r"`([^`]*)`")
_SCRIPT_VALUE = re.compile(r"\$\{(?:[^{}]|\{[^{}]*\})*\}")
_LETTERS = re.compile(r"[A-Za-z]{2,}")
_VALUE_SIGN = "\ue000"
"""Stands for a value while its sentence is looked up: a letter that no text has, followed by the value's number."""
_PART = re.compile(f"({_VALUE_SIGN}0{_VALUE_SIGN}) of ({_VALUE_SIGN}1{_VALUE_SIGN})")


def template_in_readers_language(source: str) -> str:
    """Return the text of a template."""
    if not is_korean():
        return source
    source = _ATTRIBUTE.sub(lambda found: f'{found[1]}="{_sentence(found[2], _EXPRESSION)}"', source)
    pieces = _TAG.split(source)
    pieces[::2] = [_sentence(piece, _EXPRESSION) for piece in pieces[::2]]
    return _EXPRESSION.sub(lambda found: _STRING.sub(_string, found[0]), "".join(pieces))


def script_in_readers_language(source: str) -> str:
    """Return the text of a script."""
    if not is_korean():
        return source
    source = _STRING.sub(_string, source)
    return _SCRIPT_TEMPLATE.sub(lambda found: f"`{_sentence(found[1], _SCRIPT_VALUE)}`", source)


def shown(value: Any) -> Any:
    """Return a value of a template as it is shown: sentences in the reader's language, names and markup as they are."""
    return translated(value, may_be_name=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def _string(found: re.Match[str]) -> str:
    text = found[1]
    if " " not in text and not text[:1].isupper():
        return found[0]
    return f'"{translated(text)}"'


def _sentence(text: str, value: re.Pattern[str]) -> str:
    """Return a text with values in it, that is one sentence for each line; values stay what they are."""
    values: list[str] = []

    def sign(found: re.Match[str]) -> str:
        values.append(found[0])
        return f"{_VALUE_SIGN}{len(values) - 1}{_VALUE_SIGN}"

    signed = value.sub(sign, text)
    if not _LETTERS.search(signed):
        return text
    # Two values are no words to find a sentence by.
    found = _PART.sub(r"\2 중 \1", signed) if _PART.fullmatch(signed.strip()) else translated(signed)
    if found == signed:
        return text
    return re.sub(rf"{_VALUE_SIGN}(\d+){_VALUE_SIGN}", lambda place: values[int(place[1])], found)
