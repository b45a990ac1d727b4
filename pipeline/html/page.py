"""A report as one HTML file that needs nothing else, no network and no other file; and its bars and charts as SVG.

In: a Jinja2 template that extends `page.html`, and its values. Out: the page. Names come from label files and from
others' caches, so every value is escaped unless it is Markup. The page's own policy names its one style sheet and its
one script by their hashes: a browser runs and loads nothing else, whatever a name may contain. It forbids inline styles
too, so sizes of charts are attributes of SVG, and their colours are classes of the style sheet.
"""

import base64
import gzip
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import count
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from signprep.pipeline.html.language import script_in_readers_language, shown, template_in_readers_language
from signprep.pipeline.runtime.language import is_korean, translated
from signprep.pipeline.runtime.text import counted

NUM_COLOURS = 5
"""The style sheet has so many colours of series, `part0` to `part4`."""
KIT_SCRIPTS = ("base.js", "search.js", "pager.js", "tables.js")
"""Scripts that pages share: elements and numbers, search, long lists, and tables that sort. They come before others."""
Point = tuple[float, float]

_KIT = files("signprep.pipeline.html")
_UNWRITABLE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
"""What HTML or UTF-8 cannot hold. Marks of direction stay: they end with the element that a name is in."""


def render_page(
    folder: Traversable,
    template: str,
    *,
    scripts: Sequence[str] = (),
    more: Sequence[Traversable] = (),
    connects: bool = False,
    **values: Any,
) -> str:
    """Return a page.

    Args:
        folder: has the template and the scripts.
        template: extends `page.html` and may import the macros of `parts.html`.
        scripts: become one script, in this order; `KIT_SCRIPTS` may be among them.
        more: folders with macros and scripts of other reports.
        connects: whether the script may ask the page's own server, and show videos that the browser has.
        values: go to the template; the frame takes `title` and `about`, lines of text under it.
    """

    places = (folder, *more, _KIT)
    style = _element_text(_KIT / "style.css")
    parts = [_element_text(_found(name, places) or folder / name) for name in scripts]
    if "base.js" in scripts and is_korean():
        parts.insert(
            scripts.index("base.js") + 1,
            Markup("addWords({});").format(Markup(json.dumps(_script_words(), ensure_ascii=False))),
        )
    script = Markup("\n").join(parts)
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash_source(style)}; "
        + (f"script-src {_hash_source(script)}; " if script else "")
        + ("connect-src 'self'; media-src blob:; " if connects else "")
        + "base-uri 'none'; form-action 'none'"
    )
    frame = {"language": "ko" if is_korean() else "en", "policy": policy, "style": style, "script": script, "about": ()}
    return _UNWRITABLE.sub(
        "\N{REPLACEMENT CHARACTER}", _environment(places, is_korean()).get_template(template).render(frame | values)
    )


def _found(name: str, places: tuple[Traversable, ...]) -> Traversable | None:
    """Return the first file of a name, None if no folder has one."""
    return next((place / name for place in places if (place / name).is_file()), None)


