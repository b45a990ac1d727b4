"""The last line of a command: what can be typed next, as it stands.

It goes to stderr, and is left out where programs read: with `--json`, and in commands that a command calls.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Sequence
from pathlib import Path

import click

from signprep.pipeline.cli.config_file import words_of
from signprep.pipeline.cli.options import given_parameters
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.runtime.text import printable

_KEY = re.compile(r"://[^/]*:[^/]*@|://.*\?", re.DOTALL)
"""A password in a URL, or the query of a signed one."""


def next_step(*words: object, program: str | None = None) -> None:
    """Print `next:` and a command of signprep, or of another program, with its words quoted for the shell.

    Nothing is printed if a word is a URL with a key, or cannot be typed.
    """
    texts = [
        f".{os.sep}{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words
    ]
    typed = [_program() if program is None else program, *texts]
    line = subprocess.list2cmdline(typed) if os.name == "nt" else shlex.join(typed)
    if printable(line) == line and not any(map(_KEY.search, texts)):
        echo(f"next: {line}", err=True, whole=True)


def as_typed(options: type | Sequence[str] | None = None, *, without: Collection[str] = ()) -> list[str]:
    """Return those options of the running command that were given, as they can be typed again.

    Args:
        options: a dataclass of options, or names of fields; None for all of the command.
        without: names of fields that are left out.
    """
    context = click.get_current_context()
    return [word for found in given_parameters(options, without) for word in words_of(found, context)]


def free_path(wanted: Path) -> Path:
    """Return a path where nothing is yet: the one that is wanted, or with a number behind its name.

    >>> free_path(Path("nothing-of-this-name.zarr")).name
    'nothing-of-this-name.zarr'
    """
    path, number = wanted, 1
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return path


def _program() -> str:
    """Return how this copy of signprep is called: by its name if the shell finds it, or by its path."""
    scripts = Path(sysconfig.get_path("scripts"))
    ours = [Path(sys.argv[0]).absolute(), scripts / "signprep", scripts / "signprep.exe"]
    there = [path for path in ours if path.stem == "signprep" and path.is_file()]
    on_path = shutil.which("signprep")
    if not there or (on_path is not None and any(path.samefile(on_path) for path in there)):
        return "signprep"
    return str(there[0])
