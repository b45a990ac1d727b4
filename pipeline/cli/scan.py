"""The commands of this floor: `make-sample` and `scan`."""

import sys
from dataclasses import dataclass
from pathlib import Path

import click

from signprep.pipeline.cli.options import command, options_of
from signprep.pipeline.datasets.annotations import DataRootOptions, DatasetOptions
from signprep.pipeline.options import REQUIRED, Options, option, workers_option
from signprep.pipeline.runtime.text import byte_size, counted
from signprep.pipeline.scan.options import ScanOptions
from signprep.pipeline.synthetic.options import SampleSpec


@dataclass(frozen=True, kw_only=True)
class SampleOutput:
    """Where a generated data set goes, and who makes it."""

    out: Path = option(REQUIRED, "The folder that gets video/ and label/.", positional=True, metavar="DIR")
    workers: int = workers_option()


@command("make-sample", short_help="Render signing figures with known motion.")
@options_of(SampleOutput, "output")
@options_of(SampleSpec, "spec")
def make_sample(output: SampleOutput, spec: SampleSpec) -> None:
    """Render signing figures with known motion to DIR/video and DIR/label, in AIHub's shape.

    \b
    Examples:
      signprep make-sample sample --size 640x360
      signprep make-sample sample --words 60 --views FUDLR --takes 2 --sentences 4
    """
    from signprep.pipeline.synthetic.dataset import render_dataset

    written = render_dataset(spec, output.out, workers=output.workers)
    click.echo(f"{counted(written.num_videos, 'video')} with labels, {byte_size(written.num_bytes)}, in {output.out}")


@dataclass(frozen=True, kw_only=True)
class ScanOutput(Options, group="Output"):
    """How the result of a scan is told."""

    num_shown: int = option(5, "Show this many files of each problem.", name="--show", minimum=0)
    as_json: bool = option(False, "Print one JSON document with all files.", name="--json")
    strict: bool = option(False, "Exit with 1 if there is an error or a warning.")


@command("scan", short_help="Tell what a data root holds and what is wrong with it.")
@options_of(DataRootOptions, "roots")
@options_of(DatasetOptions, "source")
@options_of(ScanOptions, "options")
@options_of(ScanOutput, "output")
def scan(roots: DataRootOptions, source: DatasetOptions, options: ScanOptions, output: ScanOutput) -> None:
    """Tell what a data root holds and what is wrong with it, before weeks are spent on it.

    With --train-data-root and --val-data-root, each of the two is scanned by itself, and JSON has both by split.

    \b
    Examples:
      signprep scan --data-root aihub
      signprep scan --data-root aihub --kind WORD --deep --json > scan.json
    """
    if not roots.by_split:
        raise click.UsageError("Missing option '--data-root'.")
    failing = []
    for number, (split, root) in enumerate(roots.by_split.items()):
        if split and output.as_json:
            click.echo(f'{"," if number else "{"}"{split}": ', nl=False)
        failing.append(_scan_one(root, source, options, output))
    if output.as_json and "" not in roots.by_split:
        click.echo("}")
    if output.strict and any(failing):
        raise click.exceptions.Exit(1)


def _scan_one(root: Path, source: DatasetOptions, options: ScanOptions, output: ScanOutput) -> int:
    """Print the scan of one data root; return how many errors and warnings it has."""
    from rich.console import Console

    from signprep.pipeline.scan.report import json_report, print_report
    from signprep.pipeline.scan.run import scanned

    with scanned(root, source, options) as found:
        if output.as_json:
            for piece in json_report(found):
                click.echo(piece, nl=False)
        else:
            width = None if sys.stdout.isatty() else 100
            print_report(found, Console(highlight=False, width=width), num_shown=output.num_shown)
        return found.num_failing