@lru_cache(maxsize=16)  # templates stay compiled
def _environment(places: tuple[Traversable, ...], _in_korean: bool) -> Environment:
    """Return what finds templates in folders, in the reader's language."""

    def source(name: str) -> str | None:
        file = _found(name, places)
        return template_in_readers_language(file.read_text(encoding="utf-8")) if file is not None else None

    # A value that is missing is an error: a page with a gap in it would look whole.
    environment = Environment(
        loader=FunctionLoader(source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    environment.filters |= {"number": "{:,}".format, "known": lambda name: "\N{EN DASH}" if name is None else name}
    environment.filters |= {"own": lambda word: translated(word) if isinstance(word, str) else word}
    environment.globals |= {"bar": bar, "counted": counted}
    return environment


def _element_text(file: Traversable) -> Markup:
    """Return a style sheet or script, which has nothing that could end its element."""
    text = file.read_text(encoding="utf-8")
    text = script_in_readers_language(text) if file.name.endswith(".js") else text
    assert "</" not in text, f"{file.name}: could end the element that it is in"
    return Markup(text)


_SCRIPT_WORDS = (
    *(
        "clip",
        "clips",
        "class",
        "classes",
        "gloss",
        "signer",
        "view",
        "split",
        "source",
        "video",
        "seconds",
        "from",
        "to",
    ),
    *("finding", "found", "failed", "to play it", "word", "missing", "all"),
)
"""Words that scripts use as keys, and show."""


def _script_words() -> dict[str, str]:
    """Return words of scripts in the reader's language, and numbers of things as sentences with {0} for the number."""
    words = {word: translated(word) for word in _SCRIPT_WORDS}
    return words | {f"{{}} {noun}": translated(f"0 {noun}").replace("0", "{}") for noun in ("clip", "class")}


def _hash_source(text: str) -> str:
    """Return a source of a content-security policy that allows this text alone."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def packed(document: Any) -> str:
    """Return plain JSON types as JSON, compressed by gzip and written in base64, which `unpacked` of `base.js` reads.

    No character of a name can mean anything to HTML then, and long lists are a tenth as long.
    """
    # Without a time in its head, gzip gives the same bytes for the same document.
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode("ascii")


def bar(parts: Sequence[float], longest: float, kind: str = "") -> Markup:
    """Return one bar of several parts, a colour each, as long as their sum is of `longest`."""
    left, rects = 0.0, []
    for place, part in enumerate(parts):
        width = 100 * part / (longest or 1)
        if part:
            colour = f"part{place % NUM_COLOURS}"
            rects.append(f'<rect class="{colour}" x="{left:.2f}" width="{width:.2f}" height="10"/>')
        left += width
    shape = '<svg class="bar {}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    return Markup(shape).format(kind, Markup("".join(rects)))


def round_up(number: int) -> int:
    """Return the end of an axis from `number` on whose quarters are whole numbers.

    >>> [round_up(number) for number in (1, 7, 36, 1_300)]
    [4, 8, 40, 2000]
    """
    ends = (factor * 10**power for power in count() for factor in (4, 8, 12, 20, 28))
    return next(end for end in ends if number <= end)


def ticks_up_to(most: float) -> dict[float, str]:
    """Return ticks of an axis from 0 to a round number that is no less than `most`, above 0, four or five steps away.

    >>> ticks_up_to(1.7)
    {0.0: '0', 0.5: '0.5', 1.0: '1', 1.5: '1.5', 2.0: '2'}
    """
    power = 10 ** math.floor(math.log10(most) - 1)
    step = next(factor * power for factor in (2.5, 5, 10, 20, 25, 50) if most <= 5 * factor * power * (1 + 1e-9))
    return {tick: f"{tick:,.4g}" for number in range(math.ceil(most / step - 1e-9) + 1) for tick in [number * step]}


@dataclass(kw_only=True)
class Chart:
    """A plot of two axes, to which parts are added one by one; `svg` ends it.

    Lines, dots and texts are kept as they are drawn, too, for those who draw the chart by other means.
    """

    title: str
    """Read aloud in place of the picture."""
    width: int = 640
    height: int = 200
    margins: tuple[int, int, int, int] = (52, 30, 16, 28)
    """Around the plot, for its labels: left, top, right, bottom."""
    x_range: Point = (0.0, 1.0)
    y_range: Point = (0.0, 1.0)
    lines: list[tuple[str, list[Point]]] = field(default_factory=list)
    """Kind and points of each line, in pixels of the picture."""
    spots: list[tuple[str, Point]] = field(default_factory=list)
    """Kind and place of each dot."""
    texts: list[tuple[str, Point, str, str]] = field(default_factory=list)
    """Kind, place, text and anchor of each text that is not turned."""
    _parts: list[Markup] = field(default_factory=list)

    def x(self, value: float) -> float:
        """Return where a value of the x axis is drawn."""
        (left, _, right, _), (first, last) = self.margins, self.x_range
        return round(left + (value - first) / (last - first) * (self.width - left - right), 1)

    def y(self, value: float) -> float:
        """Return where a value of the y axis is drawn."""
        (_, top, _, bottom), (first, last) = self.margins, self.y_range
        return round(self.height - bottom - (value - first) / (last - first) * (self.height - top - bottom), 1)

    def y_axis(self, ticks: Mapping[float, str], *, unit: str = "") -> None:
        """Draw a line of the grid at each tick with its text, and the unit above them."""
        left, top = self.margins[0] - 6, self.margins[1] - 16
        for value, text in ticks.items():
            self.line("grid", [(x, value) for x in self.x_range])
            self._text(left, self.y(value) + 4, text, "end")
        self._text(left, top, unit, "end")

    def x_axis(self, ticks: Mapping[float, str], *, has_grid: bool = False) -> None:
        """Write the text of each tick below the plot, and draw lines of the grid if they are wanted."""
        for value, text in ticks.items():
            if has_grid:
                self.line("grid", [(value, y) for y in self.y_range])
            self._text(self.x(value), self.y(self.y_range[0]) + 18, text, "middle")

    def axis_names(self, across: str, up: str) -> None:
        """Name both axes, below and at the left."""
        middle = sum(map(self.y, self.y_range)) / 2
        self._text(sum(map(self.x, self.x_range)) / 2, self.height - 6, across, "middle")
        turned = Markup('<text x="12" y="{0}" text-anchor="middle" transform="rotate(-90 12 {0})">{1}</text>')
        self._parts.append(turned.format(middle, translated(up)))

    def column(self, start: float, end: float, value: float, tip: str, interval: Sequence[float] | None = None) -> None:
        """Draw a column from 0 to a value, perhaps with a line from one end of an interval to the other."""
        left, right, top = self.x(start), self.x(end), self.y(value)
        whisker = Markup("")
        if interval is not None:
            path = '<path class="whisker" d="M{:.1f} {}V{}"/>'
            whisker = Markup(path).format((left + right) / 2, self.y(interval[0]), self.y(interval[1]))
        shape = Markup('<g><title>{}</title><rect class="column" x="{}" y="{}" width="{:.1f}" height="{:.1f}"/>{}</g>')
        width, height = max(0.5, right - left - 1), self.y(0) - top
        self._parts.append(shape.format(shown(tip), left, top, width, height, whisker))

    def line(self, kind: str, points: Iterable[Point]) -> None:
        """Draw a line through points; its kind is a class of the style sheet."""
        self._path(kind, [(self.x(x), self.y(y)) for x, y in points])

    def dots(self, kind: str, points: Mapping[Point, str]) -> None:
        """Draw a dot at each point, with the text that is shown when it is pointed at."""
        dot = Markup('<circle class="{}" cx="{}" cy="{}" r="2.5"><title>{}</title></circle>')
        self.spots += [(kind, (self.x(x), self.y(y))) for x, y in points]
        self._parts += [dot.format(kind, self.x(x), self.y(y), shown(tip)) for (x, y), tip in points.items()]

    def name(self, text: str, point: Point, *, is_above: bool) -> None:
        """Write the name of a line beside one of its points, at the side of the plot that has room for it."""
        x, is_right = self.x(point[0]), self.x(point[0]) > self.width / 2
        up = -7 if is_above else 15
        self._text(x - 4 if is_right else x + 4, self.y(point[1]) + up, text, "end" if is_right else "start", "strong")

    def mark(self, value: float, text: str) -> None:
        """Draw a line upwards at a value of the x axis, with a text beside it."""
        x, top = self.x(value), self.margins[1]
        self._path("mark", [(x, top), (x, self.y(self.y_range[0]))])
        is_right = x > self.width / 2
        self._text(x - 6 if is_right else x + 6, top + 10, text, "end" if is_right else "start", "strong")

    def svg(self) -> Markup:
        """Return the chart."""
        # Wide charts are shrunk on a phone; the style sheet gives them larger letters there.
        kind = "chart wide" if self.width > 400 else "chart"
        whole = Markup('<svg class="{}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
        return whole.format(kind, self.width, self.height, translated(self.title), Markup("").join(self._parts))

    def _path(self, kind: str, points: list[Point]) -> None:
        self.lines.append((kind, points))
        data = "M" + "L".join(f"{x} {y}" for x, y in points)
        self._parts.append(Markup('<path class="{}" d="{}"/>').format(kind, data))

    def _text(self, x: float, y: float, text: str, anchor: str, kind: str = "") -> None:
        self.texts.append((kind, (x, y), text, anchor))
        label = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        self._parts.append(label.format(kind, x, y, anchor, translated(text)))
