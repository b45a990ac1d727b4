"""The language of presets: a YAML file in, a `Preset` out, or an error that names the file and the key.

docs/presets.md describes it. Every value is checked here, so that the reader trusts them.
"""

import difflib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from signprep.pipeline.datasets.annotations import decoded
from signprep.pipeline.datasets.presets.keys import (
    Keys,
    as_allowed,
    as_choice,
    as_constants,
    as_flag,
    as_rate,
    as_regex,
    as_separator,
    as_steps,
    as_template,
    as_templates,
    as_text,
    as_texts,
)
from signprep.pipeline.datasets.presets.template import Extract, Template
from signprep.pipeline.datasets.tables.options import SECONDS, TIME_UNITS
from signprep.pipeline.errors import AnnotationError

FOLDER = Path(__file__).parent
TABLE, JSON, VIDEOS = FORMS = ("table", "json", "videos")
NEVER, BY_LENGTH, ALWAYS = TRIMMED = ("never", "by-length", "always")
"""The copies that people have: the videos that times refer to, or pieces of them that were cut to the sign."""
VALUES = ("gloss", "signer", "item", "source", "view", "take")
"""Values of a segment that are texts."""
MAX_BYTES = 2**20
"""Presets have about a kilobyte."""

Templates = tuple[Template, ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files with rows, or videos whose names are rows."""

    files: tuple[str, ...]
    """Patterns of paths at any depth, as `splits/*.csv`; the first that matches counts, with all files that it does."""
    form: str
    columns: tuple[str, ...] | None = None
    """Of a table without a header."""
    separator: str | None = None
    quotes: bool = True
    rows: tuple[str, ...] = ("*",)
    """The way to the rows of a JSON document: names, and stars for all elements."""
    pattern: "re.Pattern[str] | None" = None
    """Of the paths of videos that are rows."""
    constants: Mapping[str, str]
    """Fields that all of its rows have."""
    optional: bool = False
    """True if the data set is often without it."""
    only: tuple[tuple[Template, frozenset[str]], ...] = ()
    """Values that rows must have; others are passed over."""
    extracts: tuple[Extract, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Join:
    """Files whose rows add fields to the rows of others."""

    source: Source
    key: Template
    """Of a row of these files."""
    of: Template
    """Of a row that gets the fields: it must give the same text, or the same number."""
    required: bool = True
    """True if a row without a partner is of no use."""


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """The split of each row: the word that it has, or the split whose values hold it."""

    of: Templates
    values: Mapping[str, tuple[str, ...]] | None = None
    """By split, texts and ranges of numbers, `0-35`; None for words that name splits."""

    @property
    def lookup(self) -> Callable[[str], str | None]:
        """A function from a value to its split."""
        texts = {value.lower(): split for split, values in (self.values or {}).items() for value in values}
        ranges = [
            (int(found[1]), int(found[2]), split)
            for text, split in texts.items()
            if (found := re.fullmatch(r"(\d+)-(\d+)", text))
        ]

        def split_of(value: str) -> str | None:
            if (split := texts.get(value.lower())) is not None or not value.isdecimal():
                return split
            number = int(value)
            in_range = (split for low, high, split in ranges if low <= number <= high)
            return next(in_range, texts.get(str(number)))

        return split_of


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A data set's shape on disk."""

    name: str
    path: Path
    about: str
    sources: tuple[Source, ...]
    extracts: tuple[Extract, ...] = ()
    joins: tuple[Join, ...] = ()
    videos: Templates
    """Ends of paths of a row's video, the likeliest first."""
    values: Mapping[str, Templates]
    """By the names of `VALUES`."""
    split: SplitRule | None = None
    start: Templates = ()
    end: Templates = ()
    time_unit: str = SECONDS
    fps: Templates = ()
    """Of times in frames."""
    trimmed: str = NEVER
    box: Templates = ()
    """Four numbers with spaces between: x0 y0 x1 y1."""
    box_is_size: bool = False
    """True if they are x0 y0 and width and height."""
    picture_fps: float | None = None
    """The rate of folders of pictures that are videos."""
    sentences: bool = False
    """True if a segment is a sentence, and its gloss all of its words."""

    @property
    def templates(self) -> dict[str, Templates]:
        """All templates that rows fill in, by the keys that they stand behind."""
        found = {"video": self.videos, **self.values, "start": self.start, "end": self.end, "fps": self.fps}
        found |= {"box": self.box, "split": self.split.of if self.split else ()}
        found |= {f"join[{place}].of": (join.of,) for place, join in enumerate(self.joins)}
        return found | {f"extract[{place}].of": extract.of for place, extract in enumerate(self.extracts)}


def builtin_presets() -> dict[str, Path]:
    """Return the built-in presets' files by their names."""
    return {path.stem: path for path in sorted(FOLDER.glob("*/*.yaml"))}


def find_preset(name_or_path: str) -> Preset:
    """Return the built-in preset of this name, or the one of a file. Raises AnnotationError if there is none."""
    built_in = builtin_presets()
    if (path := built_in.get(name_or_path.lower().replace("_", "-"))) is not None:
        return read_preset(path)
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        likely = difflib.get_close_matches(name_or_path.lower(), built_in, n=1)
        proposal = f" (did you mean {likely[0]}?)" if likely else ""
        raise AnnotationError(
            f"--preset {name_or_path}: there is no such preset{proposal}; there are {', '.join(sorted(built_in))}, or "
            "give a file .yaml"
        )
    return read_preset(path)


@lru_cache(maxsize=32)
def _loaded(data: bytes, path: Path) -> Preset:
    import yaml

    try:
        # Names of files and columns are compared composed, and macOS may have decomposed them here.
        text = unicodedata.normalize("NFC", decoded(data))
        document, tree = yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: is no YAML ({' '.join(str(error).split())[:200]})") from error
    found = Keys(path, "", document)  # a mapping, or an error
    keys = [key.value for key, _ in tree.value]
    if twice := next((key for number, key in enumerate(keys) if key in keys[:number]), None):
        raise AnnotationError(f"{path}: {twice} stands there twice, of which YAML would take the last; keep one")
    return _preset(found, path)


def read_preset(path: Path) -> Preset:
    """Read a preset. Raises AnnotationError, with the key, if it cannot be read or means nothing."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read as a preset ({error.strerror or error})") from error
    if len(data) > MAX_BYTES:
        raise AnnotationError(f"{path}: has over {MAX_BYTES} bytes, too many for a preset")
    return _loaded(data, path)


def _extracts(keys: Keys) -> tuple[Extract, ...]:
    found = []
    for one in keys.inner("extract"):
        of = one.take("of", as_templates, "a text with fields, as in {name}")
        found.append(Extract(of, one.take("pattern", as_regex, "a regular expression with named groups")))
        one.end()
    return tuple(found)


def _source(keys: Keys) -> Source:
    form = keys.take("form", partial(as_choice, FORMS), f"one of {', '.join(FORMS)}")
    files: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    rows: tuple[str, ...] = ("*",)
    separator, pattern, quotes = None, None, True
    nothing: tuple[str, ...] = ()
    no_fields: dict[str, str] = {}
    no_values: dict[str, tuple[str, ...]] = {}
    if form != VIDEOS:
        files = keys.take("files", as_texts, "the pattern of a path, or several")
        optional = keys.take("optional", as_flag, "true or false", False)
    else:
        pattern = keys.take("pattern", as_regex, "a regular expression of the ends of videos' paths with named groups")
        optional = False
    if form == TABLE:
        columns = keys.take("columns", as_texts, "the names of columns, if there is no header", nothing) or None
        separator = keys.take("separator", as_separator, "one character", "") or None
        quotes = keys.take("quotes", as_flag, "true or false", True)
    if form == JSON:
        rows = keys.take("rows", as_steps, "the way to the rows, as in *.instances.*", rows)
    constants = keys.take("set", as_constants, "fields with their values", no_fields)
    only = keys.take("only", as_allowed, "texts with fields, and the values that rows must have", no_values)
    source = Source(
        files=files,
        form=form,
        columns=columns,
        separator=separator,
        quotes=quotes,
        rows=rows,
        pattern=pattern,
        constants=constants,
        optional=optional,
        only=tuple((Template.of(of), frozenset(value.lower() for value in values)) for of, values in only.items()),
        extracts=_extracts(keys),
    )
    return source


def _joins(keys: Keys) -> tuple[Join, ...]:
    found = []
    for one in keys.inner("join"):
        key = one.take("key", as_template, "a text with fields of these files")
        of = one.take("of", as_template, "a text with fields of the rows")
        required = one.take("required", as_flag, "true or false", True)
        found.append(Join(source=_source(one), key=key, of=of, required=required))
        one.end()
    return tuple(found)


def _split(keys: Keys) -> SplitRule | None:
    def read(value: Any) -> SplitRule:
        if not isinstance(value, dict):
            return SplitRule(of=as_templates(value))
        inner = Keys(keys.path, "split", value)
        of = inner.take("of", as_templates, "a text with fields")
        empty: tuple[str, ...] = ()
        values = {
            name: inner.take(name, lambda one: as_allowed({"": one})[""], "values, or ranges as in 0-35", empty)
            for name in ("train", "val", "test")
        }
        inner.end()
        return SplitRule(of=of, values=values)

    nothing = SplitRule(of=())
    found = keys.take("split", read, "a text with fields, or `of` with values for train, val and test", nothing)
    return None if found is nothing else found


def _preset(keys: Keys, path: Path) -> Preset:
    about = keys.take("about", as_text, "a line about the data set")
    sources = []
    for one in keys.inner("rows"):
        sources.append(_source(one))
        one.end()
    if not sources:
        raise AnnotationError(f"{path}: rows is missing: the files whose rows are segments")
    none: Templates = ()
    values = {}
    for name in VALUES:
        default = None if name == "gloss" else none
        values[name] = keys.take(name, as_templates, "a text with fields, as in {name}, or several", default)
    videos = keys.take("video", as_templates, "the end of a path with fields, as in {video_id}.mp4, or several")
    times = next(iter(keys.inner("times")), Keys(path, "times", {}))
    box, box_is_size = _box(keys)
    preset = Preset(
        name=path.stem,
        path=path,
        about=about,
        sources=tuple(sources),
        extracts=_extracts(keys),
        joins=_joins(keys),
        videos=videos,
        values=values,
        split=_split(keys),
        start=times.take("start", as_templates, "a text with fields", none),
        end=times.take("end", as_templates, "a text with fields", none),
        time_unit=times.take("unit", partial(as_choice, TIME_UNITS), f"one of {', '.join(TIME_UNITS)}", SECONDS),
        fps=times.take("fps", as_templates, "a number, or a text with fields", none),
        trimmed=times.take("trimmed", partial(as_choice, TRIMMED), f"one of {', '.join(TRIMMED)}", NEVER),
        box=box,
        box_is_size=box_is_size,
        picture_fps=keys.take("picture_fps", as_rate, "a number of pictures a second", 0.0) or None,
        sentences=keys.take("sentences", as_flag, "true or false", False),
    )
    times.end()
    keys.end()
    return preset


def _box(keys: Keys) -> tuple[Templates, bool]:
    """Return the templates of four numbers, and whether the last two are a size."""
    none: Templates = ()
    corners = keys.take("box", as_templates, "four numbers, x0 y0 x1 y1, with spaces between", none)
    sized = keys.take("box_with_size", as_templates, "four numbers, x0 y0 width height, with spaces between", none)
    return corners or sized, not corners and bool(sized)
