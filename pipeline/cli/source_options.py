"""The options by which commands choose segments, as one decorator: `build-cache` and `scan` share them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_OPTIONS = [
    click.option("--data-root", type=click.Path(path_type=Path), help="Folder with videos and labels, or a table."),
    click.option(
        "--layout",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "aihub", "table", "classes"]),
        help="classes: GLOSS/clip.mp4.",
    ),
    click.option("--name-pattern", help="Regular expression of base names with groups item, source, signer, view."),
    click.option("--class-by", default="gloss", show_default=True, type=click.Choice(["gloss", "item"])),
    click.option(
        "--attributes",
        default="first",
        show_default=True,
        type=click.Choice(["first", "all"]),
        help="Which glosses of a segment that has several.",
    ),
    click.option("--kind", "kinds", multiple=True, help="WORD, SEN or FS only; repeatable, as the next three."),
    click.option("--source", "sources", multiple=True, help="REAL, SYN or CROWD only."),
    click.option("--view", "views", multiple=True, help="F, U, D, L or R only."),
    click.option("--signer", "signers", multiple=True, help="REAL01 and the like only."),
    click.option("--gloss-file", type=click.Path(path_type=Path), help="Text file of the glosses to take, one a line."),
]
_FIELDS = ("layout", "name_pattern", "class_by", "attributes", "kinds", "sources", "views", "signers")


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which gets `data_root` and `source`: the fields of a DatasetOptions."""

    @functools.wraps(command)
    def with_source(*, gloss_file: Path | None, **options: Any) -> None:
        source = {name: options.pop(name) for name in _FIELDS}
        source |= {name: frozenset(source[name]) for name in ("kinds", "sources", "views", "signers")}
        if gloss_file is not None:
            from signprep.pipeline.datasets.annotations import read_gloss_file

            source["glosses"] = read_gloss_file(gloss_file)
        command(source=source, **options)

    for option in reversed(_OPTIONS):
        with_source = option(with_source)
    return with_source
