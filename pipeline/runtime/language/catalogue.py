"""Korean for the English that the code has put together: sentences with places for values, found by their words.

In: a text of whole lines. Out: the same in Korean. The code's messages are f-strings, so what arrives here is a
sentence with its values in it. `ko/*.po` has the English sentences with `{}` where a value stands, `{#}` where a number
does, and for each the Korean one, in which `{0}`, `{1}` are these values. `{0:을}` adds the particle that fits the
value; a value is translated, too, as messages stand in messages; single words are not, as a name may look like one,
unless the place says so: `{0!w}`. With `{0!t}` the sentence fits only where this value can be translated. The sentence
with the most letters of its own is taken. Files are in gettext's form, which translators' programs open; gettext itself
looks up whole messages only. They are read in 20 ms, as YAML in a second.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path

from signprep.pipeline.runtime.language.particles import with_particle
from signprep.pipeline.runtime.text import columns_of

_HOLE = re.compile(r"\{(#?)\}")
_PLACE = re.compile(r"\{(\d)(![wt])?(?::(\w+))?\}|\{\{|\}\}")
_WORD = re.compile(r"[A-Za-z]{2,}")
_WHOLE_WORD = re.compile(r"(?<![A-Za-z\0])[A-Za-z]{2,}(?![A-Za-z\0])")
_VALUE = "(?:(?!  ).)"
_BEFORE = "signprep: |note: |warning: "
"""What stands before a sentence is no value of it."""
_NUMBER = r"([-+]?[\d.,]*\d(?:e[-+]?\d+)?|nan|inf|-)"
_ENTRY = re.compile(r'^(msgid|msgid_plural|msgstr)(?:\[0\])? ((?:"[^\n]*"\n?)+)', re.MULTILINE)
_SEPARATORS = [re.compile(separator) for separator in (r" {2,}", r"; ", r"(?<=[.?!]) ", r": ", r", ", r" (?=\()")]
"""Where a text that is no sentence may consist of some, the widest first."""
_LONGEST = 400
"""Separators behind so many letters are left alone: such texts are lists of names."""


@dataclass(frozen=True)
class Sentence:
    """An English sentence with places for values, and the Korean one."""

    english: str
    korean: str

    @cached_property
    def parts(self) -> list[str]:
        """Return what stands around the values."""
        return list(map(_plain, _HOLE.split(self.english)[::2]))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Return the expression that finds the values."""
        parts = [re.escape(part) for part in self.parts]
        # Of two values side by side, the second is mostly empty. No value goes on in the next column of a table, and
        # a sentence does not begin in the middle of a text.
        anything = [f"({_VALUE}*?)" if part else f"({_VALUE}*)" for part in (*parts[1:-1], "end")]
        if not parts[0] and len(parts) > 1 and parts[1]:
            if parts[1] == re.escape(" "):  # one of a list
                anything = ["((?:(?!; ).)*?)" for _ in anything]
            anything[0] = f"((?!{_BEFORE})(?:(?![;:] ){_VALUE})*?)"
        holes = [
            _NUMBER if hole else any_ for hole, any_ in zip(_HOLE.split(self.english)[1::2], anything, strict=True)
        ]
        return re.compile("".join(part + hole for part, hole in zip(parts, [*holes, ""], strict=True)))

    @property
    def weight(self) -> int:
        """Return how many letters are the sentence's own, and then its other signs; a number is more than any value."""
        text = "".join(self.parts)
        return 10 * sum(map(str.isalpha, text)) + len(text) + self.english.count("{#}")

    @cached_property
    def words(self) -> set[str]:
        """Return the whole words that a text must have to be this sentence."""
        # A sign stands for a value, so that a word which touches one is not whole.
        return set(_WHOLE_WORD.findall("\0".join(self.parts)))

    def filled(self, values: tuple[str, ...]) -> str | None:
        """Return the Korean sentence with these values, None if one of them has to be Korean and is not."""

        def value(place: re.Match[str]) -> str:
            if place[1] is None:
                return place[0][0]
            shown = korean_line(values[int(place[1])], place[2] is not None)
            if place[2] == "!t" and shown == values[int(place[1])]:
                raise LookupError(shown)
            return with_particle(shown, place[3]) if place[3] else shown

        try:
            return _PLACE.sub(value, self.korean)
        except LookupError:
            return None


@dataclass(frozen=True)
class _Catalogue:
    words: dict[str, str]
    """Texts without values, by their English in small letters."""
    by_word: dict[str, list[Sentence]]
    """Sentences with values, by the rarest of their words; those without a whole word by an empty one."""


