"""The house: floors and rooms import downwards only, rooms stay small, the command line is lazy.

`python -m tests.house` prints the same figures; docs/architecture.md shows the picture.
"""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from signprep.pipeline.cli import COMMANDS, cli, main
from tests import house
from tests.lower_bounds import lower_bounds

ROOT = Path(__file__).parent.parent
FLOORS = ["pipeline", "cache_builder", "training", "inference"]
TORCH = {"torch", "torchvision", "lightning", "pytorchvideo", "torchmetrics"}
MODULES = [path for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))]


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_floor_imports_only_itself_and_floors_below(path: Path) -> None:
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    above = {f"signprep.{name}" for name in FLOORS[floor + 1 :]}
    found = {".".join(name.split(".")[:2]) for name in imported_names(path)}
    assert not found & above
    if floor < FLOORS.index("training"):
        assert not {name.split(".")[0] for name in found} & TORCH


ROOMS = {
    "pipeline": [
        "errors", "options", "clip_spec", "runtime", "html", "video", "clips", "datasets", "landmarks", "scan", "cli",
    ],
    "cache_builder": [
        "options", "format", "folder", "reader", "reopened", "remote", "building", "edit", "report", "export", "cli",
    ],
    "training": [
        "config", "runtime", "report", "model_spec", "data", "loader", "transforms", "model", "callbacks", "run", "cli",
    ],
    "inference": [
        "options", "recognizer", "combination", "timeline", "videos", "prediction", "evaluation", "export",
        "open_model", "serve", "cli",
    ],
}  # fmt: skip
"""Rooms of each floor, lowest first: a room imports only from rooms before it."""
MOST_ENTRIES = 11
MOST_LINES = 400
LARGEST_CLOSURES = {"cache_builder/reader.py": 15, "pipeline/clips.py": 15, "training/loader.py": 30}
"""Files that somebody who reads this one may have to open, itself included."""


@pytest.mark.parametrize("floor", FLOORS)
def test_a_room_imports_only_rooms_before_it(floor: str) -> None:
    order = ROOMS[floor]
    found = house.rooms(floor)
    assert found.keys() == set(order)
    upwards = {
        f"{room} imports {other}"
        for room, others in found.items()
        for other in others
        if order.index(other) > order.index(room)
    }
    assert not upwards


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert house.circles(house.arrows(with_typing=True)) == []


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}
    assert house.circles({node: frozenset(targets) for node, targets in graph.items()}) == [["a", "b", "c"]]


def test_a_folder_holds_what_a_head_can_hold() -> None:
    assert {folder: count for folder, count in house.entries().items() if count > MOST_ENTRIES} == {}


def test_no_file_is_long() -> None:
    assert {file: count for file, count in house.lengths().items() if count > MOST_LINES} == {}


@pytest.mark.parametrize(("door", "most"), LARGEST_CLOSURES.items())
def test_a_door_is_read_with_few_files_open(door: str, most: int) -> None:
    assert len(house.closure(door)) <= most


@pytest.mark.parametrize("folder", house.entries())
def test_a_folder_says_what_belongs_there(folder: str) -> None:
    module = house.modules().get(folder.replace("/", "."))
    if module is None:  # files of a page
        assert not list((ROOT / folder).glob("*.py"))
        return
    assert ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))


def test_what_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = {name for name in re.findall(r"`([\w./-]+)`", text) if "/" in name}
    assert {name for name in named if not (ROOT / name).exists()} == set()
    rooms = re.findall(r"^\| `(\w+)` \| (.*) \|$", text, flags=re.MULTILINE)
    assert {floor: set(re.findall(r"`(\w+)`", told)) for floor, told in rooms} == {
        floor: set(order) for floor, order in ROOMS.items()
    }


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    found = done.stdout.splitlines()[-1].split()
    return {*found, *(name.split(".")[0] for name in found)}


def test_help_imports_nothing_heavy() -> None:
    code = """
from signprep.pipeline.cli import COMMANDS, cli
for arguments in [["--help"], *([name, "--help"] for name in COMMANDS)]:
    cli.main(arguments, standalone_mode=False)
"""
    heavy = TORCH | {"numpy", "zarr", "pyarrow", "av", "joblib", "numcodecs", "rich", "yaml", "urllib.request"}
    assert not modules_after(code) & heavy


def test_the_cache_opens_without_torch_and_zarr() -> None:
    assert not modules_after("from signprep.cache_builder import open_cache; open_cache") & (TORCH | {"zarr"})


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output and f"signprep {name}" in result.output


def test_all_that_is_asked_for_has_one_lower_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = list(lower_bounds(project, list(project["optional-dependencies"])))
    assert len(bounds) > 30 and all("==" in bound for bound in bounds)


def test_underscores_are_accepted_in_options_and_commands() -> None:
    result = CliRunner().invoke(cli, ["build_cache", "--data_root", "/nowhere", "--out", "x", "--clip_duration", "no"])
    assert result.exit_code == 2
    assert "'no' is not a valid float" in result.output


def test_an_unknown_command_is_named() -> None:
    result = CliRunner().invoke(cli, ["biuld-cache"])
    assert result.exit_code == 2
    assert "No such command 'biuld-cache'. Did you mean 'build-cache'?" in result.output


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scan", "데이터"], "(데이터); it is given as --data-root DIR"),
        (["build-cache", "a.zarr", "--out", "b.zarr"], "(a.zarr); it is given as --data-root DIR"),
        (["live", "--checkpoint", "best.ckpt", "talk.mp4"], "(talk.mp4); it is given as --source FILE"),
        (["verify", "a.zarr", "b.zarr"], "unexpected extra argument (b.zarr)\n"),
    ],
)
def test_what_is_given_by_name_is_said_to_be(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2 and told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_of_openmp_spin_briefly_unless_the_user_says_otherwise(
    given: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_ctrl_c_is_one_line_and_the_exit_code_of_shells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("signprep.pipeline.datasets.synthetic.dataset.render_dataset", pressed)
    with pytest.raises(SystemExit) as exit_:
        main(["make-sample", "nowhere"])
    assert exit_.value.code == 130 and capsys.readouterr().err.strip() == "signprep: stopped"
