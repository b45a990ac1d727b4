"""Run benchmarks: `python -m benchmarks [--list] [--toy] [name ...]`, all of them by default.

A benchmark is a module of this package with a function `run(*, toy: bool)` that prints its tables; with `toy` it runs
in seconds, as the tests do, and its figures mean nothing.
"""

import argparse
import importlib
import pkgutil
from types import ModuleType

import benchmarks


def find_benchmarks() -> dict[str, ModuleType]:
    """Return the modules of this package that have a `run`, by name."""
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in sorted(names)}
    return {name: module for name, module in modules.items() if hasattr(module, "run")}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare signprep with its peers.")
    parser.add_argument("names", nargs="*", help="benchmarks to run; all by default")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--toy", action="store_true", help="tiny sizes: that it runs, not how fast")
    arguments = parser.parse_args()
    found = find_benchmarks()
    unknown = set(arguments.names) - set(found)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; choose from {', '.join(found)}")
    for name in arguments.names or found:
        summary = (found[name].__doc__ or "").strip().split("\n", 1)[0]
        print(f"{name}: {summary}")
        if not arguments.list:
            found[name].run(toy=arguments.toy)


if __name__ == "__main__":
    main()
