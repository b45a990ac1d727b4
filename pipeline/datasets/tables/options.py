"""The options that say what a table's columns mean: names, units, the place of its videos, and codes of glosses."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from signprep.pipeline.options import Options, option

REQUIRED = ("video", "gloss")
BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
OPTIONAL = ("start", "end", "item", "source", "signer", "view", "take", "split", "fps", *BOX)
COLUMNS = (*REQUIRED, *OPTIONAL)
"""The values that a row may have, by the names that their columns have unless --columns says otherwise."""
NUMBERS = ("start", "end", *BOX)
"""Those that are numbers, which some countries write with a comma."""

SECONDS, MILLISECONDS, FRAMES, FRAMES_FROM_1 = TIME_UNITS = ("seconds", "milliseconds", "frames", "frames-from-1")

_FIELD = re.compile(r"\s*(\w+)\s*=\s*")
_QUOTED = re.compile(r'"((?:[^"]|"")*)"\s*(?:,|$)')
_NEXT = re.compile(rf",\s*(?:{'|'.join(COLUMNS)})\s*=|,?\s*$")


@dataclass(frozen=True, kw_only=True)
class TableOptions(Options, group="Data"):
    """The way to read a table. Raises ValueError on values that mean nothing."""

    columns: tuple[str, ...] = option(
        (),
        'Take a table\'s values from the columns of these names, as in video="Video file",gloss=Gloss; the others '
        "have their usual names.",
        metavar="FIELD=NAME,...",
    )
    video_root: Path | None = option(
        None, "Look for a table's videos in this folder instead of the table's own.", metavar="DIR"
    )
    time_unit: str = option(
        SECONDS,
        "Read a table's start and end as seconds, milliseconds or frames, which count from 0 with the end left out, or "
        "from 1 with the end included.",
        choices=TIME_UNITS,
    )
    class_map: Path | None = option(
        None,
        "Take a table's glosses for codes, and what they mean from this second table (code and gloss), or from a text "
        "file with the gloss of 0, 1, ... a line.",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            parse_columns(self.columns)
        except ValueError as error:
            raise ValueError(f"columns {error}") from error

    @property
    def given(self) -> list[str]:
        """The options that are not at their defaults, by their names on the command line."""
        changed = (field.name for field in fields(self) if getattr(self, field.name) != field.default)
        return [f"--{name.replace('_', '-')}" for name in changed]

    @property
    def names(self) -> dict[str, str]:
        """The name of the column that each value has."""
        return {name: name for name in COLUMNS} | parse_columns(self.columns)


def parse_columns(texts: Iterable[str]) -> dict[str, str]:
    """Return the column of each field that texts of the form `field=NAME,field=NAME` give, NFC.

    A comma belongs to a name unless a field follows it. A name in double quotes is taken as it is, with "" for a quote.
    Raises ValueError on anything else, and if a field has two columns.

    >>> parse_columns(["video=Video file,gloss=Gloss, meaning,signer=참가자", 'split="a, gloss=b"'])
    {'video': 'Video file', 'gloss': 'Gloss, meaning', 'signer': '참가자', 'split': 'a, gloss=b'}
    """
    found: dict[str, str] = {}
    for text in texts:
        place = 0
        while place < len(text):
            field = _FIELD.match(text, place)
            if field is None or field[1] not in COLUMNS:
                raise ValueError(
                    f"{text[place:][:60]!r} does not begin with FIELD=NAME; FIELD is one of {', '.join(COLUMNS)}"
                )
            place = field.end()
            if quoted := _QUOTED.match(text, place):
                name, place = quoted[1].replace('""', '"'), quoted.end()
            else:
                end = _NEXT.search(text, place)
                assert end is not None  # the end of the text is one
                name, place = text[place : end.start()].strip(), end.start() + 1
            name = unicodedata.normalize("NFC", name)
            if not name:
                raise ValueError(f"gives {field[1]} no name; expected {field[1]}=NAME")
            if found.setdefault(field[1], name) != name:
                raise ValueError(f"gives {field[1]} two columns, {found[field[1]]!r} and {name!r}")
    return found
