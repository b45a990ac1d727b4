"""The site that `make docs` builds: every option is in it, and its Korean pages have what the English ones have."""

import re
from pathlib import Path

import click
import pytest

from docs.site_pages import command_page, commands_page, python_page
from signprep.pipeline.cli import cli
from tests.test_documents import commands_of

ROOT = Path(__file__).parents[1]
KOREAN = sorted((ROOT / "docs" / "ko").glob("*.md"))
COMMANDS = cli.list_commands(click.Context(cli))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_a_command_has_every_option_that_its_help_shows(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    page = command_page(name)
    context = click.Context(command)
    shown = [record for option in command.params if (record := option.get_help_record(context)) is not None]
    assert shown
    for names, _ in shown:
        rows = [line for line in page.splitlines() if line.startswith(f"| `{names}` | ")]
        assert len(rows) == 1, f"{name} {names}: {rows}"
        assert len(rows[0].removeprefix(f"| `{names}`").split("|")) == 3, "a sign in it ends its cell"
    assert f"({name}.md)" in commands_page()


def test_the_page_of_python_has_the_functions_of_the_guide() -> None:
    assert "::: signprep.cache_builder.open_cache" in python_page()
    assert "::: signprep.inference.videos.live.LiveRecognizer" in python_page()


def structure_of(document: Path) -> dict[str, list[object]]:
    """What a translation has in common with its original: headings' depths, blocks of code, rows of tables, figures."""
    text = document.read_text("utf-8")
    blocks = re.findall(r"^```.*?^```", text, re.M | re.S)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return {
        "headings": [len(marks) for marks in re.findall(r"^(#+) ", prose, re.M)],
        "blocks": [block.splitlines()[0] for block in blocks],
        "rows": [len(re.findall(r"(?<!\\)\|", row)) for row in re.findall(r"^\|.*\|$", prose, re.M)],
        "options": sorted(set(re.findall(r"--[a-z][a-z-]+", prose))),
    }


@pytest.mark.parametrize("document", KOREAN, ids=lambda path: path.stem)
def test_a_page_in_korean_has_what_the_english_one_has(document: Path) -> None:
    original = ROOT / "docs" / document.name
    assert structure_of(document) == structure_of(original)
    assert commands_of(document) == commands_of(original)


def test_the_citation_names_the_version_of_the_project() -> None:
    told = re.findall(r"^version[ =:]+\"?([\d.]+)\"?$", (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    cited = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    assert told == cited and len(cited) == 1
