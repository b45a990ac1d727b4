"""Commands that make visible what the data is: `inspect` and `play`."""

from dataclasses import dataclass, replace
from pathlib import Path

import click

from signprep.cache_builder.options import Location, ReportOptions, location_option
from signprep.pipeline.cli.options import command, options_of, reject_unused
from signprep.pipeline.datasets.annotations import gloss_file_option
from signprep.pipeline.options import REQUIRED, Options, option
from signprep.pipeline.runtime.text import json_text

_STILLS = (".png", ".jpg", ".jpeg", ".webp")
_MOVING = (".mp4", ".webp")


@dataclass(frozen=True, kw_only=True)
class InspectOptions(Options, group="Output"):
    """What is shown of which cache, and how."""

    cache: Location = location_option(
        REQUIRED, "The folder of the cache, or its URL.", positional=True, aliases=("--cache",)
    )
    as_json: bool = option(False, "Print all counts and findings as JSON, for programs.", name="--json")
    clip: int | None = option(None, "Show the clip at this position and its frames.", metavar="N")
    out: Path | None = option(
        None, "Write the frames of --clip to this file, .png, .jpg or .webp.", aliases=("--output",), metavar="FILE"
    )
    html: Path | None = option(None, "Write a report with moving pictures to this file.", metavar="FILE")

    def __post_init__(self) -> None:
        super().__post_init__()
        if sum((self.as_json, self.html is not None, self.clip is not None)) > 1:
            raise ValueError("--json, --html and --clip are three different results: give one of them")
        if self.out is not None:
            if self.clip is None:
                raise ValueError("--out goes with --clip; a report is written by --html")
            _require_suffix(self.out, _STILLS)


@dataclass(frozen=True, kw_only=True)
class InspectReport:
    """What a report shows, with --html."""

    options: ReportOptions
    glosses: frozenset[str] = gloss_file_option("Show pictures only of the classes that this text file lists.")


@command("inspect", short_help="Show what is in a cache, in text or as a page.")
@options_of(InspectOptions, "options")
@options_of(InspectReport, "report")
def inspect(options: InspectOptions, report: InspectReport) -> None:
    """Show what is in a cache: clips by class, signer, view and split, bytes, failures, and what to look at.

    With --html, as a page to look at: classes as moving contact sheets, balance, coverage, leaks and duplicates, every
    clip with its video and seconds.

    \b
    Examples:
      signprep inspect aihub.zarr
      signprep inspect aihub.zarr --html report.html
      signprep inspect aihub.zarr --html words.html --classes 왼쪽 --classes 오른쪽
      signprep inspect aihub.zarr --clip 12
      signprep inspect aihub.zarr --clip 12 --out frames.png
      signprep inspect s3://team/aihub.zarr --json
    """
    if options.html is None:
        reject_unused(InspectReport, "--html")

    from rich.console import Console

    from signprep.cache_builder import open_cache

    cache = open_cache(options.cache)
    if options.html is not None:
        from signprep.cache_builder.report.page import write_report

        classes = (*report.options.classes, *sorted(report.glosses))
        click.echo(write_report(cache, options.html, replace(report.options, classes=classes)))
    elif options.clip is not None:
        from signprep.cache_builder.report.terminal import show_clip

        show_clip(cache, options.clip, options.out, Console())
    else:
        from signprep.cache_builder.report.clip_table import clip_table
        from signprep.cache_builder.report.findings import index_findings
        from signprep.cache_builder.report.statistics import describe, describe_findings
        from signprep.cache_builder.report.terminal import print_cache

        description, table = describe(cache), clip_table(cache)
        findings = index_findings(table)
        if options.as_json:
            click.echo(json_text(description | describe_findings(table, findings)))
        else:
            print_cache(description, table, findings, Console())


@dataclass(frozen=True, kw_only=True)
class PlayOptions(Options, group="Output"):
    """Which clip becomes which file."""

    cache: Location = location_option(REQUIRED, "The folder of the cache, or its URL.", positional=True)
    position: int = option(REQUIRED, "The position of the clip.", positional=True, metavar="N")
    out: Path = option(REQUIRED, "Write this file, .mp4 or .webp.", aliases=("--output",), metavar="FILE")
    speed: float = option(1.0, "Play so many times as fast; 0.5 is half as fast.", minimum=0.05, maximum=20)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_suffix(self.out, _MOVING)


@command("play", short_help="Write one clip of a cache as a moving picture.")
@options_of(PlayOptions, "options")
def play(options: PlayOptions) -> None:
    """Write the clip at position N of a cache as a moving picture, at the speed of signing.

    \b
    Examples:
      signprep play aihub.zarr 12 --out clip.mp4
      signprep play aihub.zarr 12 --out clip.webp --speed 0.5
    """
    from signprep.cache_builder import open_cache
    from signprep.cache_builder.report.terminal import play_clip

    click.echo(play_clip(open_cache(options.cache), options.position, options.out, options.speed))


def _require_suffix(out: Path, known: tuple[str, ...]) -> None:
    if out.suffix.lower() not in known:
        raise ValueError(f"--out {out} must end in {', '.join(known[:-1])} or {known[-1]}")
