"""Parts that the pages of a run and of an evaluation share, as values of the templates in `web`.

In: a description of answers (`Answers.describe`), and the cache that they are for. Names come from label files: they
are text, never markup. A page of 3,000 classes stays small: the accuracies of all classes and the confusion matrix
without its zeros are packed, and the page's script shows what is asked for.
"""

import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.pictures import Quality, clip_seconds, moving_picture
from signprep.pipeline.errors import CacheCorruptError
from signprep.pipeline.html.page import KIT_SCRIPTS, packed

WEB = files("signprep.training.report") / "web"
SCRIPTS = (*KIT_SCRIPTS, "classes.js", "confusion.js", "start.js")
CONFUSED_COLUMNS = ("correct gloss", "predicted", "times", "of clips")
SHOWN_MISTAKES, SHOWN_ROWS = 24, 30
"""Mistaken clips and rows of a table that the page shows."""
FEW_CLASSES = 20
"""The matrix of so many classes is one table."""
PICTURES = Quality(side=160, frames=16, webp=55)


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
    if document.get("homonyms"):
        named["homonyms as one"] = document["homonyms"]
    return [
        (name, percent(row["accuracy"]), span(row.get("interval")), span(row.get("take_interval")))
        for name, row in named.items()
    ]


def cards(document: dict[str, Any]) -> list[tuple[str, str, list[str]]]:
    """Return the main figures, each with its intervals."""
    return [
        (name, share, [f"{ends} over {of}" for ends, of in ((by_clip, "clips"), (by_take, "takes")) if ends != "-"])
        for name, share, by_clip, by_take in headline(document)
    ]


def several_groups(document: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the accuracies by signer, view and source, as far as there are several of them."""
    return [(name, document["by"][name]) for name in ("signer", "view", "source") if len(document["by"][name]) > 1]


def hardest_first(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the accuracies of all glosses, lowest first, of equal ones those with more clips."""
    return sorted(document["by"]["gloss"], key=lambda row: (row["accuracy"], -row["clips"]))


def confused_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the most frequent mistakes, as the rows of a table with `CONFUSED_COLUMNS`."""
    return [(row["right"], row["answered"], f"{row['times']:,}", f"{row['of']:,}") for row in document["confused"]]


def answer_values(document: dict[str, Any], pictures: Sequence[str | None]) -> dict[str, Any]:
    """Return the values of `answers.html`; pictures, as of `mistaken_pictures`, are of the first mistaken clips."""
    shown = [(row, picture) for row, picture in zip(document["mistaken"], pictures, strict=False) if picture]
    num_shown = len(document["confusion"]["glosses"])
    return {
        "groups": [(f"By {name}", rows) for name, rows in several_groups(document)],
        "classes": hardest_first(document),
        "matrix": _small_matrix(document) if num_shown <= FEW_CLASSES else None,
        "num_shown": num_shown,
        "confused_columns": CONFUSED_COLUMNS,
        "confused": confused_rows(document)[:SHOWN_ROWS],
        "mistaken": shown,
        "shown_rows": SHOWN_ROWS,
        "packed_answers": packed(_answers_to_pack(document)),
        "percent": percent,
        "span": span,
    }


def _answers_to_pack(document: dict[str, Any]) -> dict[str, Any]:
    """Return, by gloss that occurs, clips, right ones and interval, and the cells of the confusion matrix."""
    confusion, by_gloss = document["confusion"], {row["value"]: row for row in document["by"]["gloss"]}
    rows = [by_gloss.get(gloss, {"clips": 0, "right": 0, "interval": (0, 0)}) for gloss in confusion["glosses"]]
    return {
        "glosses": confusion["glosses"],
        "clips": [row["clips"] for row in rows],
        "right": [row["right"] for row in rows],
        "low": [round(row["interval"][0], 3) for row in rows],
        "high": [round(row["interval"][1], 3) for row in rows],
        "cells": {name: confusion[name] for name in ("right", "answered", "times")},
    }


def _small_matrix(document: dict[str, Any]) -> dict[str, Any]:
    """Return the confusion matrix as rows of cells: times, and 0 to 10 for how dark they are."""
    confusion = document["confusion"]
    names = confusion["glosses"]
    cells = zip(confusion["right"], confusion["answered"], confusion["times"], strict=True)
    times = {(right, answered): number for right, answered, number in cells}
    clips = [sum(times.get((row, column), 0) for column in range(len(names))) for row in range(len(names))]

    def cell(row: int, column: int) -> tuple[int, int]:
        number = times.get((row, column), 0)
        # Small parts of a class are mistakes, which the matrix is about: the root makes them visible.
        return number, max(1, round(10 * math.sqrt(number / clips[row]))) if number else 0

    places = range(len(names))
    rows = [
        {"name": names[row], "place": row, "clips": clips[row], "cells": [cell(row, column) for column in places]}
        for row in places
    ]
    return {"names": names, "rows": rows}


def mistaken_pictures(document: dict[str, Any], cache: Cache) -> list[str | None]:
    """Return moving pictures of the surest mistakes as data URIs, landmarks as a drawing; None of damaged clips."""
    return [_picture(cache, row["position"]) for row in document["mistaken"][:SHOWN_MISTAKES]]


def _picture(cache: Cache, position: int) -> str | None:
    try:
        webp = moving_picture(cache, position, clip_seconds(cache, position), PICTURES)
    except CacheCorruptError:
        return None
    return f"data:image/webp;base64,{webp}"
