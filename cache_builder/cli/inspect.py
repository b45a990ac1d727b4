"""Commands that make visible what the data is: `inspect` and `play`."""

from pathlib import Path

import click

from signprep.cache_builder.remote.location import LOCATION, Location
from signprep.pipeline.runtime.text import json_text

_STILLS = (".png", ".jpg", ".jpeg", ".webp")
_MOVING = (".mp4", ".webp")


@click.command("inspect", short_help="Show what is in a cache, in text or as a page.")
@click.argument("cache_path", metavar="CACHE", type=LOCATION)
@click.option("--json", "as_json", is_flag=True, help="All counts and findings as JSON, for programs.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a report with moving pictures, one file.")
@click.option("--classes", multiple=True, metavar="GLOSS", help="With --html: pictures of this class only; repeatable.")
@click.option("--gloss-file", type=click.Path(path_type=Path), help="As --classes: a text file of glosses, one a line.")
@click.option("--clips-per-class", type=click.IntRange(min=0), help="With --html: pictures of each class; else 4.")
@click.option(
    "--compare", type=click.IntRange(min=0), help="With --html: clips compared with one another; else up to 30,000."
)
@click.option("--clip", type=int, metavar="N", help="Show the clip at this position and its frames.")
@click.option("--output", type=click.Path(path_type=Path), help="With --clip: its frames as FILE.png, .jpg or .webp.")
def inspect(
    cache_path: Location,
    as_json: bool,
    html: Path | None,
    classes: tuple[str, ...],
    gloss_file: Path | None,
    clips_per_class: int | None,
    compare: int | None,
    clip: int | None,
    output: Path | None,
) -> None:
    """Show what is in a cache: clips by class, signer, view and split, bytes, failures, and what to look at.

    With --html, as a page to look at: classes as moving contact sheets, balance, coverage, leaks and duplicates, every
    clip with its video and seconds.

    \b
    Examples:
      signprep inspect aihub.zarr
      signprep inspect aihub.zarr --html report.html
      signprep inspect aihub.zarr --html words.html --classes 왼쪽 --classes 오른쪽
      signprep inspect aihub.zarr --clip 12
      signprep inspect aihub.zarr --clip 12 --output frames.png
      signprep inspect s3://team/aihub.zarr --json
    """
    if sum((as_json, html is not None, clip is not None)) > 1:
        raise click.UsageError("--json, --html and --clip are three different answers: give one of them")
    if html is None and (classes or gloss_file or clips_per_class is not None or compare is not None):
        raise click.UsageError("--classes, --gloss-file, --clips-per-class and --compare go with --html")
    if output is not None:
        if clip is None:
            raise click.UsageError("--output goes with --clip; a report is written by --html")
        _require_suffix(output, _STILLS)

    from rich.console import Console

    from signprep.cache_builder import open_cache

    cache = open_cache(cache_path)
    if html is not None:
        from signprep.cache_builder.options import ReportOptions
        from signprep.cache_builder.report.report import write_report

        if gloss_file is not None:
            from signprep.pipeline.datasets.annotations import read_gloss_file

            classes = (*classes, *sorted(read_gloss_file(gloss_file)))
        options = ReportOptions(classes=classes, clips_per_class=clips_per_class, compare=compare)
        click.echo(write_report(cache, html, options))
    elif clip is not None:
        from signprep.cache_builder.report.terminal import show_clip

        show_clip(cache, clip, output, Console())
    else:
        from signprep.cache_builder.report.clip_table import clip_table
        from signprep.cache_builder.report.findings import index_findings
        from signprep.cache_builder.report.statistics import describe, describe_findings
        from signprep.cache_builder.report.terminal import print_cache

        description, table = describe(cache), clip_table(cache)
        findings = index_findings(table)
        if as_json:
            document = description | describe_findings(table, findings)
            click.echo(json_text(document))
        else:
            print_cache(description, table, findings, Console())


@click.command("play", short_help="Write one clip of a cache as a moving picture.")
@click.argument("cache_path", metavar="CACHE", type=LOCATION)
@click.argument("position", metavar="N", type=int)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="File to write, CLIP.mp4 or CLIP.webp.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.05, 20), help="0.5 is half as fast.")
def play(cache_path: Location, position: int, output: Path, speed: float) -> None:
    """Write the clip at position N of a cache as a moving picture, at the speed of signing.

    \b
    Examples:
      signprep play aihub.zarr 12 --output clip.mp4
      signprep play aihub.zarr 12 --output clip.webp --speed 0.5
    """
    _require_suffix(output, _MOVING)

    from signprep.cache_builder import open_cache
    from signprep.cache_builder.report.terminal import play_clip

    click.echo(play_clip(open_cache(cache_path), position, output, speed))


def _require_suffix(output: Path, known: tuple[str, ...]) -> None:
    if output.suffix.lower() not in known:
        raise click.UsageError(f"--output {output} must end in {', '.join(known[:-1])} or {known[-1]}")
