"""The packages are built, checked and used as somebody would who has only them.

    python -m tests.from_wheel           and then `signprep demo`, in an environment that has nothing but the wheel
    python -m tests.from_wheel --quick   without the demo

What git tracks is copied, so that nothing else of this folder gets into a package: an sdist, the wheel that is built
from it, and the same wheel built by the Dockerfile's commands, which run here without Docker, in a folder that stands
for the container's root. What fails is printed, and the exit code is 1. `dist/` has the packages at the end.
"""

import argparse
import fnmatch
import os
import re
import shlex
import shutil
import string
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = ("pipeline", "cache_builder", "training", "inference")
PLACES = ("/opt", "/source", "/tmp/dist", "/data")
"""Folders of the container that commands name."""
RUN_HERE = ("python", "pip", "signprep")
"""Programs whose commands are run; others are the container's own matter, such as its users."""
TORCH_INDEX = "https://pypi.org/simple"
"""In place of the index of CPU builds, which not every machine reaches; the variable TORCH_INDEX names another."""


@dataclass
class Container:
    """What a Dockerfile's lines have come to so far, with a folder in place of the container's root."""

    root: Path
    source: Path
    """The folder that is the context."""
    context: list[str]
    """Files of it that COPY may see."""
    arguments: dict[str, str]
    """Values of ARG that are not the defaults."""
    variables: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    entry: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    def here(self, text: str) -> str:
        """Return text in which the container's folders are those below `root`."""
        return re.sub(rf"(?<![\w/.-])({'|'.join(PLACES)})(?=[/\s\"]|$)", rf"{self.root}\1", text)

    def run(self, command: str) -> None:
        """Run a command of a shell, unless it is of another program than those of RUN_HERE."""
        if shlex.split(command)[0] not in RUN_HERE:
            self.not_run.append(command)
            return
        folder = Path(self.here(self.folder))
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{command[:150]}", flush=True)
        subprocess.run(["/bin/sh", "-c", self.here(command)], cwd=folder, env=self.environment(), check=True)

    def environment(self) -> dict[str, str]:
        """Return the variables of this machine, with those of the container, and no other environment of Python.

        What is installed is compiled when it is imported: most of it never is, here.
        """
        others = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        return others | {"PIP_QUIET": "1", "PIP_COMPILE": "0"} | self.variables

    def copy(self, words: list[str]) -> None:
        """Copy files of the context, `COPY FILE... FOLDER`; what another stage made is there already."""
        if words[0].startswith("--from="):
            return
        *sources, target = words
        for name in self.context:
            if "." in sources or name in sources:
                path = Path(self.here(self.folder)) / target / name
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.source / name, path)


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction of a Dockerfile and what follows it, continued lines joined.

    >>> list(instructions("# a comment\\nRUN pip \\\\\\n  install x\\nUSER 1000\\n"))
    [('RUN', 'pip install x'), ('USER', '1000')]
    """
    lines = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", lines).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def follow(dockerfile: str, container: Container) -> None:
    """Do what a Dockerfile says, as far as it goes without Docker. Raises CalledProcessError if a command fails."""
    for name, rest in instructions(dockerfile):
        if name == "ARG":
            key, _, default = rest.partition("=")
            container.variables[key] = container.arguments.get(key, default)
        elif name == "ENV":
            known = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | container.variables
            line = string.Template(container.here(rest)).safe_substitute(known)
            values = (word.partition("=") for word in shlex.split(line))
            container.variables |= {key: value for key, _, value in values}
        elif name == "WORKDIR":
            container.folder = rest
        elif name == "COPY":
            container.copy(shlex.split(rest))
        elif name == "RUN":
            container.run(rest)
        elif name == "ENTRYPOINT":
            container.entry = [word.strip(' "') for word in rest.strip("[]").split(",")]


def tracked() -> list[str]:
    """Return the files that git tracks, or would if they were added, relative to the project's folder."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [name for name in names if name and (ROOT / name).is_file()]


def is_in_context(name: str, patterns: list[str]) -> bool:
    """Return whether .dockerignore lets a file through: the last pattern that fits it or a folder above decides."""
    inside = True
    for pattern in patterns:
        words = pattern.removeprefix("!").removeprefix("**/")
        parents = [name, *(str(parent) for parent in Path(name).parents)]
        if any(fnmatch.fnmatch(path, words) or Path(path).name == words for path in parents):
            inside = pattern.startswith("!")
    return inside


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel but its list of them."""
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist() if not name.endswith("/RECORD")}


def faults_of(wheel: Path, twin: Path, names: list[str]) -> Iterator[str]:
    """Yield what is wrong with a wheel: files of the product that it lacks, others that it has, another twin."""
    found = contents(wheel)
    expected = {f"signprep/{name}" for name in names if name.startswith(tuple(f"{floor}/" for floor in FLOORS))}
    inside = {name for name in found if ".dist-info/" not in name}
    yield from (f"the wheel lacks {name}" for name in sorted(expected - inside))
    yield from (f"the wheel has {name}, which is no file of the product" for name in sorted(inside - expected))
    if found != contents(twin):
        yield "the sdist builds another wheel than the folder does"


def build(folder: Path, names: list[str]) -> Path:
    """Build dist/ from a copy of the tracked files; return the wheel, which is built from the sdist."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    out = ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, folder], check=True, stdout=subprocess.DEVNULL)
    packages = sorted(map(str, out.iterdir()))
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *packages], check=True)
    [wheel] = out.glob("*.whl")
    return wheel


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.from_wheel", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="do not run the demo")
    asked = parser.parse_args()
    started, names = time.monotonic(), tracked()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    with tempfile.TemporaryDirectory(prefix="signprep-wheel-", dir="/var/tmp") as name:
        container = Container(
            Path(name) / "root",
            Path(name) / "source",
            [name for name in names if is_in_context(name, patterns)],
            {"TORCH_INDEX": os.environ.get("TORCH_INDEX", TORCH_INDEX), "EXTRAS": "train"},
        )
        wheel = build(container.source, names)
        follow((ROOT / "Dockerfile").read_text(encoding="utf-8"), container)
        [twin] = Path(container.here("/tmp/dist")).glob("*.whl")
        faults = list(faults_of(wheel, twin, names))
        print(*faults, f"built and installed in {time.monotonic() - started:.0f} s", sep="\n", flush=True)
        container.run(shlex.join([*container.entry, "--version"]))
        if not asked.quick:
            container.run(shlex.join([*container.entry, "demo"]))
        print("not run without Docker:", *container.not_run, flush=True)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
