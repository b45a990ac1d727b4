"""The report of an evaluation on a terminal, and the rows of its tables, which the page has too.

In: the dictionary of `describe_evaluation`. Out: tables on a console. Names come from label files: text, never markup.
"""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from signprep.pipeline.runtime.text import counted, printable

SHOWN_THRESHOLDS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
CONFUSED_COLUMNS = ("correct gloss", "predicted", "times", "of clips")
CALIBRATION_COLUMNS = ("", "temperature", "ECE", "NLL", "mean confidence")
MANY = 20
"""Rows of a table of signers, views or sources that are shown; all are in the JSON."""


def percent(share: float | None) -> str:
    """Return a share as people read it.

    >>> percent(0.8768), percent(None)
    ('87.7 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def span(interval: Sequence[float] | None) -> str:
    """Return an interval.

    >>> span((0.49, 0.943))
    '49.0 to 94.3'
    """
    return "-" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}"


def headline(document: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the main figures: name, share, interval over clips, interval over takes."""
    figures = document["figures"]
    named = {"top 1": figures["top_1"]}
    if figures["top_k"]:
        named[f"top {figures['top_k']['k']}"] = figures["top_k"]
    named["mean over classes"] = figures["mean_over_classes"]
    if document["homonyms"]:
        named["homonyms as one"] = document["homonyms"]
    return [
        (name, percent(row["accuracy"]), span(row.get("interval")), span(row.get("take_interval")))
        for name, row in named.items()
    ]


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
    if document["split"] == "train":
        found.append("the split is one to train on: its accuracy does not tell of new people")
    if document["takes"] < document["clips"]:
        found.append(
            "clips of one take are correct or wrong together, so intervals over clips are too narrow: "
            "believe those over takes"
        )
    if document["calibrated"]:
        found.append(
            "the temperature was fitted on the split that it is measured on, so its ECE and NLL are optimistic: "
            "measure on another split or another cache"
        )
    return found


def facts(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was evaluated, as names and values."""
    return [
        ("checkpoint", f"{document['checkpoint']}, {document['model_name']}"),
        ("cache", f"{document['cache']}, split {document['split']}")
        if document["cache"] is not None
        else ("data root", document["data_root"]),
        ("evaluated", f"{counted(document['clips'], 'clip')} of {counted(document['takes'], 'take')}"),
        ("classes", f"{document['classes']:,}, {document['classes_with_clips']:,} of them with clips"),
    ]


def print_evaluation(document: dict[str, Any], console: Console, *, most: int = 10) -> None:
    """Print an evaluation as tables, with the `most` hardest glosses and most frequent mistakes."""
    overview = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts(document):
        overview.add_row(Text(name, style="bold"), Text(printable(value)))
    console.print(overview)
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
    if worst := worst_glosses(document)[:most]:
        _print_groups(console, "hardest glosses", worst)
    if pairs := confused_rows(document):
        _table(console, f"most frequent mistakes ({len(pairs)})", CONFUSED_COLUMNS, pairs[:most])
    _print_calibration(document, console)
    for remark in remarks(document):
        console.print(f"note: {printable(remark)}", markup=False, highlight=False)


def several_groups(document: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the accuracies by signer, view and source, as far as there are several of them."""
    return [(name, document["by"][name]) for name in ("signer", "view", "source") if len(document["by"][name]) > 1]


def worst_glosses(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the accuracies of glosses with mistakes, lowest first, of equal ones those with more clips."""
    mistaken = [row for row in document["by"]["gloss"] if row["right"] < row["clips"]]
    return sorted(mistaken, key=lambda row: (row["accuracy"], -row["clips"]))


def confused_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the most frequent mistakes, as the rows of a table with `CONFUSED_COLUMNS`."""
    return [(row["right"], row["answered"], f"{row['times']:,}", f"{row['of']:,}") for row in document["confused"]]


def calibrations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the calibration behind an empty name; after a fit, the ones before and after it."""
    now, fitted = document["calibration"], document["calibrated"]
    return [("", now)] if fitted is None else [("before", now), ("after", fitted)]


def calibration_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
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


def _print_calibration(document: dict[str, Any], console: Console) -> None:
    _table(console, "calibration", CALIBRATION_COLUMNS, calibration_rows(document))
    kept = [
        (f"{row['threshold']:.2f}", percent(row["coverage"]), percent(row["accuracy"]), f"{row['clips']:,}")
        for row in calibrations(document)[-1][1]["coverage"]
        if row["threshold"] in SHOWN_THRESHOLDS
    ]
    _table(console, "predictions at least so sure", ("confidence", "of all clips", "correct of them", "clips"), kept)


def _table(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, show_header=any(columns))
    for number, name in enumerate(columns):
        text = number == 0 or name == CONFUSED_COLUMNS[1]
        table.add_column(
            name, justify="left" if text else "right", overflow="fold", min_width=12 if not number else None
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print()
    console.print(table)
