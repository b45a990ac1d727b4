"""What came of a sweep: trials.csv, a picture, and the rows of the table that is printed.

The picture, sweep.svg, has the value of each trial with the best one up to there, and below it, for each option that
trials differ in, the values of the metric over those of the option.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from signprep.pipeline.html.page import Chart, Point
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.text import json_text
from signprep.training.runtime.sweep.options import SweepOptions
from signprep.training.runtime.sweep.space import Choices, Range, Space
from signprep.training.runtime.sweep.study import COMPLETE, FAILED, TrialRecord

TRIALS, PICTURE = "trials.csv", "sweep.svg"
WIDTH, HEIGHT, COLUMNS = 640, 220, 2
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#5d666f}.grid{stroke:#dfe3e6;fill:none}"
    ".best{stroke:#2563a8;fill:none;stroke-width:2}.complete{fill:#3b7cc4}.pruned{fill:none;stroke:#8a9299}"
    ".title{font-size:14px;fill:#1c2024}"
)
_LONGEST_LABEL = 12
"""Letters of a choice below an axis."""


def shown(values: Mapping[str, Any]) -> str:
    """Return the values of a trial as they are typed.

    >>> shown({"learning_rate": 0.00123456, "model_name": "x3d_xs"})
    'learning-rate 0.001235, model-name x3d_xs'
    """
    return ", ".join(f"{name.replace('_', '-')} {text_of(value)}" for name, value in values.items())


def text_of(value: Any, *, exact: bool = False) -> str:
    """Return a value in a few letters, or all of a number's."""
    if isinstance(value, float):
        return repr(value) if exact else f"{value:.4g}"
    return value if isinstance(value, str) else json_text(value, indent=None)


def write_summary(folder: Path, trials: Sequence[TrialRecord], space: Space, options: SweepOptions) -> None:
    """Write the table of all trials, and the picture."""
    names = [name.replace("_", "-") for name in space.varied]
    with atomic_write(folder / TRIALS) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["trial", options.metric, "state", "epochs", *names, "error"])
        for trial in trials:
            values = [text_of(trial.values.get(name), exact=True) for name in space.varied]
            value = "" if trial.value is None else f"{trial.value:.6g}"
            table.writerow([trial.name, value, trial.state, trial.epochs, *values, trial.error])
    with atomic_write(folder / PICTURE) as beside:
        beside.write_text(picture(trials, space, options), encoding="utf-8")


def picture(trials: Sequence[TrialRecord], space: Space, options: SweepOptions) -> str:
    """Return the picture as SVG that needs nothing else."""
    known = [trial for trial in trials if trial.value is not None and trial.state != FAILED]
    values = [trial.value for trial in known if trial.value is not None] or [0.0]
    margin = max(1e-3, (max(values) - min(values)) * 0.08)
    y_range = (min(values) - margin, max(values) + margin)
    charts = [_history(known, len(trials), y_range, options)]
    charts += [_slice(name, varied, known, y_range) for name, varied in space.varied.items()]
    placed, top = [], 30
    for place, chart in enumerate(charts):
        column = (place - 1) % COLUMNS if place else 0
        shape = Markup('<g transform="translate({} {})">{}</g>')
        placed.append(shape.format(column * WIDTH // COLUMNS, top, _inner(chart)))
        top += HEIGHT if not place or column == COLUMNS - 1 or place == len(charts) - 1 else 0
    title = f"{space.folder.name}: {options.metric} of {len(trials)} trials"
    whole = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}">'
        '<style>{2}</style><rect width="{0}" height="{1}" fill="#fff"/>'
        '<text class="title" x="12" y="20">{3}</text>{4}</svg>\n'
    )
    return str(whole.format(WIDTH, top + 10, Markup(_STYLE), title, Markup("").join(placed)))


def _inner(chart: Chart) -> Markup:
    """Return a chart as a part of a larger picture, where it has its own size."""
    return Markup('<svg width="{}" height="{}" ').format(chart.width, chart.height) + chart.svg()[len("<svg ") :]


def _history(trials: Sequence[TrialRecord], num_trials: int, y_range: Point, options: SweepOptions) -> Chart:
    last = max(1, num_trials)
    chart = Chart(
        title="values of trials", width=WIDTH, height=HEIGHT, margins=(52, 16, 16, 44), x_range=(0.5, last + 0.5),
        y_range=y_range,
    )  # fmt: skip
    _value_axis(chart)
    step = max(1, last // 10)
    chart.x_axis({number: str(number) for number in range(step, last + 1, step)})
    chart.axis_names("trial", options.metric)
    better = min if options.is_lower_better else max
    best, points = None, list[Point]()
    for trial in trials:
        if trial.state == COMPLETE and trial.value is not None:
            before, best = best, trial.value if best is None else better(best, trial.value)
            points += [(trial.number, best if before is None else before), (trial.number, best)]
    if best is not None:
        chart.line("best", [*points, (last + 0.5, best)])
    _dots(chart, [(trial, trial.number) for trial in trials])
    return chart


def _slice(name: str, varied: Range | Choices, trials: Sequence[TrialRecord], y_range: Point) -> Chart:
    if isinstance(varied, Choices):
        places = {text_of(value): float(place) for place, value in enumerate(varied.values)}
        ticks = {place: text[:_LONGEST_LABEL] for text, place in places.items()}
        x_range = (-0.5, len(places) - 0.5)
        where = [(trial, places[text_of(trial.values[name])]) for trial in trials if name in trial.values]
    else:
        scale = math.log10 if varied.log else float
        x_range, middle = (scale(varied.low), scale(varied.high)), (scale(varied.low) + scale(varied.high)) / 2
        ticks = {scale(varied.low): text_of(varied.low), scale(varied.high): text_of(varied.high)}
        ticks[middle] = f"{10**middle if varied.log else middle:.3g}"
        where = [(trial, scale(trial.values[name])) for trial in trials if name in trial.values]
    chart = Chart(
        title=name, width=WIDTH // COLUMNS, height=HEIGHT, margins=(52, 16, 22, 44), x_range=x_range, y_range=y_range
    )
    _value_axis(chart)
    chart.x_axis(ticks)
    chart.axis_names(name.replace("_", "-") + (" (log)" if isinstance(varied, Range) and varied.log else ""), "")
    _dots(chart, where)
    return chart


def _value_axis(chart: Chart) -> None:
    low, high = chart.y_range
    chart.y_axis({low + (high - low) * share: f"{low + (high - low) * share:.3g}" for share in (0.1, 0.5, 0.9)})


def _dots(chart: Chart, places: Sequence[tuple[TrialRecord, float]]) -> None:
    """Draw a dot a trial; hollow ones were ended early."""
    for kind in {trial.state for trial, _ in places}:
        points = {
            (place, trial.value): f"{trial.name}: {trial.value:.4g}; {shown(trial.values)}"
            for trial, place in places
            if trial.state == kind and trial.value is not None
        }
        chart.dots("complete" if kind == COMPLETE else "pruned", points)
