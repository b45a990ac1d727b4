"""The option `--workers` of commands that work in several processes."""

import click


def _parse_workers(ctx: click.Context, param: click.Parameter, value: int) -> int:
    """Accept -1 and positive numbers of processes."""
    if value < 1 and value != -1:
        raise click.BadParameter(f"{value} is neither -1, for all cores, nor at least 1")
    return value


workers_option = click.option(
    "--workers",
    default=-1,
    show_default=True,
    callback=_parse_workers,
    help="Processes of this machine; -1 for all cores.",
)
