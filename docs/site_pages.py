"""Pages of the site that are made from the code when the site is built: a hook of mkdocs, see mkdocs.yml.

One page of each command in each language, from its option dataclasses; one of the functions and classes of
docs/python-api.md, from their docstrings; and the figures of benchmarks/RESULTS.md.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import click

from signprep.pipeline.cli import cli
from signprep.pipeline.cli.command import GROUPS
from signprep.pipeline.cli.help import in_readers_language
from signprep.pipeline.runtime.language import translated

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks"


def command_page(name: str) -> str:
    """Return the page of a command as Markdown: what it does, examples, and a table of options for each group."""
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    text, _, examples = dedent(f"    {command.help or ''}").replace("\b", "").partition("Examples:")
    told_in_paragraphs = (translated(" ".join(paragraph.split())) for paragraph in text.strip().split("\n\n"))
    lines = [f"# signprep {name}", "", escaped("\n\n".join(told_in_paragraphs)), ""]
    if examples:
        lines += ["```sh", dedent(examples).strip(), "```", ""]
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for parameter in command.get_params(click.Context(command, info_name=name)):
        record = parameter.get_help_record(click.Context(command, info_name=name))
        if record is not None:
            names, told = record
            told = escaped(in_readers_language(told).replace("  [", " [")).replace("|", "&#124;")
            groups[getattr(parameter, "group", "Other")].append(f"| `{names}` | {told} |")
    for group, rows in groups.items():
        if rows:
            lines += [f"## {translated(group)}", "", f"| {translated('option')} | |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return text in which Markdown sees no markup but code, as which options are shown."""
    text = re.sub(r"([\\*_<>\[\]])", r"\\\1", text)
    return re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)", r"`\1`", text)


def commands_page() -> str:
    """Return the list of all commands, each with a link."""
    context = click.Context(cli)
    rows = [
        f"| [`signprep {name}`]({name}.md) | {translated(command.short_help or '')} |"
        for name in cli.list_commands(context)
        if (command := cli.get_command(context, name)) is not None
    ]
    return "\n".join(
        [
            f"# {translated('Commands')}",
            "",
            translated("`signprep COMMAND --help` prints the same."),
            "",
            "| | |",
            "| --- | --- |",
            *rows,
        ]
    )


@contextmanager
def read_in(locale: str) -> Iterator[None]:
    """Let what is made in the block be for readers of a language, whatever that of this machine is."""
    before = os.environ.get("LC_ALL")
    os.environ["LC_ALL"] = locale
    try:
        yield
    finally:
        del os.environ["LC_ALL"]
        if before is not None:
            os.environ["LC_ALL"] = before


def python_page() -> str:
    """Return the functions and classes that docs/python-api.md imports, for mkdocstrings to document."""
    told = (ROOT / "docs" / "python-api.md").read_text("utf-8")
    doors = [
        f"{module}.{name.strip()}"
        for module, names in re.findall(r"^from (signprep\S+) import ([\w, ]+)", told, re.M)
        for name in names.split(",")
    ]
    return "\n\n".join(["# Functions and classes", *(f"::: {door}" for door in dict.fromkeys(doors))])


def on_config(config: "MkDocsConfig") -> None:
    """Put the pages of commands, and those in Korean in the order of the English ones, into the navigation."""
    names = cli.list_commands(click.Context(cli))
    commands, commands_ko = (
        [f"{folder}commands/index.md", *({name: f"{folder}commands/{name}.md"} for name in names)]
        for folder in ("", "ko/")
    )
    nav: list[dict[str, Any]] = config.nav or []
    korean: list[Any] = [f"ko/{page}" for page in _pages(nav) if (ROOT / "docs" / "ko" / page).exists()]
    korean.append({"명령": commands_ko})
    made = {"Commands": commands, "한국어": korean}
    config.nav = [{title: made.get(title, pages) for title, pages in section.items()} for section in nav]


def _pages(nav: Any) -> Iterator[str]:
    """Yield the pages of a navigation in their order."""
    if isinstance(nav, str):
        yield nav
    for part in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _pages(part)


def on_files(files: "Files", config: "MkDocsConfig") -> None:
    """Add the pages and the charts of the figures."""
    from mkdocs.structure.files import File

    made = {"python-reference.md": python_page()}
    for folder, locale in (("", "C"), ("ko/", "ko")):
        with read_in(locale):
            made[f"{folder}commands/index.md"] = commands_page()
            for name in cli.list_commands(click.Context(cli)):
                made[f"{folder}commands/{name}.md"] = command_page(name)
    made |= {"results.md": (RESULTS / "RESULTS.md").read_text("utf-8")}
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    for chart in sorted((RESULTS / "results").glob("*.svg")):
        files.append(File.generated(config, f"results/{chart.name}", abs_src_path=str(chart)))


def on_page_markdown(markdown: str, page: "Page", **_: object) -> str:
    """Lead links out of docs/ to the pages that are made of those files; other files are named without a link."""
    depth = page.file.src_uri.count("/")
    up = "../" * depth
    markdown = markdown.replace(f"]({up}../benchmarks/RESULTS.md", f"]({up}results.md")
    return re.sub(rf"\[([^\]]+)\]\({up}\.\./[^)]*\)", r"\1", markdown)
