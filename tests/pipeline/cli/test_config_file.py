"""`--config FILE`: options from a file stand in front of those that are typed, and are checked as these are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from signprep.pipeline.cli.config_file import typed_options
from signprep.pipeline.cli.options import command, given
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class Numbers:
    rate: float = option(0.1, "Set the rate.", above=0)
    num_clips: int = option(3, "Set the number.", aliases=("--clips",))
    view: tuple[str, ...] = option((), "Take this view.")
    strict: bool = option(False, "Stop.")
    quick: bool | None = option(None, "Be quick, or not.")
    out: Path = option(REQUIRED, "Write it.")
    cache: Path | None = option(None, "Read it.", positional=True, aliases=("--cache",))


@command("try", "Try it.", config=True)
def tried(*, numbers: Numbers) -> None:
    """Try it."""
    options = typed_options(click.get_current_context())
    echo(
        json.dumps(
            {**{name: str(value) for name, value in vars(numbers).items()}, "given": given(Numbers), "all": options}
        )
    )


def run(folder: Path, text: str, *typed: str, name: str = "옵션 1.yaml") -> dict[str, Any]:
    (folder / name).write_text(text, "utf-8")
    result = CliRunner().invoke(tried, ["--config", str(folder / name), *typed])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(folder: Path, text: str, *typed: str) -> str:
    (folder / "a.yaml").write_text(text, "utf-8")
    result = CliRunner().invoke(tried, ["--config", str(folder / "a.yaml"), *typed])
    assert result.exit_code == 2, result.output
    return " ".join(result.output.split())


EVERYTHING = """\
# everything
rate: 1.0e-3
num-clips: 7
view: [F, 왼쪽]
strict: true
out: 결과.json
cache: a b.zarr
"""


def test_a_file_has_the_options_of_a_command_line(tmp_path: Path) -> None:
    found = run(tmp_path, EVERYTHING)
    assert {name: found[name] for name in ("rate", "num_clips", "view", "strict", "out", "cache")} == {
        "rate": "0.001", "num_clips": "7", "view": "('F', '왼쪽')", "strict": "True", "out": "결과.json",
        "cache": "a b.zarr",
    }  # fmt: skip
    assert set(found["given"]) == {"--rate", "--num-clips", "--view", "--strict", "--out", "--cache"}


def test_what_is_typed_comes_first(tmp_path: Path) -> None:
    found = run(tmp_path, EVERYTHING, "--rate", "2", "--view", "U", "other.zarr", "--clips=9")
    assert (found["rate"], found["view"], found["cache"], found["num_clips"]) == ("2.0", "('U',)", "other.zarr", "9")
    assert (found["strict"], found["out"]) == ("True", "결과.json")


@pytest.mark.parametrize("name", ["num_clips", "num-clips", "clips"])
def test_hyphens_underscores_and_other_names_are_taken(tmp_path: Path, name: str) -> None:
    assert run(tmp_path, f"out: a\n{name}: 5")["num_clips"] == "5"


@pytest.mark.parametrize(("text", "quick"), [("", "None"), ("quick: true", "True"), ("quick: false", "False")])
def test_a_switch_of_two_sides_is_turned_to_either(tmp_path: Path, text: str, quick: str) -> None:
    found = run(tmp_path, f"out: a\n{text}")
    assert found["quick"] == quick
    assert run(tmp_path, f"out: a\n{text}", "--no-quick")["quick"] == "False"
    record = {"run_version": 1, "command": {"name": "try", "options": found["all"]}}
    assert run(tmp_path, json.dumps(record), name="run.json")["quick"] == quick


def test_what_was_given_is_what_a_record_repeats(tmp_path: Path) -> None:
    first = run(tmp_path, EVERYTHING, "--rate", "2")
    record = {"run_version": 1, "command": {"name": "try", "options": first["all"]}}
    second = run(tmp_path, json.dumps(record), name="run.json")
    assert second == {**first, "given": second["given"]} and set(second["given"]) == set(first["given"])


def test_a_file_of_no_use_is_refused_by_name(tmp_path: Path) -> None:
    assert "a.yaml: try has no option 'rat'" in refused(tmp_path, "rat: 1")
    assert "try has no option 'rat'. Did you mean 'rate'?" in refused(tmp_path, "rat: 1")
    assert "a.yaml: is no file of options: line 1 is not YAML (" in refused(tmp_path, "[1")
    assert "options: line 2 begins with a tab; YAML takes spaces there" in refused(tmp_path, "rate: 1\n\trate: 2")
    assert "holds no options; expected lines such as" in refused(tmp_path, "hello")
    assert "holds no options; expected lines such as" in refused(tmp_path, "")
    assert "a.yaml: rate is [1, 2]; expected one value" in refused(tmp_path, "out: a\nrate: [1, 2]")
    assert "a.yaml: out is true; expected a number, or text in quotes" in refused(tmp_path, "out: yes")
    assert 'a.yaml: view is {"a": 1}; expected' in refused(tmp_path, "out: a\nview: [{a: 1}]")
    assert "--rate" in refused(tmp_path, "out: a\nrate: -1"), "values are checked as typed ones"
    assert "try has no option 'config'" in refused(tmp_path, "config: b.yaml")
    assert "--out" in refused(tmp_path, "rate: 1"), "what is missing is named"
    assert "holds the options of train, not of try" in refused(
        tmp_path, json.dumps({"run_version": 1, "command": {"name": "train", "options": {}}})
    )
    assert "type it again" in refused(tmp_path, json.dumps({"run_version": 1, "options": {}}))
    assert "a.yaml: is no file of options (" in refused(tmp_path, "[" * 5000)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\xd8")
    for path, reason in (
        (tmp_path / "b.yaml", "is no file of options"),
        (tmp_path, "cannot be read"),
        ("x", "cannot be"),
    ):
        result = CliRunner().invoke(tried, ["--config", str(path)])
        assert result.exit_code == 2 and reason in " ".join(result.output.split())


def test_a_value_that_means_nothing_is_told_with_the_file_that_it_is_from(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    told = f"Error: {path}: Invalid value for '--num-clips': 'many' is not a valid integer."
    assert refused(tmp_path, "out: a\nnum-clips: many").endswith(told)
    assert refused(tmp_path, "out: a\nclips: many").endswith(told)
    assert refused(tmp_path, "out: a\nrate: -1").endswith(f"Error: {path}: --rate is -1.0; it must be above 0")
    assert str(path) not in refused(tmp_path, "out: a\nrate: 1", "--num-clips", "many")
    assert str(path) not in refused(tmp_path, "out: a\nnum-clips: 1", "--num-clips", "many")
