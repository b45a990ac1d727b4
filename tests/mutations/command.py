"""Commands of signprep in this process, as the command line runs them."""

import contextlib
import io
import json
from typing import Any, NoReturn

from signprep.pipeline.cli import main


def run_command(*arguments: str) -> tuple[int, str, str]:
    """Run a command; return its exit code and what it wrote to stdout and stderr. An unexpected error comes through."""
    out, errors = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    assert "Traceback" not in errors.getvalue(), errors.getvalue()
    return code, out.getvalue(), errors.getvalue()


def strict_json(text: str) -> Any:
    """Return a JSON document. Raises ValueError on NaN and infinities, which are no JSON."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)
