"""The commands of this floor: `make-sample` and `scan`."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from signprep.pipeline.cli.next_step import as_typed, free_path, next_step
from signprep.pipeline.cli.options import command
from signprep.pipeline.cli.printing import echo, echo_data
from signprep.pipeline.datasets.annotations import DataRootOptions, DatasetOptions
from signprep.pipeline.options import REQUIRED, SampleSpec, ScanOptions, json_option, option, workers_option
from signprep.pipeline.runtime.text import byte_size, counted


@command("make-sample", "Render signing figures with known motion.")
def make_sample(
    spec: SampleSpec,
    out: Path = option(REQUIRED, "The folder that gets video/ and label/.", positional=True, metavar="DIR"),
    workers: int = workers_option(),
) -> None:
    """Render signing figures with known motion to DIR/video and DIR/label, in AIHub's shape.

    \b
    Examples:
      signprep make-sample sample --size 640x360
      signprep make-sample sample --words 60 --views FUDLR --takes 2 --sentences 4
    """
    from signprep.pipeline.datasets.synthetic.dataset import render_dataset

    written = render_dataset(spec, out, workers=workers)
    echo(f"{counted(written.num_videos, 'video')} with labels, {byte_size(written.num_bytes)}, in {out}")
    next_step("scan", "--data-root", out)


@command("scan", "Tell what a data root holds and what is wrong with it.")
def scan(
    roots: DataRootOptions,
    source: DatasetOptions,
    options: ScanOptions,
    landmarks: str | None = option(
        None,
        "Look at landmark files, which stand in videos' place (files), or miss AIHub's keypoints where there are none "
        "(aihub); those that there are, are looked at anyway.",
        choices=("aihub", "files"),
        group="Data",
    ),
    num_shown: int = option(5, "Show this many files of each problem.", name="--show", minimum=0, group="Output"),
    as_json: bool = json_option("Print one JSON document with all files."),
    strict: bool = option(False, "Exit with 1 if there is an error or a warning.", group="Output"),
) -> None:
    """Tell what a data root holds and what is wrong with it, before weeks are spent on it.

    With --train-data-root and --val-data-root, each of the two is scanned by itself, and JSON has both by split.

    \b
    Examples:
      signprep scan --data-root aihub
      signprep scan --data-root aihub --kind WORD --deep --json > scan.json
      signprep scan --data-root poses --landmarks files
    """
    from signprep.pipeline.runtime.terminal import Terminal
    from signprep.pipeline.scan.report import json_report, print_report
    from signprep.pipeline.scan.run import scanned

    if not roots.by_split:
        raise click.UsageError("Missing option '--data-root'.")
    source = replace(source, landmarks=landmarks)
    failing, num_cuts = [], 0
    for number, (split, root) in enumerate(roots.by_split.items()):
        if split and as_json:
            echo_data(f'{"," if number else "{"}"{split}": ', nl=False)
        with scanned(root, source, options) as found:
            if as_json:
                for piece in json_report(found):
                    echo_data(piece, nl=False)
            else:
                width = None if sys.stdout.isatty() else 100
                print_report(found, Terminal(highlight=False, width=width), num_shown=num_shown)
            failing.append(found.num_failing)
            num_cuts += found.num_cuts
    if as_json and "" not in roots.by_split:
        echo_data("}")
    if strict and any(failing):
        sys.exit(1)
    if as_json:
        return
    if num_cuts:
        words = [*as_typed(DataRootOptions), *as_typed(DatasetOptions), *as_typed(["landmarks"])]
        names = dict.fromkeys(root.resolve().stem or "data" for root in roots.by_split.values())
        next_step("build-cache", *words, "--out", free_path(Path(f"{'+'.join(names)}.zarr")))
    elif not any(root.is_file() for root in roots.by_split.values()):  # the rows of a table are to be corrected
        next_step("make-sample", free_path(Path("sample")))
