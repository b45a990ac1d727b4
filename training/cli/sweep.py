"""The command `sweep`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from signprep.pipeline.cli.next_step import next_step
from signprep.pipeline.cli.options import command, given
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.options import REQUIRED, check_options, check_types, option
from signprep.pipeline.runtime.installation import require_extra
from signprep.training.cli.train import train
from signprep.training.runtime.run_folder import RUN
from signprep.training.runtime.sweep.options import SweepOptions
from signprep.training.runtime.sweep.space import SETTINGS, Space, read_space

ROWS = 10
"""Trials in the table at the end; trials.csv has all."""


@command("sweep", "Train with many values of options, and find the best ones.")
def sweep(
    *,
    file: Path = option(REQUIRED, "Take options and their ranges from this YAML file.", positional=True),
    options: SweepOptions,
) -> None:
    """Train with many values of options, and find the best ones.

    FILE has options of train, as for `train --config`, some of them with several values: a list to choose from, or a
    range. Optuna draws the values of each trial, which is a run of its own: OUTPUT_DIR/EXPERIMENT_NAME/trial-1, trial-2
    and so on. The same command goes on after Ctrl-C or a kill, and with more --trials. A trial that fails is noted, and
    the sweep goes on. Options below may stand in the file too, under `sweep:`; those that are typed come first.

    \b
    Examples:
      signprep sweep sweep.yaml
      signprep sweep sweep.yaml --trials 50
      signprep sweep sweep.yaml --metric val/mean_class_accuracy --pruner hyperband

    \b
    sweep.yaml, for example:
      data-root: aihub
      epochs: 20
      model-name: [x3d_xs, x3d_s]
      learning-rate: {low: 1e-4, high: 1e-2, log: true}
      batch-size: {low: 4, high: 32, step: 4}
      sweep:
        trials: 30
        metric: val/accuracy
    """
    require_extra("sweep", "optuna")
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.training.runtime.sweep.run import sweep as run_sweep

    space = read_space(file, train)
    options = _with_settings(options, space)
    _require_caches(space)
    study = run_sweep(space, options, train, lambda line: echo(line, err=True))
    best = study.best()
    _print_table(sorted(study.trials(), key=study.rank), space, options)
    echo(f"{space.folder / 'trials.csv'}\n{space.folder / 'sweep.svg'}")
    if best is not None:
        next_step("train", "--config", space.folder / best.name / RUN)


def _with_settings(options: SweepOptions, space: Space) -> SweepOptions:
    """Return the options with those of the file that were not typed. Raises UsageError for what they cannot be."""
    where = f"{space.path}:{space.lines.get(SETTINGS)}: {SETTINGS}"
    known = vars(options)
    settings = {str(name).replace("-", "_"): value for name, value in space.settings.items()}
    unknown = next((name for name in settings if name not in known), None)
    if unknown is not None:
        raise click.UsageError(f"{where} has no option {unknown!r}; expected some of {', '.join(known)}")
    try:
        made = replace(options, **{name: value for name, value in settings.items() if not given([name])})
        check_types(made)
        check_options(made)
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"{where}: {error}") from error
    return made


def _require_caches(space: Space) -> None:
    """Open the caches that trials read. Raises SignprepError if one is not there, or damaged."""
    from signprep.cache_builder import open_cache

    wanted = {str(tried.data.cache): tried.data for tried in space.tried if tried.data.cache is not None}
    for data in wanted.values():
        open_cache(data.cache, stream=data.stream)


def _print_table(trials: list[Any], space: Space, options: SweepOptions) -> None:
    """Print the best trials."""
    from rich.table import Table
    from rich.text import Text

    from signprep.pipeline.runtime.terminal import Terminal
    from signprep.training.runtime.sweep.summary import text_of

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("trial", options.metric, "state", "epochs", *(name.replace("_", "-") for name in space.varied)):
        table.add_column(name, overflow="fold")
    for trial in trials[:ROWS]:
        value = "" if trial.value is None else f"{trial.value:.4g}"
        cells = [trial.name, value, trial.state, str(trial.epochs)]
        cells += [text_of(trial.values.get(name)) for name in space.varied]
        table.add_row(*map(Text, cells))
    Terminal(width=None if sys.stdout.isatty() else 200).print(table)
    if len(trials) > ROWS:
        echo(f"and {len(trials) - ROWS} more in trials.csv")
