"""What is installed: a clear word where a command needs an extra that is not."""

from importlib.util import find_spec

from signprep.pipeline.errors import SignprepError


def require_extra(extra: str, *modules: str) -> None:
    """Raise SignprepError, with the command that helps, unless all these modules are installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise SignprepError(
            f"this command needs {', '.join(missing)}, not installed here: pip install 'signprep[{extra}]'"
        )
