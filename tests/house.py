"""The figures of the house: modules, folders, arrows between them, and the files that a command runs through.

`python -m tests.house` prints what can be read off the code; with `--walks` it also runs four commands on a small
generated data set and follows them. `tests/test_layout.py` holds the figures that must stay.
"""

import argparse
import ast
import inspect
import statistics
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parent.parent
FLOORS = ("pipeline", "cache_builder", "training", "inference")
NAMESPACE = "signprep."
NOT_COUNTED = {"__init__.py", "__pycache__", "py.typed"}
"""Entries of a folder that nobody has to look for."""
DOORS = ("cache_builder/reader.py", "pipeline/clips.py", "training/loader.py")
"""Files that other people read first, whose closure is printed."""


@dataclass(frozen=True)
class Import:
    """An import of a module of the project: `typing_only` if it stands under TYPE_CHECKING."""

    target: str
    typing_only: bool


@cache
def modules() -> dict[str, Path]:
    """All modules of the product by their dotted name without the namespace: `pipeline.video.demux`."""
    found = {}
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str) -> list[Import]:
    """Imports of a module, those within functions too, each resolved to the module that defines what is imported."""
    found = []

    def visit(node: ast.AST, typing_only: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.body:
                visit(child, True)
            return
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for full in names:
            if full.startswith(NAMESPACE) and (target := _module_of(full.removeprefix(NAMESPACE))):
                found.append(Import(target, typing_only))
        for child in ast.iter_child_nodes(node):
            visit(child, typing_only)

    visit(ast.parse(modules()[name].read_text(encoding="utf-8")), False)
    return [one for one in found if one.target != name]


def _module_of(dotted: str) -> str | None:
    """Return the module that a dotted name is, or lies in."""
    while dotted and dotted not in modules():
        dotted = dotted.rpartition(".")[0]
    return dotted or None


@cache
def arrows(*, with_typing: bool) -> Mapping[str, frozenset[str]]:
    """Modules that each module imports, lazily or not; with those under TYPE_CHECKING if asked."""
    return {
        name: frozenset(one.target for one in imports_of(name) if with_typing or not one.typing_only)
        for name in modules()
    }


def closure(path: str) -> set[str]:
    """Modules that a reader of this file may have to open: what it imports, directly or not, and itself."""
    start = path.removesuffix(".py").replace("/", ".")
    graph, seen, waiting = arrows(with_typing=False), {start}, [start]
    while waiting:
        for target in graph[waiting.pop()] - seen:
            seen.add(target)
            waiting.append(target)
    return seen


def circles(graph: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """Groups of nodes that reach one another, sorted: strongly connected components of two or more (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def connect(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph.get(node, ())):
            if target not in index:
                connect(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], index[target])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            connect(node)
    return sorted(found)


def room_of(name: str) -> str:
    """Return the room of a module within its floor: its folder, or its own name where it lies on the floor itself.

    >>> room_of("cache_builder.remote.push"), room_of("cache_builder.reader")
    ('remote', 'reader')
    """
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def rooms(floor: str) -> dict[str, frozenset[str]]:
    """The rooms of a floor, each with the rooms of the same floor that it imports from."""
    found: dict[str, set[str]] = {}
    for name, targets in arrows(with_typing=True).items():
        if name.split(".")[0] == floor and room_of(name):
            reached = {room_of(target) for target in targets if target.split(".")[0] == floor}
            found.setdefault(room_of(name), set()).update(reached - {room_of(name), ""})
    return {room: frozenset(reached) for room, reached in found.items()}


def entries() -> dict[str, int]:
    """Number of entries of each folder of the product."""
    folders = {path for floor in FLOORS for path in [ROOT / floor, *(ROOT / floor).rglob("*")] if path.is_dir()}
    return {
        str(folder.relative_to(ROOT)): sum(entry.name not in NOT_COUNTED for entry in folder.iterdir())
        for folder in sorted(folders)
        if folder.name != "__pycache__"
    }


def lengths() -> dict[str, int]:
    """Number of lines of each module's file."""
    return {str(path.relative_to(ROOT)): path.read_bytes().count(b"\n") for path in sorted(set(modules().values()))}


@dataclass
class Walk:
    """The files of the product that one run went through, in the order of the functions' first calls."""

    value: str = ""
    """A value to follow: arguments that are it, or a path of that text."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """(file, function), each once."""
    carriers: list[tuple[str, str]] = field(default_factory=list)
    """(file, argument) of each call that was given the followed value, in order."""

    @property
    def num_files(self) -> int:
        """Files that were run."""
        return len({file for file, _ in self.calls})

    @property
    def num_changes(self) -> int:
        """How often the walk went on in another file."""
        files = [file for file, _ in self.calls]
        return sum(one != other for one, other in pairwise(files))

    def follow(self, frame: FrameType, event: str, _: object) -> None:
        """Take note of a call: the hook of `sys.setprofile`."""
        if event != "call":
            return
        code = frame.f_code
        if not code.co_flags & inspect.CO_OPTIMIZED or code.co_name.startswith("<"):
            return  # a module's or a class's body, a comprehension or a lambda
        if (file := _product_file(code.co_filename)) is None:
            return
        call = (file, f"{code.co_qualname}:{code.co_firstlineno}")
        if call not in self._seen:
            self._seen.add(call)
            self.calls.append(call)
        if self.value:
            for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
                value = frame.f_locals.get(name)
                if isinstance(value, str | Path) and str(value) == self.value:
                    self.carriers.append((file, name))

    def __post_init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()


@cache
def _product_file(filename: str) -> str | None:
    path = Path(filename)
    if not path.is_relative_to(ROOT):
        return None
    relative = path.relative_to(ROOT)
    return str(relative) if relative.parts[0] in FLOORS else None


def walk(arguments: list[str], value: str = "") -> Walk:
    """Run a command in this process and follow it, in all its threads."""
    from signprep.pipeline.cli import main

    followed = Walk(value=value)
    threading.setprofile(followed.follow)
    sys.setprofile(followed.follow)
    try:
        main(arguments)
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"signprep {' '.join(arguments)} ended with {end.code}") from end
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return followed


def walks() -> Iterator[tuple[str, Walk]]:
    """Run the four commands whose ways docs/architecture.md tells, and yield each with its walk."""
    with tempfile.TemporaryDirectory() as folder:
        data, cache, runs = f"{folder}/data", f"{folder}/a.zarr", f"{folder}/runs"
        walk(["make-sample", data, "--words", "2", "--signers", "3", "--size", "128x96", "--workers", "1"])
        build = ["build-cache", "--data-root", data, "--out", cache, "--frames", "4", "--size", "32", "--workers", "1"]
        yield "build-cache", walk(build, value=cache)
        train = [
            "train",
            "--cache",
            cache,
            "--num-frames",
            "4",
            "--crop-size",
            "32",
            "--epochs",
            "1",
            "--batch-size",
            "2",
        ]
        yield "train", walk([*train, "--output-dir", runs, "--experiment-name", "a"])
        video = str(next(Path(data).rglob("*.mp4")))
        yield "infer", walk(["infer", "--checkpoint", f"{runs}/a/checkpoints/best.ckpt", "--video-path", video])
        yield "push", walk(["push", cache, f"{folder}/team/a.zarr"])


def print_figures() -> None:
    """Print what can be read off the code."""
    lines = lengths()
    by_floor: Counter[str] = Counter()
    for file, count in lines.items():
        by_floor[file.split("/")[0]] += count
    longest = max(lines, key=lambda file: lines[file])
    fullest = max(entries(), key=lambda folder: entries()[folder])
    print(f"modules            {len(lines)}, of median {statistics.median(lines.values()):.0f} lines")
    floors = ", ".join(f"{floor} {count:,}" for floor, count in by_floor.items())
    print(f"lines              {by_floor.total():,} ({floors})")
    print(f"longest file       {longest}: {lines[longest]} lines")
    print(f"fullest folder     {fullest}: {entries()[fullest]} entries")
    print(f"circles            {len(circles(arrows(with_typing=True)))} of modules")
    for group in circles(arrows(with_typing=True)):
        print(f"                   {', '.join(group)}")
    for floor in FLOORS:
        for group in circles(rooms(floor)):
            print(f"                   rooms of {floor}: {', '.join(group)}")
    for door in DOORS:
        if (ROOT / door).exists():
            print(f"closure            {door}: {len(closure(door))} files")


def print_walks() -> None:
    """Print what runs of four commands go through."""
    for name, way in walks():
        told = f"runs {len(way.calls)} functions in {way.num_files} files, changes file {way.num_changes} times"
        print(f"{name:<18} {told}", end="")
        if way.value:
            files = [file for file, _ in way.carriers]
            entered = [file for before, file in pairwise(["", *files]) if file != before]
            names = ", ".join(sorted({argument for _, argument in way.carriers}))
            modules, returns = len(set(files)), len(entered) - len(set(files))
            print(f"; its output path is in {modules} modules, comes back {returns} times, names {names}", end="")
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--walks", action="store_true", help="also run four commands and follow them")
    asked = parser.parse_args()
    print_figures()
    if asked.walks:
        print_walks()
