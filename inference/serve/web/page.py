"""The page as one text, made once: it asks the server that it came from, and nothing else."""

from functools import cache
from importlib.resources import files

from signprep.pipeline.html.page import render_page

_SCRIPTS = ("base.js", "words.js", "ask.js", "signs.js", "files.js", "camera.js", "start.js")


@cache
def page_text() -> str:
    """Return the page."""
    return render_page(
        files("signprep.inference.serve.web"), "serve.html", scripts=_SCRIPTS, connects=True, title="signprep"
    )
