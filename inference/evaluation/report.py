"""The report of an evaluation: tables on a terminal, or one HTML file that needs no network.

In: the dictionary of `describe_evaluation`, and the cache for pictures of mistaken clips. Both reports show the same
rows. Names come from label files: they are text, never markup.
"""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.terminal import print_facts
from signprep.pipeline.html.page import Chart, render_page
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import counted, first_of, printable
from signprep.training.report.curves import learning_curves, read_epochs
from signprep.training.report.page import now
from signprep.training.report.parts import (
    CONFUSED_COLUMNS,
    SCRIPTS,
    WEB,
    answer_values,
    cards,
    confused_rows,
    hardest_first,
    headline,
    mistaken_pictures,
    percent,
    several_groups,
    span,
)
from signprep.training.report.settings import data_values, option_values
from signprep.training.runtime.run_folder import CHECKPOINTS_FOLDER, METRICS, RUN, read_run

SHOWN_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
CALIBRATION_COLUMNS = ("", "temperature", "ECE", "NLL", "mean confidence")
MANY = 20
"""Rows of a table of signers, views or sources that are shown; all are in the JSON."""


def remarks(document: dict[str, Any]) -> list[str]:
    """Return what a reader must know to believe the figures."""
    left_out, found = document["left_out"], []
    if left_out["failed"]:
        where = "of the videos could not be cut" if document.get("data_root") else "of the split failed in the build"
        found.append(f"{counted(left_out['failed'], 'clip')} {where}: not evaluated")
    if left_out["removed"]:
        found.append(f"{counted(left_out['removed'], 'row')} of the split were removed from the cache: not evaluated")
    if left_out["unknown_gloss"]:
        names = [f"{gloss} ({clips:,})" for gloss, clips in left_out["unknown_glosses"].items()]
        more = f" and {counted(len(names) - 10, 'other')}" if len(names) > 10 else ""
        clips = counted(left_out["unknown_gloss"], "clip")
        found.append(f"{clips} of glosses that the model does not know, not evaluated: {', '.join(names[:10])}{more}")
    for cache, names in document.get("combined", {"missing": {}})["missing"].items():
        found.append(f"{counted(len(names), 'clip')} not in {cache}, not evaluated: {first_of(names, 10)}")
    if document["split"] == "train":
        found.append("the split is one to train on: its accuracy does not tell of new people")
    if document["takes"] < document["clips"]:
        found.append(
            "clips of one take are correct or wrong together, so intervals over clips are too narrow: "
            "believe those over takes"
        )
    if fitted := document.get("combined", {}).get("fitted"):
        weights, better = ",".join(f"{weight:.3g}" for weight in fitted["weights"]), fitted["better_alone"]
        found.append(
            f"{fitted['file']} has weights {weights}: {percent(fitted['accuracy'])} correct, NLL {fitted['nll']:.4f} "
            f"(alone, {better['checkpoint']}: {percent(better['accuracy'])}, {better['nll']:.4f}); they were fitted on "
            "these clips, which flatters them: measure on another split or another cache"
        )
    if document["calibrated"]:
        found.append(
            "the temperature was fitted on the split that it is measured on, so its ECE and NLL are optimistic: "
            "measure on another split or another cache"
        )
    return found


