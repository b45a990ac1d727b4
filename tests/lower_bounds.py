"""Whether the lower bounds of pyproject.toml are true: the oldest versions that it allows go the whole way.

    python -m tests.lower_bounds                 installs them into .venv/lower-bounds, and goes the way there
    python -m tests.lower_bounds --only base     those without extras: caches are made, and nothing is trained
    python -m tests.lower_bounds --constraints   prints them as pip's constraints, and does nothing else

What signprep asks for is held at its bound; what that asks for in turn is the newest that fits. Extras that need a
newer torch than training does get an environment of their own, and export in it; the one before is deleted, since old
releases of torch bring CUDA's libraries along: some gigabytes. A bound that cannot be installed, or with which a step
fails, is untrue: what pip or the step says is printed, and the exit code is 1. CI goes the way without extras on each
change; the others take gigabytes and many minutes, and run before a release.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / ".venv" / "lower-bounds"

_IMPORT_ALL = """
import importlib, pkgutil, signprep
names = [module.name for module in pkgutil.walk_packages(signprep.__path__, "signprep.")]
for name in names:
    importlib.import_module(name)
print(len(names), "modules are imported")
"""
BEST = "outputs/sign_language_classification/checkpoints/best.ckpt"
_CACHES = """
doctor
make-sample DATA --words 2 --signers 3 --size 160x96 --keypoints
scan --data-root DATA
build-cache --data-root DATA --out a.zarr --frames 4 --size 64
build-cache --data-root DATA --out l.zarr --landmarks aihub
verify a.zarr --deep
inspect a.zarr --html report.html
push a.zarr team
pull team b.zarr
diff a.zarr b.zarr
"""
WAY = f"""{_CACHES}
train a.zarr --epochs 1 --num-frames 2 --crop-size 32
evaluate a.zarr --checkpoint {BEST}
infer DATA/video --checkpoint {BEST} --output-path found.json
export --checkpoint {BEST} --out sign.pt
train l.zarr --epochs 1 --num-frames 4 --experiment-name landmarks
"""
"""Commands of signprep, in a folder of their own; each must succeed."""
_TRAINED = """
make-sample DATA --words 2 --signers 3 --size 160x96
build-cache --data-root DATA --out a.zarr --frames 4 --size 64
train a.zarr --epochs 1 --num-frames 4 --crop-size 64
"""
EXPORTS = {
    "onnx": f"""{_TRAINED}
export --checkpoint {BEST} --out sign.onnx
infer DATA/video --checkpoint sign.onnx --output-path found.json
export --checkpoint {BEST} --out int8.onnx --int8 --cache a.zarr
infer DATA/video --checkpoint int8.onnx --output-path int8.json
""",
    "executorch": f"""{_TRAINED}
export --checkpoint {BEST} --out sign.pte
infer DATA/video --checkpoint sign.pte --output-path found.json
""",
}
"""Extras that need a newer torch, and their ways: written, held against the checkpoint, and asked for answers."""


def lower_bounds(project: dict[str, Any], extras: list[str]) -> Iterator[str]:
    """Yield `name==bound` for what a pyproject.toml's project and these of its extras ask for.

    The highest bound of a package counts. Where that of torch is not training's, torchvision has none: each release of
    it fits one of torch.

    >>> project = {"dependencies": ["av>=16.1"], "optional-dependencies": {"a": ["x>=1,<2"], "b": ["x>=1.10"]}}
    >>> list(lower_bounds(project, ["a", "b"]))
    ['av==16.1', 'x==1.10']
    """
    bounds: dict[str, list[str]] = {}
    for line in [
        *project["dependencies"],
        *(line for name in extras for line in project["optional-dependencies"][name]),
    ]:
        asked = Requirement(line)
        if asked.name == project.get("name"):  # extras of its own
            continue
        found = [part.version for part in asked.specifier if part.operator in (">=", "==")]
        if len(found) != 1:
            raise SystemExit(f"pyproject.toml: {line!r} has no lower bound")
        bounds.setdefault(asked.name + (f"; {asked.marker}" if asked.marker else ""), []).extend(found)
    if len(bounds.get("torch", [])) > 1:
        bounds.pop("torchvision", None)
    for name, versions in bounds.items():
        package, mark, marker = name.partition(";")
        yield f"{package}=={max(versions, key=Version)}{mark}{marker}"


def succeeded(command: list[str], folder: Path) -> bool:
    """Run a command; print it, and the end of what it wrote if it failed."""
    print(shlex.join([Path(command[0]).name, *command[1:]])[:110].replace("\n", " "), flush=True)
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        print(f"{done.stdout[-3000:]}\nFAILED with exit code {done.returncode}", flush=True)
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lower_bounds", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--constraints", action="store_true", help="print pip's constraints and end")
    parser.add_argument("--only", choices=["base", "training", *EXPORTS], help="go one of the ways")
    asked = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    others = [name for name in project["optional-dependencies"] if name not in (*EXPORTS, "all")]
    ways: dict[str, tuple[list[str], str]] = {"base": ([], _CACHES), "training": (others, WAY)}
    ways |= {name: (["train", name], way) for name, way in EXPORTS.items()}
    good = True
    for name, (extras, way) in ways.items():
        if asked.only in (None, name):
            constraints = "\n".join(lower_bounds(project, extras))
            print(f"# {name}\n{constraints}", flush=True)
            good = asked.constraints or (go(way, extras, constraints) and good)
    return int(not good)


def go(way: str, extras: list[str], constraints: str) -> bool:
    """Install extras at their bounds into a new environment, and run commands there; return whether all succeeded."""
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    python = str(ENVIRONMENT / "bin" / "python")
    with tempfile.TemporaryDirectory(prefix="signprep-lower-bounds-") as name:
        folder = Path(name)
        (folder / "constraints.txt").write_text(constraints, encoding="utf-8")
        install = [python, "-m", "pip", "install"]
        asked = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
        bounded = ["--constraint", str(folder / "constraints.txt"), "--editable", asked]
        steps = [
            [*install, "--upgrade", "pip>=25.1"],
            [*install, *bounded],
            *([[python, "-c", _IMPORT_ALL]] if way == WAY else []),
            *([str(Path(python).with_name("signprep")), *shlex.split(line)] for line in way.split("\n") if line),
        ]
        return all(succeeded(step, folder) for step in steps)


if __name__ == "__main__":
    sys.exit(main())
