"""Run benchmarks: `python -m benchmarks [--list] [--toy | --full] [--results FILE] [name ...]`, all of them by default.

A benchmark is a module of this package with a function `run(size)` that prints its tables. Medium sizes take 15 minutes
together on two cores that have nothing else to do; with `--toy` it runs in seconds, as the tests do, and its figures
mean nothing. What takes minutes and has no peer (`FULL_ONLY`) is left to `--full`, or to its name. Videos are rendered
once and shared. `--results` writes a Markdown file, and a folder of charts beside it that has the file's name.
"""

import argparse
import ast
import json
import os
import pkgutil
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks._results import Section, write_results
from benchmarks._size import FOLDER_VARIABLE, Size

FULL_ONLY = {"costs", "crop", "live", "recipe", "recognition", "serve", "shared_cores", "timeline"}


def find_benchmarks() -> dict[str, str]:
    """Return the modules of this package that are benchmarks with what they say of themselves; none is imported."""
    names = (module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    sources = {name: Path(benchmarks.__path__[0], f"{name}.py") for name in sorted(names) if not name.startswith("_")}
    return {
        name: ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "" for name, source in sources.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare signprep with its peers.")
    parser.add_argument("names", nargs="*", help="benchmarks to run; all by default")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--toy", action="store_true", help="tiny sizes: that it runs, not how fast")
    sizes.add_argument("--full", action="store_true", help="large sizes: an hour or so")
    parser.add_argument("--results", type=Path, help="Markdown file to write; its charts go to a folder beside it")
    arguments = parser.parse_args()
    found = find_benchmarks()
    unknown = set(arguments.names) - set(found)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(found)}")
    if arguments.results is not None and arguments.results.suffix != ".md":
        parser.error(f"--results {arguments.results}: expected the name of a Markdown file, which ends in .md")
    names = arguments.names or [name for name in found if name not in FULL_ONLY or arguments.full]
    if arguments.list:
        for name in arguments.names or found:
            print(f"{name}: {first_line(found[name])}")
        return 0
    size = Size.TOY if arguments.toy else Size.FULL if arguments.full else Size.MEDIUM
    sections = []
    with tempfile.TemporaryDirectory(prefix="signprep-bench-") as folder:
        for name in names:
            print(f"{name}: {first_line(found[name])}", flush=True)
            sections.append(run_one(name, found[name], size, Path(folder)))
    print(f"{sum(section.seconds for section in sections) / 60:.1f} minutes in all")
    if arguments.results is not None:
        command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
        write_results(arguments.results, sections, command=command, size=size)
        print(f"written to {arguments.results}")
    return int(any(section.error for section in sections))


def first_line(docstring: str) -> str:
    return docstring.split("\n", 1)[0]


def run_one(name: str, docstring: str, size: Size, folder: Path) -> Section:
    """Run a benchmark in a process of its own, and print how long it took."""
    recorded = folder / f"{name}.json"
    load, started = _load(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks._one", name, size, str(recorded)],
        env=os.environ | {FOLDER_VARIABLE: str(folder)},
        check=False,
    )
    seconds = time.perf_counter() - started
    values: dict[str, Any] = {"error": f"ended with exit code {done.returncode}"}
    if recorded.is_file():
        values = json.loads(recorded.read_text(encoding="utf-8"))
    print(f"  {seconds:.0f} s" + (f"; FAILED: {values['error']}" if values["error"] else ""), flush=True)
    return Section(name=name, docstring=docstring, seconds=seconds, load=load, **values)


def _load() -> float:
    """Return how many programs wanted a core in the last minute; NaN where the system does not count them."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


if __name__ == "__main__":
    sys.exit(main())
