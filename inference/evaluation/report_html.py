"""The report of an evaluation as one HTML file that needs nothing else: no network, no script.

In: the dictionary of `describe_evaluation`, and the cache for pictures of mistaken clips. Out: a file. Glosses, signers
and paths come from label files and others' caches: everything is escaped where it enters the page, and the page's own
policy lets a browser run and load nothing.
"""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_images import animated_webp, clip_frames, clip_seconds
from signprep.inference.evaluation.evaluation_charts import coverage_chart, reliability_chart
from signprep.inference.evaluation.evaluation_style import STYLE
from signprep.inference.evaluation.report_text import (
    calibrations,
    evaluated_data,
    headline,
    percent,
    remarks,
    several_groups,
    span,
    worst_glosses,
)
from signprep.pipeline.runtime.atomic_files import atomic_write
from signprep.pipeline.runtime.text import counted

SHOWN_MISTAKES, SHOWN_ROWS = 24, 30
PICTURE_SIDE, PICTURE_FRAMES, PICTURE_QUALITY = 160, 16, 55

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


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
        pictures: data URIs, of the first mistaken clips.
    """
    sections = [
        _header(document),
        _headline(document),
        _groups(document),
        _calibration(document),
        _confused(document),
        _mistaken(document, pictures),
    ]
    data = Path(document["cache"] or document["data_root"]).name
    title = f"Evaluation of {Path(document['checkpoint']).name} on {data}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(document: dict[str, Any]) -> str:
    classes = f"{document['classes']:,}, {document['classes_with_clips']:,} of them with clips"
    kind, which = evaluated_data(document)
    facts = {
        "Checkpoint": f"{document['checkpoint']} ({document['model_name']})",
        kind.capitalize(): which,
        "Evaluated": f"{counted(document['clips'], 'clip')} of {counted(document['takes'], 'take')}",
        "Classes": classes,
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    notes = "".join(f"<li>{escape(remark)}</li>" for remark in remarks(document))
    return f"<h1>Evaluation</h1>\n<dl>{rows}</dl>" + (f'\n<ul class="notes">{notes}</ul>' if notes else "")


def _headline(document: dict[str, Any]) -> str:
    """Return the main figures as cards, each with its intervals."""
    cards = []
    for name, share, over_clips, over_takes in headline(document):
        lines = [
            f"{span} <i>over {of}</i>" for span, of in ((over_clips, "clips"), (over_takes, "takes")) if span != "-"
        ]
        cards.append(_card(name, share, lines))
    if views := document["views"]:
        lines = [
            f"{span(views['averaged_interval'])} <i>over performances</i>",
            f"{percent(views['single_view_accuracy'])} <i>from one view</i>",
        ]
        cards.append(_card("views averaged", percent(views["averaged_accuracy"]), lines))
    remark = '<p class="small">Ranges are 95 % intervals, in percent.</p>'
    return f'<section class="cards">{"".join(cards)}</section>\n{remark}'


def _card(name: str, share: str, lines: Sequence[str]) -> str:
    return f"<div><h3>{escape(name)}</h3><b>{share}</b>{''.join(f'<span>{line}</span>' for line in lines)}</div>"


def _groups(document: dict[str, Any]) -> str:
    """Return the accuracies by signer, view and source, and of the hardest glosses."""
    named = [(f"By {name}", rows) for name, rows in several_groups(document)]
    if worst := [row for row in worst_glosses(document) if row["right"] < row["clips"]]:
        named.append(("Hardest glosses", worst))
    tables = []
    for name, rows in named:
        lines = [
            (
                escape(row["value"] or "-"),
                f"{percent(row['accuracy'])}{_bar(row['accuracy'])}",
                span(row["interval"]),
                f"{row['right']:,} of {row['clips']:,}",
            )
            for row in rows[:SHOWN_ROWS]
        ]
        more = f" ({SHOWN_ROWS} of {len(rows):,})" if len(rows) > SHOWN_ROWS else ""
        tables.append(f"<div><h2>{name}{more}</h2>{_table(('', 'accuracy', '95 %', 'correct'), lines)}</div>")
    return f'<section class="columns">{"".join(tables)}</section>' if tables else ""


def _bar(share: float) -> str:
    return f'<span class="meter"><span style="width:{100 * share:.1f}%"></span></span>'


def _calibration(document: dict[str, Any]) -> str:
    """Return how far confidences can be believed, before and after a fit."""
    found = calibrations(document)
    lines = [
        (
            name or "now",
            f"{row['temperature']:.3f}",
            percent(row["ece"]),
            f"{row['nll']:.4f}",
            percent(row["mean_confidence"]),
        )
        for name, row in found
    ]
    charts = [
        f"<figure>{reliability_chart(row['bins'], 'Reliability diagram')}<figcaption>Accuracy by confidence"
        f"{', ' + name if name else ''}. A model that can be believed follows the diagonal.</figcaption></figure>"
        for name, row in found
    ]
    charts.append(
        f"<figure>{coverage_chart(found[-1][1]['coverage'], 'Coverage and accuracy')}<figcaption>"
        'If only answers at least so sure are taken: <span class="key coverage">how many clips are answered</span>, '
        '<span class="key accuracy">how many of those are correct</span>.</figcaption></figure>'
    )
    table = _table(("", "temperature", "ECE", "NLL", "mean confidence"), lines)
    return f'<section><h2>Confidence</h2>{table}<div class="charts">{"".join(charts)}</div></section>'


def _confused(document: dict[str, Any]) -> str:
    lines = [
        (escape(row["right"]), escape(row["answered"]), f"{row['times']:,}", f"{row['of']:,}")
        for row in document["confused"][:SHOWN_ROWS]
    ]
    if not lines:
        return ""
    table = _table(("true gloss", "answered", "times", "of clips"), lines, num_names=2)
    return f"<section><h2>Most frequent mistakes</h2>{table}</section>"


def _mistaken(document: dict[str, Any], pictures: Sequence[str]) -> str:
    """Return the surest mistakes as moving pictures."""
    cards = []
    for row, picture in zip(document["mistaken"], pictures, strict=False):
        who = " · ".join(escape(row[name]) for name in ("signer", "view") if row[name])
        cards.append(
            f'<figure><img src="{picture}" alt="" loading="lazy"><figcaption><b class="wrong">{escape(row["answered"])}'
            f"</b> <i>{percent(row['confidence'])}</i><br>correct: <b>{escape(row['right'])}</b>"
            f"<small>{who}<br>{escape(row['segment_id'])}</small></figcaption></figure>"
        )
    if not cards:
        return ""
    return f'<section><h2>Mistaken clips, the surest first</h2><div class="clips">{"".join(cards)}</div></section>'


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, num_names: int = 1) -> str:
    """Return a table of cells that are HTML; its first `num_names` columns are names, the others numbers."""
    head = "".join(f"<th{_kind(place, num_names)}>{name}</th>" for place, name in enumerate(columns))
    body = "".join(
        "<tr>" + "".join(f"<td{_kind(place, num_names)}>{cell}</td>" for place, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _kind(place: int, num_names: int) -> str:
    return ' class="name"' if place < num_names else ""
