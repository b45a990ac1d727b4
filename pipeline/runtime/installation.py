"""How this copy of signprep was installed, and the command that adds packages to it.

In: what pip and uv write beside an installed package (`direct_url.json`, `INSTALLER`), and what uv and pipx write into
their environments. Out: a command for a shell. The name `signprep` is never given to an index of packages, where it may
be somebody else's: of a copy whose origin is not known, or is gone, the packages are named instead.
"""

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from signprep.pipeline.errors import SignprepError

if TYPE_CHECKING:
    from importlib.metadata import Distribution

NAME = "signprep"
_CACHES_OF_UV = re.compile(r"(archive|environments)-v\d+")
"""Folders of uv's cache that have the environments of `uvx`."""


def require_extra(extra: str, *modules: str) -> None:
    """Raise SignprepError, with the command that installs them, unless all modules of an extra are installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise SignprepError(f"this command needs {', '.join(missing)}, not installed here: {install_extras(extra)}")


def install_extras(*extras: str) -> str:
    """Return the command that adds extras to this copy, from where it came.

    It is `pip install -e '/path[onnx]'` where this copy is a folder that is edited, `pip install 'signprep[onnx] @
    URL'` where it came from a wheel or a repository, and `pip install 'onnx>=1.17' ...` where neither is known.
    Environments of uv and pipx get the commands of theirs.
    """
    from importlib.metadata import distributions  # which errors alone need

    # What a build of packages has left in a folder of the path is a copy by name, too, of no known origin.
    copies = sorted(distributions(name=NAME), key=lambda copy: copy.read_text("METADATA") is None)
    if not copies:  # its folder is on the path, and nothing was installed
        return f"install the packages that pyproject.toml has under {', '.join(extras)}"
    copy = copies[0]
    packages = [*dict.fromkeys(name for extra in extras for name in _packages_of(copy, extra))]
    prefix, origin = Path(sys.prefix), _origin(copy, ",".join(extras))
    if _is_of_pipx(prefix):  # it takes no options of pip's with an extra of the program itself
        return _line("pipx", "inject", prefix.name, *packages)
    if any(_CACHES_OF_UV.fullmatch(part) for part in prefix.parts):
        known = ["--from", origin[-1], NAME] if origin else ["--with", ",".join(packages)]
        return _line("uvx", *known) + " ..."
    if origin and (prefix / "uv-receipt.toml").is_file():
        return _line("uv", "tool", "install", *origin)
    return install_packages(*(origin or packages))


def install_packages(*words: str) -> str:
    """Return the command that installs packages beside this copy; options of pip's may stand before them."""
    prefix = Path(sys.prefix)
    if _is_of_pipx(prefix):
        return _line("pipx", "runpip", prefix.name, "install", *words)
    if not has_pip():
        active = os.environ.get("VIRTUAL_ENV")
        place = [] if active and Path(active) == prefix else ["--python", sys.prefix]
        return _line("uv", "pip", "install", *place, *words)
    found = shutil.which("pip")
    is_ours = found is not None and Path(found).parent == Path(sys.executable).parent
    return _line(*(["pip"] if is_ours else [sys.executable, "-m", "pip"]), "install", *words)


def has_pip() -> bool:
    """Return True if this Python has pip.

    Where setuptools is installed, `importlib.util.find_spec("pip")` takes its distutils away from the whole process: it
    takes the question for pip's start. torch's compiler fails after that.
    """
    return PathFinder.find_spec("pip") is not None


def _is_of_pipx(prefix: Path) -> bool:
    return (prefix / "pipx_metadata.json").is_file()


def _origin(copy: "Distribution", extras: str) -> list[str]:
    """Return the words by which an installer gets this copy with its extras, none if that is not known."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    told = json.loads(copy.read_text("direct_url.json") or "{}")
    url = told.get("url", "")
    path = Path(url2pathname(urlsplit(url).path))
    if url.startswith("file:") and not path.exists():
        return []
    if "dir_info" in told:
        return [*(["-e"] if told["dir_info"].get("editable") else []), f"{path}[{extras}]"]
    if "vcs_info" in told:
        url = f"{told['vcs_info']['vcs']}+{url}@{told['vcs_info']['commit_id']}"
    if "subdirectory" in told:
        url += f"#subdirectory={told['subdirectory']}"
    return [f"{NAME}[{extras}] @ {url}"] if url else []


def _packages_of(copy: "Distribution", extra: str) -> Iterator[str]:
    """Yield what an extra asks for, `onnx>=1.17`."""
    for line in copy.requires or []:
        package, _, condition = line.partition(";")
        if re.search(rf"extra == ['\"]{extra}['\"]", condition):
            yield package.strip()


def _line(*words: str) -> str:
    """Return words as a shell takes them: cmd and PowerShell know double quotes only, or these as well."""
    if os.name != "nt":
        return shlex.join(words)
    return " ".join(f'"{word}"' if re.search(r"[^\w.:/\\-]", word) else word for word in words)
