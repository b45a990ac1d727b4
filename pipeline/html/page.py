"""A report as one HTML file that needs nothing else: no network, no other file.

In: a Jinja2 template that extends `page.html`, and its values. Out: the page. Names come from label files and from
others' caches, so every value is escaped unless it is Markup. The page's own policy names its one style sheet and its
one script by their hashes: a browser runs and loads nothing else, whatever a name may contain.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from signprep.pipeline.html.charts import bar
from signprep.pipeline.runtime.text import counted

ABSENT = "\N{EN DASH}"
"""Stands in place of a name that nobody knows."""
_KIT = files("signprep.pipeline.html")


class Card(NamedTuple):
    """A main figure, for the macro `cards` of `parts.html`."""

    name: str
    figure: str
    details: Sequence[str]
    """Lines under the figure."""


def render_page(folder: Traversable, template: str, *, scripts: Sequence[str] = (), **values: Any) -> str:
    """Return a page.

    Args:
        folder: of the template and the scripts.
        template: a file's name; it extends `page.html` and may import the macros of `parts.html`.
        scripts: names of files that become one script, in this order.
        values: of the template; `title` and `about`, lines of text under it, are those of the frame.
    """

    def source(name: str) -> str | None:
        file = next((place / name for place in (folder, _KIT) if (place / name).is_file()), None)
        return file.read_text(encoding="utf-8") if file is not None else None

    style = _element_text(_KIT / "style.css")
    script = Markup("\n").join(_element_text(folder / name) for name in scripts)
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash_source(style)}; "
        + (f"script-src {_hash_source(script)}; " if script else "")
        + "base-uri 'none'; form-action 'none'"
    )
    # A value that is missing is an error: a page with a gap in it would look whole.
    environment = Environment(
        loader=FunctionLoader(source), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": "{:,}".format, "known": lambda name: ABSENT if name is None else name}
    environment.globals |= {"bar": bar, "counted": counted}
    frame = {"policy": policy, "style": style, "script": script, "about": ()}
    return environment.get_template(template).render(frame | values)


def _element_text(file: Traversable) -> Markup:
    """Return a style sheet or script, which has nothing that could end its element."""
    text = file.read_text(encoding="utf-8")
    assert "</" not in text, f"{file.name}: could end the element that it is in"
    return Markup(text)


def _hash_source(text: str) -> str:
    """Return a source of a content-security policy that allows this text alone."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
