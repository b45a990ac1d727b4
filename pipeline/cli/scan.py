"""Commands of this floor: `make-sample` and `scan`."""

import sys
from pathlib import Path
from typing import Any

import click

from signprep.pipeline.cli.options import source_options
from signprep.pipeline.cli.workers_option import workers_option
from signprep.pipeline.runtime.text import byte_size, counted


def parse_frame_size(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """Parse `WIDTHxHEIGHT` into two even numbers of pixels."""
    width, _, height = value.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT, as in 1920x1080")
    size = int(width), int(height)
    if any(side % 2 or not 64 <= side <= 4096 for side in size):
        raise click.BadParameter(f"{value!r}: both sides must be even and between 64 and 4096")
    return size


@click.command("make-sample", short_help="Render signing figures with known motion.")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--words", default=5, show_default=True, type=click.IntRange(1, 200), help="Different signs.")
@click.option(
    "--signers",
    default=6,
    show_default=True,
    type=click.IntRange(1, 18),
    help="Signers; the last two are REAL17 and REAL18, AIHub's validation signers.",
)
@click.option("--views", default="F", show_default=True, help="Camera views, of F, U, D, L and R: `FUDLR` for all.")
@click.option(
    "--takes",
    default=1,
    show_default=True,
    type=click.IntRange(1, 50),
    help="Performances of each sign by each signer, each under a word id of its own.",
)
@click.option(
    "--sentences",
    default=0,
    show_default=True,
    type=click.IntRange(0, 500),
    help="SEN videos a signer, each with several signs.",
)
@click.option(
    "--size",
    "frame_size",
    default="1920x1080",
    show_default=True,
    callback=parse_frame_size,
    help="Width and height of the videos in pixels.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same videos.")
@workers_option
def make_sample(
    out: Path,
    words: int,
    signers: int,
    views: str,
    takes: int,
    sentences: int,
    frame_size: tuple[int, int],
    seed: int,
    workers: int,
) -> None:
    """Render signing figures with known motion to OUT/video and OUT/label, in AIHub's shape.

    \b
    Examples:
      signprep make-sample sample --size 640x360
      signprep make-sample sample --words 60 --views FUDLR --takes 2 --sentences 4
    """
    from signprep.pipeline.synthetic.dataset import SampleSpec, render_dataset

    try:
        spec = SampleSpec(
            words=words,
            signers=signers,
            views=views,
            takes=takes,
            sentences=sentences,
            frame_size=frame_size,
            seed=seed,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    written = render_dataset(spec, out, workers=workers)
    click.echo(f"{counted(written.num_videos, 'video')} with labels, {byte_size(written.num_bytes)}, in {out}")


@click.command("scan", short_help="Tell what a data root holds and what is wrong with it.")
@source_options
@click.option(
    "--frames",
    "num_frames",
    default=16,
    show_default=True,
    type=click.IntRange(1),
    help="Frames a clip: shorter segments are reported.",
)
@click.option(
    "--probe",
    default="all",
    show_default=True,
    type=click.Choice(["all", "sample", "none"]),
    help="Videos to open: 1 to 2 ms each; sample: about 1000.",
)
@click.option("--deep", is_flag=True, help="Decode every frame of the opened videos, to find damage. Slow.")
@click.option("--show", "num_shown", default=5, show_default=True, type=click.IntRange(0), help="Files a problem.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document with all files, on stdout.")
@click.option("--strict", is_flag=True, help="Exit with 1 if there is an error or a warning.")
@workers_option
def scan(
    data_root: Path | None,
    source: dict[str, Any],
    num_frames: int,
    probe: str,
    deep: bool,
    num_shown: int,
    as_json: bool,
    strict: bool,
    workers: int,
) -> None:
    """Tell what a data root holds and what is wrong with it, before weeks are spent on it.

    \b
    Examples:
      signprep scan --data-root aihub
      signprep scan --data-root aihub --kind WORD --deep --json > scan.json
    """
    if data_root is None:
        raise click.UsageError("Missing option '--data-root'.")
    from rich.console import Console

    from signprep.pipeline.datasets.annotations import SourceOptions
    from signprep.pipeline.scan.collect import ScanOptions
    from signprep.pipeline.scan.json_report import json_report
    from signprep.pipeline.scan.report_text import print_report
    from signprep.pipeline.scan.run import scanned

    try:
        options = ScanOptions(num_frames=num_frames, probe=probe, deep=deep, workers=workers)
        source_of = SourceOptions(**source)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with scanned(data_root, source_of, options) as found:
        if as_json:
            for piece in json_report(found):
                click.echo(piece, nl=False)
        else:
            width = None if sys.stdout.isatty() else 100
            print_report(found, Console(highlight=False, width=width), num_shown=num_shown)
        num_failing = found.num_failing
    if strict and num_failing:
        raise click.exceptions.Exit(1)
