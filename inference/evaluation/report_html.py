"""The report of an evaluation as one HTML file that needs nothing else: no network, no script.

In: the dictionary of `describe_evaluation`, and the cache for pictures of mistaken clips. Out: a file.
"""

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.pictures import animated_webp, clip_frames, clip_seconds
from signprep.inference.evaluation.report_text import (
    CALIBRATION_COLUMNS,
    CONFUSED_COLUMNS,
    calibration_rows,
    calibrations,
    confused_rows,
    facts,
    headline,
    percent,
    remarks,
    several_groups,
    span,
    worst_glosses,
)
from signprep.pipeline.html.page import Card, Chart, render_page
from signprep.pipeline.runtime.atomic_files import atomic_write

SHOWN_MISTAKES, SHOWN_ROWS = 24, 30
PICTURE_SIDE, PICTURE_FRAMES, PICTURE_QUALITY = 160, 16, 55


def write_html(document: dict[str, Any], cache: Cache, path: Path) -> None:
    """Write the report of an evaluation of this cache. Raises SignprepError if it cannot be written."""
    mistaken = document["mistaken"][:SHOWN_MISTAKES]
    pictures = [_moving_picture(cache, row["position"]) for row in mistaken]
    with atomic_write(path) as part:
        part.write_text(html_page(document, pictures), encoding="utf-8")


def _moving_picture(cache: Cache, position: int) -> str:
    """Return a clip as the data URI of a WebP that repeats without end."""
    frames = clip_frames(cache, cache.read([position])[0], most=PICTURE_FRAMES, side=PICTURE_SIDE)
    data = animated_webp(frames, clip_seconds(cache, position), PICTURE_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(data).decode("ascii")


def html_page(document: dict[str, Any], pictures: Sequence[str]) -> str:
    """Return the page.

    Args:
        document: of `describe_evaluation`.
        pictures: data URIs of the first mistaken clips.
    """
    data = Path(document["cache"] or document["data_root"]).name
    groups = [(f"By {name}", rows) for name, rows in several_groups(document)]
    if worst := worst_glosses(document):
        groups.append(("Hardest glosses", worst))
    found = calibrations(document)
    return render_page(
        files("signprep.inference.evaluation"),
        "report.html",
        title=f"Evaluation of {Path(document['checkpoint']).name} on {data}",
        about_model=[(name.capitalize(), value) for name, value in facts(document)],
        remarks=remarks(document),
        figures=_cards(document),
        groups=groups,
        shown_rows=SHOWN_ROWS,
        calibration_columns=CALIBRATION_COLUMNS,
        calibrations=[(name or "now", *numbers) for name, *numbers in calibration_rows(document)],
        reliability=[(name, reliability_chart(row["bins"], "Reliability diagram")) for name, row in found],
        coverage=coverage_chart(found[-1][1]["coverage"], "Coverage and accuracy"),
        confused_columns=CONFUSED_COLUMNS,
        confused=confused_rows(document)[:SHOWN_ROWS],
        mistaken=list(zip(document["mistaken"], pictures, strict=False)),
        percent=percent,
        span=span,
    )


def _cards(document: dict[str, Any]) -> list[Card]:
    """Return the main figures, each with its intervals."""
    cards = [
        Card(name, share, [f"{ends} over {of}" for ends, of in ((by_clip, "clips"), (by_take, "takes")) if ends != "-"])
        for name, share, by_clip, by_take in headline(document)
    ]
    if views := document["views"]:
        details = [
            f"{span(views['averaged_interval'])} over performances",
            f"{percent(views['single_view_accuracy'])} from one view",
        ]
        cards.append(Card("views averaged", percent(views["averaged_accuracy"]), details))
    return cards


def reliability_chart(bins: Sequence[dict[str, Any]], title: str) -> Markup:
    """Return accuracy by confidence: columns with 95 % intervals, and the diagonal of a model that can be believed."""
    chart = _percent_chart(title, "confidence (%)", "accuracy (%)")
    for row in bins:
        if row["clips"]:
            tip = f"{row['clips']:,} clips, confidence {row['confidence']:.3f}, accuracy {row['accuracy']:.3f}"
            chart.column(row["from"], row["to"], row["accuracy"], tip, row["interval"])
    chart.line("ideal", [(0, 0), (1, 1)])
    return chart.svg()


def coverage_chart(rows: Sequence[dict[str, Any]], title: str) -> Markup:
    """Return two lines over the confidence that is asked for: the share of clips that have it, and their accuracy."""
    chart = _percent_chart(title, "confidence, at least (%)", "share (%)")
    for place, name in enumerate(("coverage", "accuracy")):
        points = [(row["threshold"], row[name]) for row in rows if row[name] is not None]
        chart.line(f"line{place}", points)
        chart.dots(f"part{place}", {(x, y): f"{name} {y:.3f} at {x:.2f}" for x, y in points})
    return chart.svg()


def _percent_chart(title: str, across: str, up: str) -> Chart:
    """Return axes from 0 to 100 %."""
    chart = Chart(title=title, width=340, height=300, margins=(44, 12, 12, 44))
    ticks = {tenths / 10: str(tenths * 10) for tenths in range(0, 11, 2)}
    chart.y_axis(ticks)
    chart.x_axis(ticks, has_grid=True)
    chart.axis_names(across, up)
    return chart
