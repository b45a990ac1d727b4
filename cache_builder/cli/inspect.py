"""Commands that make visible what the data is: `inspect` and `play`."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import click

from signprep.cache_builder.options import CACHE_ARGUMENT, Location, ReportOptions, location_option
from signprep.pipeline.cli.next_step import as_typed, free_path, next_step
from signprep.pipeline.cli.options import command, reject_unused
from signprep.pipeline.cli.printing import echo, echo_data
from signprep.pipeline.datasets.annotations import gloss_file_option
from signprep.pipeline.options import REQUIRED, json_option, option, out_option, output_option
from signprep.pipeline.runtime.text import json_text

_STILLS = (".png", ".jpg", ".jpeg", ".webp")
_MOVING = (".mp4", ".webp")
_LANDMARKS = location_option(
    None,
    "Draw the points of this cache of landmarks over the pictures, those of the clips with the same segment id.",
    metavar="NAME.zarr",
    group="Output",
)


@command("inspect", "Show what is in a cache, in text or as a page.")
def inspect(
    *,
    cache: Location = location_option(REQUIRED, "The folder of the cache, or its URL.", **CACHE_ARGUMENT),
    as_json: bool = json_option("Print all counts and findings as JSON, for programs."),
    clip: int | None = output_option(None, "Show the clip at this position and its frames."),
    out: Path | None = out_option("Write the frames of --clip to this file, .png, .jpg or .webp."),
    html: Path | None = output_option(None, "Write a report with moving pictures to this file.", metavar="FILE"),
    glosses: frozenset[str] = gloss_file_option("Show pictures only of the classes that this text file lists."),
    landmarks: Location | None = _LANDMARKS,
    report: ReportOptions,
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
      signprep inspect aihub.zarr --clip 12 --out frames.png
      signprep inspect aihub.zarr --html report.html --landmarks aihub-landmarks.zarr
      signprep inspect s3://team/aihub.zarr --json
    """
    if sum((as_json, html is not None, clip is not None)) > 1:
        raise click.UsageError("--json, --html and --clip are three different results: give one of them")
    if out is not None:
        if clip is None:
            raise click.UsageError("--out goes with --clip; a report is written by --html")
        _require_suffix(out, _STILLS)
    if html is None:
        reject_unused(ReportOptions, "--html")
        reject_unused(["glosses"], "--html")
    if landmarks is not None and html is None and clip is None:
        raise click.UsageError("--landmarks goes with --html or --clip: text and JSON have no pictures")

    from signprep.cache_builder import open_cache
    from signprep.pipeline.runtime.terminal import Terminal

    opened = open_cache(cache)
    if html is not None:
        from signprep.cache_builder.report.page import write_report

        classes = (*report.classes, *sorted(glosses))
        echo(write_report(opened, html, replace(report, classes=classes, landmarks=landmarks)))
        next_step("train", cache)
    elif clip is not None:
        from signprep.cache_builder.report.terminal import show_clip

        show_clip(opened, clip, out, Terminal(), landmarks)
        next_step("play", cache, clip, *as_typed(["landmarks"]), "--out", free_path(Path(f"{_name(cache)}-{clip}.mp4")))
    else:
        from signprep.cache_builder.report.clip_table import clip_table
        from signprep.cache_builder.report.findings import index_findings
        from signprep.cache_builder.report.statistics import describe, describe_findings
        from signprep.cache_builder.report.terminal import print_cache

        description, table = describe(opened), clip_table(opened)
        findings = index_findings(table)
        if as_json:
            echo_data(json_text(description | describe_findings(table, findings)))
        else:
            print_cache(description, table, findings, Terminal())
            next_step("inspect", cache, "--html", free_path(Path(f"{_name(cache)}.html")))


@command("play", "Write one clip of a cache as a moving picture.")
def play(
    cache: Location = location_option(REQUIRED, "The folder of the cache, or its URL.", positional=True),
    position: int = option(REQUIRED, "The position of the clip.", positional=True, metavar="N"),
    out: Path = out_option("Write this file, .mp4 or .webp.", REQUIRED),
    speed: float = output_option(1.0, "Play so many times as fast; 0.5 is half as fast.", minimum=0.05, maximum=20),
    landmarks: Location | None = _LANDMARKS,
) -> None:
    """Write the clip at position N of a cache as a moving picture, at the speed of signing.

    \b
    Examples:
      signprep play aihub.zarr 12 --out clip.mp4
      signprep play aihub.zarr 12 --out clip.webp --speed 0.5
    """
    _require_suffix(out, _MOVING)
    from signprep.cache_builder import open_cache
    from signprep.cache_builder.report.terminal import play_clip

    echo(play_clip(open_cache(cache), position, out, speed, landmarks))
    next_step("inspect", cache, *as_typed(["landmarks"]), "--html", free_path(Path(f"{_name(cache)}.html")))


def _name(cache: Location) -> str:
    """Return the name of a cache without its ending."""
    return PurePosixPath(cache).stem if isinstance(cache, str) else (cache.resolve().stem or "cache")


def _require_suffix(out: Path, known: tuple[str, ...]) -> None:
    if out.suffix.lower() not in known:
        raise click.UsageError(f"--out {out} must end in {', '.join(known[:-1])} or {known[-1]}")
