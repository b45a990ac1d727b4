"""Learning curves of a run: loss and accuracy of training and validation by epoch, as charts of a page and as a PNG.

In: a run's metrics.csv, whose rows a run that goes on keeps, so that its curves are whole. Out: charts, and a picture
drawn from the same charts by Pillow, which training installs.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signprep.pipeline.html.page import Chart, Point, ticks_up_to
from signprep.pipeline.runtime.atomic_files import atomic_write

LINES = ("train", "val")
"""Beginnings of the columns of metrics.csv that are drawn, in the order of the style sheet's colours."""
MOST_DOTS = 60
"""Longer curves have no dots, whose texts tell the figures of an epoch."""
_SCALE, _SMOOTH = 2, 2
"""Pixels of the PNG by one of the chart, and so many times as many before they are averaged."""
_COLOURS = {
    "grid": "#dfe3e6", "line0": "#3b7cc4", "line1": "#e08a3c", "part0": "#3b7cc4", "part1": "#e08a3c",
    "mark": "#1c2024", "": "#5d666f", "strong": "#1c2024",
}  # fmt: skip
"""Colours of the style sheet on a light ground."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A row of metrics.csv."""

    number: int
    step: int
    """Steps of the optimiser up to its end."""
    figures: Mapping[str, float]
    """Finite numbers by column."""


def read_epochs(path: Path) -> list[Epoch]:
    """Return the epochs of a run, none if there is no table; rows that are not whole are passed over."""
    if not path.is_file():
        return []
    found = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            figures = {name: number for name, value in row.items() if name and (number := _number(value)) is not None}
            number, step = figures.pop("epoch", None), figures.pop("step", 0.0)
            if number is not None:
                found.append(Epoch(number=int(number), step=int(step), figures=figures))
    return found


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def best_epoch(epochs: Sequence[Epoch]) -> Epoch | None:
    """Return the first epoch of the highest validation accuracy, whose weights best.ckpt has; None without any."""
    validated = [epoch for epoch in epochs if "val/accuracy" in epoch.figures]
    return max(validated, key=lambda epoch: epoch.figures["val/accuracy"], default=None)


def learning_curves(epochs: Sequence[Epoch]) -> dict[str, Any] | None:
    """Return the values of `curves.html`: a sentence and the charts; None without an epoch that ended."""
    best = best_epoch(epochs)
    if best is None:
        return None
    figures = best.figures
    told = (
        f"The best epoch is {best.number} of {epochs[-1].number}, behind step {best.step:,}: validation accuracy "
        f"{figures['val/accuracy']:.3f}" + (f", loss {figures['val/loss']:.3f}." if "val/loss" in figures else ".")
    )
    return {"told": told, "charts": [(name, chart.svg()) for name, chart in charts(epochs).items()]}


def charts(epochs: Sequence[Epoch]) -> dict[str, Chart]:
    """Return the charts of loss and accuracy, each with a line for training and one for validation."""
    best, numbers = best_epoch(epochs), [epoch.number for epoch in epochs]
    first, last = min(numbers), max(numbers)
    # One epoch stands in the middle.
    x_range = (first - 0.5, last + 0.5) if first == last else (float(first), float(last))
    found = {}
    for name in ("loss", "accuracy"):
        lines = [
            {
                (float(epoch.number), epoch.figures[column]): _tip(epoch, column)
                for epoch in epochs
                if column in epoch.figures
            }
            for column in (f"{part}/{name}" for part in LINES)
        ]
        ticks = ticks_up_to(
            1.0 if name == "accuracy" else max((y for line in lines for _, y in line), default=0) or 1.0
        )
        chart = Chart(title=f"{name.capitalize()} by epoch", x_range=x_range, y_range=(0, max(ticks)))
        chart.width, chart.height, chart.margins = 560, 300, (60, 34, 16, 30)
        chart.y_axis(ticks, unit=name)
        chart.x_axis(_epoch_ticks(first, last))
        if best is not None:
            chart.mark(best.number, f"best: epoch {best.number}")
        _draw_lines(chart, lines)
        found[name.capitalize()] = chart
    return found


def _draw_lines(chart: Chart, lines: Sequence[Mapping[Point, str]]) -> None:
    """Draw the lines of training and validation, each with its name at its end, the higher one's above it."""
    ends = [max(line) if line else None for line in lines]
    trained, validated = (end[1] if end else -math.inf for end in ends)
    is_above = (trained > validated, validated >= trained)
    for number, (line, end) in enumerate(zip(lines, ends, strict=True)):
        if end is None:
            continue
        if len(line) > 1:
            chart.line(f"line{number}", line)
        if len(line) <= MOST_DOTS:
            chart.dots(f"part{number}", line)
        chart.name(("training", "validation")[number], end, is_above=is_above[number])


def _tip(epoch: Epoch, column: str) -> str:
    return f"epoch {epoch.number}, step {epoch.step:,}: {column} {epoch.figures[column]:.4g}"


def _epoch_ticks(first: int, last: int) -> dict[float, str]:
    """Return whole epochs, eight or so, the first and the last among them.

    >>> list(_epoch_ticks(1, 20))
    [1, 5, 10, 15, 20]
    """
    step = next(
        step for power in range(9) for step in (10**power, 2 * 10**power, 5 * 10**power) if last - first <= 8 * step
    )
    inner = [tick for tick in range(step * (first // step + 1), last, step) if last - tick > step / 2 < tick - first]
    return {tick: f"{tick:,}" for tick in sorted({first, *inner, last})}


def write_png(epochs: Sequence[Epoch], path: Path) -> None:
    """Write the charts side by side as a PNG. Raises SignprepError if it cannot be written."""
    from PIL import Image, ImageDraw, ImageFont

    scale, drawn = _SCALE * _SMOOTH, list(charts(epochs).values())
    size = sum(chart.width for chart in drawn), max(chart.height for chart in drawn)
    picture = Image.new("RGB", (size[0] * scale, size[1] * scale), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11 * scale)
    left = 0
    for chart in drawn:
        for kind, points in chart.lines:
            shifted = [((left + x) * scale, y * scale) for x, y in points]
            draw.line(shifted, _COLOURS[kind], scale * (2 if kind.startswith("line") else 1), joint="curve")
        for kind, (x, y) in chart.spots:
            draw.circle(((left + x) * scale, y * scale), 2.5 * scale, _COLOURS[kind])
        for kind, (x, y), text, anchor in chart.texts:
            place = ((left + x) * scale, y * scale)
            draw.text(place, text, _COLOURS[kind], font, anchor={"start": "ls", "middle": "ms", "end": "rs"}[anchor])
        left += chart.width
    smooth = picture.resize((size[0] * _SCALE, size[1] * _SCALE), Image.Resampling.BOX)
    with atomic_write(path) as beside:
        smooth.save(beside, "PNG")