def _plain(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")


def korean(text: str, *, with_words: bool = True) -> str:
    """Return a text in Korean, line by line; what is not known stays as it is."""
    return "\n".join(korean_line(line, with_words) for line in text.split("\n"))


@lru_cache(maxsize=4096)
def korean_line(text: str, with_words: bool) -> str:
    """Return a line in Korean; without words, only sentences and numbers of things are known."""
    begin, inner, end = _bare(text)
    if not inner or inner.isnumeric():
        return text
    found = _sentence(inner, with_words)
    return begin + found + (_as_wide(end, inner, found) if end.isspace() else end)


def _as_wide(spaces: str, english: str, korean: str) -> str:
    """Return spaces behind Korean that end in the same column as those behind the English, if they end a column."""
    return spaces if len(spaces) < 2 else " " * max(1, len(spaces) + columns_of(english) - columns_of(korean))


def _bare(text: str) -> tuple[str, str, str]:
    """Return what a text begins with, that ties it to the one before, itself, and what it ends with."""
    behind = text.lstrip(" ;,")
    inner = behind.rstrip(" ;,:")
    return text[: len(text) - len(behind)], inner, behind[len(inner) :]


def _sentence(text: str, with_words: bool) -> str:
    catalogue = sentences()
    if (found := catalogue.words.get(text.casefold())) and (with_words or " " in text.strip(".()")):
        return found
    candidates = {
        sentence
        for word in ("", *_WORD.findall(text))
        for sentence in catalogue.by_word.get(word, ())
        if all(part in text for part in sentence.parts)
    }
    for sentence in sorted(candidates, key=lambda sentence: (-sentence.weight, sentence.english)):
        if (values := sentence.pattern.fullmatch(text)) and (found := sentence.filled(values.groups())) is not None:
            return found
    return _by_parts(text)


def _by_parts(text: str) -> str:
    """Return a text that is no sentence, with sentences that its parts between separators are."""
    if text[0] == "(" and text[-1] == ")":
        return f"({korean_line(text[1:-1], False)})"
    for separator in _SEPARATORS:
        for between in separator.finditer(text[:_LONGEST]):
            parts = text[: between.start()], text[between.end() :]
            head, tail = (korean_line(part, False) if part else part for part in parts)
            if (head, tail) != parts:
                spaces = between[0].isspace()
                return head + (_as_wide(between[0], parts[0], head) if spaces else between[0]) + tail
    return text


@cache
def sentences() -> _Catalogue:
    """Return all entries, read once."""
    words: dict[str, str] = {}
    patterns = []
    for english, text in _with_bodies(list(entries())):
        english, text = _bare(english)[1], _bare(text)[1]
        if "{" in english.replace("{{", ""):
            patterns.append(Sentence(english, text))
        else:
            words.setdefault(_plain(english).casefold(), _plain(text))
    counts = Counter(word for sentence in patterns for word in sentence.words)
    by_word: dict[str, list[Sentence]] = defaultdict(list)
    for sentence in patterns:
        by_word[min(sentence.words, key=lambda word: (counts[word], word), default="")].append(sentence)
    return _Catalogue(words, dict(by_word))


def _with_bodies(all_entries: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield all entries, and those that begin with the file concerned without it, too, where these are no entries."""
    yield from all_entries
    there = {english for english, _ in all_entries}
    for english, text in all_entries:
        body, said = english.removeprefix("{}: "), text.removeprefix("{0}: ")
        if english != body and text != said and body[0].islower() and body not in there and "{0" not in said:
            yield body, re.sub(r"(?<=\{)\d", lambda place: str(int(place[0]) - 1), said)


def entries() -> Iterator[tuple[str, str]]:
    """Yield the English and the Korean text of all entries; a plural has the Korean of its singular."""
    for file in sorted((Path(__file__).parent / "ko").glob("*.po")):
        yield from entries_of(file.read_text(encoding="utf-8"))


def entries_of(file: str) -> Iterator[tuple[str, str]]:
    r"""Yield the entries of one file in gettext's form that have Korean.

    >>> list(entries_of('msgid "{#} clip"\nmsgid_plural "{#} clips"\nmsgstr[0] ""\n"클립 "\n"{0}개"\n'))
    [('{#} clip', '클립 {0}개'), ('{#} clips', '클립 {0}개')]
    """
    english: list[str] = []
    for kind, written in _ENTRY.findall(file):
        quoted = "".join(line[1:-1] for line in written.splitlines())
        text = re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found[1], found[1]), quoted)
        if kind == "msgid":
            english = [text]
        elif kind == "msgid_plural":
            english.append(text)
        elif text and english[0]:
            yield from ((one, text) for one in english)
