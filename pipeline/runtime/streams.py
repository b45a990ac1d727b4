"""The standard streams of a command: closed ones, full ones, and encodings that lack letters."""

import codecs
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from signprep.pipeline.errors import SignprepError

_ESCAPES = "signprep-escapes"


@contextmanager
def usable_streams() -> Iterator[None]:
    r"""Let a command print while the block runs, whatever its standard streams are.

    A letter that a stream's encoding lacks becomes an escape (`\u2588`), which is valid in JSON, too. Raises
    SignprepError if stdout is closed, before the block runs, or if it cannot be written. What stderr does not take is
    lost without a word, then and until the process ends.
    """
    _hold_closed_descriptors()
    stdout = sys.stdout
    if stdout is None:
        raise SignprepError("standard output is closed; redirect it to a file, or to /dev/null")
    codecs.register_error(_ESCAPES, _escaped)
    for stream in (stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPES)
    failed: list[OSError] = []
    for name in ("write", "flush"):
        setattr(stdout, name, _noting_errors(getattr(stdout, name), failed))
        if name not in vars(sys.stderr):  # Work goes on where nobody can read of it.
            setattr(sys.stderr, name, _without_errors(getattr(sys.stderr, name)))
    try:
        try:
            yield
        finally:
            stdout.flush()
    except OSError as error:
        if error not in failed:
            raise
        # What is left would be tried again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(1)  # as `head` asks for
        raise SignprepError(f"standard output cannot be written ({error.strerror})") from error
    finally:
        del stdout.write, stdout.flush


def _noting_errors(method: Callable[..., Any], failed: list[OSError]) -> Callable[..., Any]:
    """Return a stream's method that notes its OSErrors, which look like those of any other file."""

    def noting(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except OSError as error:
            failed.append(error)
            raise

    return noting


def _without_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a stream's method that does nothing where it fails."""

    def forgiving(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except OSError:
            return 0

    return forgiving


def _hold_closed_descriptors() -> None:
    """Open what is closed of descriptors 0 to 2: a file that got such a number would take what libraries print."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""Return the letters that an encoding lacks as escapes of UTF-16, as JSON has them."""
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4)), error.end
