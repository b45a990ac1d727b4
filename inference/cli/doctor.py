"""The command `doctor`: what of this machine works, what is slow or missing, and what to do."""

import sys
from dataclasses import dataclass

import click

from signprep.pipeline.cli.options import command, options_of
from signprep.pipeline.options import option
from signprep.pipeline.runtime.text import json_text


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """How the result is told."""

    as_json: bool = option(False, "Print JSON instead of a table, for programs.", name="--json", group="Output")


@command("doctor", short_help="Look whether this machine can do all of it.")
@options_of(DoctorOptions, "options")
def doctor(options: DoctorOptions) -> None:
    """Look whether this machine can do all that signprep does; exit code 1 if something needed is broken.

    \b
    Examples:
      signprep doctor
      signprep doctor --json
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from signprep.pipeline.runtime.doctor import BROKEN, MISSING, OK, SLOW, check_machine
    from signprep.training.doctor import check_training

    checks = [*check_machine(), *check_training()]
    if options.as_json:
        click.echo(json_text([check.to_dict() for check in checks]))
    else:
        marks = {OK: ("ok", "green"), SLOW: ("slow", "yellow"), MISSING: ("missing", "dim"), BROKEN: ("BROKEN", "red")}
        table = Table.grid(padding=(0, 2))
        width = None if sys.stdout.isatty() else 1000  # a command to copy stays on its line
        for check in checks:
            mark, style = marks[check.state]
            found = Text(check.found)
            if check.advice:
                found.append(f"\n{check.advice}", style="bold" if check.state in (SLOW, BROKEN) else "dim")
            table.add_row(Text(mark, style=style), Text(check.name), found)
        console = Console(width=width)
        with console.capture() as printed:
            console.print(table)
        for line in printed.get().splitlines():
            click.echo(line.rstrip())
    if any(check.state == BROKEN for check in checks):
        sys.exit(1)