def facts(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was evaluated, as names and values."""
    combined = document.get("combined")
    answering = [("checkpoint", f"{document['checkpoint']}, {document['model_name']}")]
    if combined:
        answering = [
            (
                "checkpoint",
                f"{one['checkpoint']}, {one['model_name']}: weight {one['weight']:.2f}, alone "
                f"{percent(one['accuracy'])}",
            )
            for one in combined["members"]
        ]
    return [
        *answering,
        ("cache", f"{document['cache']}, split {document['split']}")
        if document["cache"] is not None
        else ("data root", document["data_root"]),
        (
            "evaluated",
            f"{counted(document['clips'], 'clip')} of {counted(document['takes'], 'take')}"
            + (f", by {document['clip_views']} views of each clip" if document["clip_views"] > 1 else ""),
        ),
        ("classes", f"{document['classes']:,}, {document['classes_with_clips']:,} of them with clips"),
    ]


def print_evaluation(document: dict[str, Any], console: Console, *, most: int = 10) -> None:
    """Print an evaluation as tables, with `most` of the hardest glosses and of the most frequent mistakes."""
    print_facts(facts(document), console)
    _table(console, "accuracy", ("", "", "95 % over clips", "95 % over takes"), headline(document))
    if views := document["views"]:
        rows_of_views = [
            ("one view", percent(views["single_view_accuracy"]), "-"),
            ("views averaged", percent(views["averaged_accuracy"]), span(views["averaged_interval"])),
        ]
        title = f"views of {counted(views['performances'], 'performance')}, {counted(views['clips'], 'clip')}"
        _table(console, title, ("", "", "95 %"), rows_of_views)
    for name, groups in several_groups(document):
        _print_groups(console, name, groups)
    if worst := [row for row in hardest_first(document) if row["right"] < row["clips"]][:most]:
        _print_groups(console, "hardest glosses", worst)
    if pairs := confused_rows(document):
        _table(console, f"most frequent mistakes ({len(pairs)})", CONFUSED_COLUMNS, pairs[:most])
    _table(console, "calibration", CALIBRATION_COLUMNS, _calibration_rows(document))
    kept = [
        (f"{row['threshold']:.2f}", percent(row["coverage"]), percent(row["accuracy"]), f"{row['clips']:,}")
        for row in calibrations(document)[-1][1]["coverage"]
        if row["threshold"] in SHOWN_THRESHOLDS
    ]
    _table(console, "predictions at least so sure", ("confidence", "of all clips", "correct of them", "clips"), kept)
    for remark in remarks(document):
        console.print(f"note: {printable(remark)}", markup=False, highlight=False)


def calibrations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the calibration behind an empty name; after a fit, the ones before and after it."""
    now, fitted = document["calibration"], document["calibrated"]
    return [("", now)] if fitted is None else [("before", now), ("after", fitted)]


def _calibration_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the calibrations, as the rows of a table with `CALIBRATION_COLUMNS`."""
    return [
        (name, f"{row['temperature']:.3f}", percent(row["ece"]), f"{row['nll']:.4f}", percent(row["mean_confidence"]))
        for name, row in calibrations(document)
    ]


def _print_groups(console: Console, name: str, rows: Sequence[dict[str, Any]]) -> None:
    lines = [
        (row["value"] or "-", percent(row["accuracy"]), span(row["interval"]), f"{row['right']:,} of {row['clips']:,}")
        for row in rows
    ]
    title = name if len(lines) <= MANY else f"{name} (the first {MANY} of {len(lines):,})"
    _table(console, title, ("", "", "95 % over clips", "correct"), lines[:MANY])


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=any(columns))
    for number, name in enumerate(columns):
        text = number == 0 or name == CONFUSED_COLUMNS[1]
        table.add_column(
            name, justify="left" if text else "right", overflow="fold", min_width=12 if not number else None
        )
    for row in rows:
        table.add_row(*(Text(printable(translated(cell, may_be_name=True))) for cell in row))
    console.print()
    console.print(table)


def write_html(document: dict[str, Any], cache: Cache, path: StrPath) -> None:
    """Write the report of an evaluation of this cache. Raises SignprepError if it cannot be written."""
    path = as_path(path)
    page = html_page(document, mistaken_pictures(document, cache), cache)
    with atomic_write(path) as part:
        part.write_text(page, encoding="utf-8")


def html_page(document: dict[str, Any], pictures: Sequence[str | None], cache: Cache) -> str:
    """Return the page of an evaluation of this cache, with pictures of mistaken clips, as of `mistaken_pictures`.

    Where the checkpoint lies in the folder of its run, the page has the learning curves and the options of that run.
    """
    data = Path(document["cache"] or document["data_root"]).name
    found = calibrations(document)
    run_folder = _run_of(Path(document["checkpoint"]))
    return render_page(
        files("signprep.inference.evaluation"),
        "report.html",
        scripts=SCRIPTS,
        more=[WEB],
        title=f"Evaluation of {Path(document['checkpoint']).name} on {data}",
        about_model=[*((name.capitalize(), value) for name, value in facts(document)), ("Date", now())],
        remarks=remarks(document),
        figures=_cards(document),
        calibration_columns=CALIBRATION_COLUMNS,
        calibrations=[(translated(name or "now"), *numbers) for name, *numbers in _calibration_rows(document)],
        reliability=[(name, reliability_chart(row["bins"], "Reliability diagram")) for name, row in found],
        coverage=coverage_chart(found[-1][1]["coverage"], "Coverage and accuracy"),
        curves=None if run_folder is None else learning_curves(read_epochs(run_folder / METRICS)),
        options=None if run_folder is None else option_values(read_run(run_folder), run_folder / RUN),
        data=data_values(cache),
        **answer_values(document, pictures),
    )


def _run_of(checkpoint: Path) -> Path | None:
    """Return the folder of the run that a checkpoint lies in; None for one that lies elsewhere."""
    folder = checkpoint.parent if checkpoint.parent.name else checkpoint.resolve().parent
    return folder.parent if folder.name == CHECKPOINTS_FOLDER else None


def _cards(document: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Return the main figures, each with its intervals."""
    found = cards(document)
    if views := document["views"]:
        details = [
            f"{span(views['averaged_interval'])} over performances",
            f"{percent(views['single_view_accuracy'])} from one view",
        ]
        found.append(("views averaged", percent(views["averaged_accuracy"]), details))
    return found


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
