"""Charts of an evaluation as inline SVG: the reliability diagram, and coverage with accuracy by confidence.

In: tables of `describe_calibration`. Out: SVG text that takes its colours from the page's style sheet, so that it
follows light and dark mode, and that needs no script, font or file. Only numbers go in, no names.
"""

from typing import Any

WIDTH, HEIGHT = 340, 300
LEFT, TOP, RIGHT, BOTTOM = 44, 12, 12, 44
"""Margins around the plot, for its labels."""


def reliability_chart(bins: list[dict[str, Any]], title: str) -> str:
    """Return accuracy by confidence: bars with 95 % intervals, and the diagonal of a believable model."""
    parts = [_frame(title, "confidence", "accuracy")]
    for row in bins:
        if not row["clips"]:
            continue
        left, right = _x(row["from"]) + 1, _x(row["to"]) - 1
        middle, top = (left + right) / 2, _y(row["accuracy"])
        tip = f"{row['clips']:,} clips, confidence {row['confidence']:.3f}, accuracy {row['accuracy']:.3f}"
        parts.append(
            f'<g><title>{tip}</title><rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{_y(0) - top:.1f}"/>'
            f'<path class="whisker" d="M{middle:.1f} {_y(row["interval"][0]):.1f}V{_y(row["interval"][1]):.1f}"/></g>'
        )
    parts.append(f'<path class="ideal" d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}"/>')
    return _svg(title, parts)


def coverage_chart(rows: list[dict[str, Any]], title: str) -> str:
    """Return two lines over the confidence that is asked for: how many clips have it, how many of them are right."""
    covered = [(row["threshold"], row["coverage"]) for row in rows]
    right = [(row["threshold"], row["accuracy"]) for row in rows if row["accuracy"] is not None]
    parts = [_frame(title, "confidence, at least", "share")]
    for name, points in (("coverage", covered), ("accuracy", right)):
        line = "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)
        parts.append(f'<path class="line {name}" d="M{line}"/>')
        parts += [
            f'<circle class="{name}" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="2.5"><title>{name} {y:.3f} at {x:.2f}</title>'
            "</circle>"
            for x, y in points
        ]
    return _svg(title, parts)


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _frame(title: str, across: str, up: str) -> str:
    """Return the grid with its labels, in percent."""
    parts = []
    for tenths in range(0, 11, 2):
        share = tenths / 10
        parts.append(
            f'<path class="grid" d="M{_x(0)} {_y(share)}H{_x(1)}M{_x(share)} {_y(0)}V{_y(1)}"/>'
            f'<text x="{_x(0) - 6}" y="{_y(share) + 4}" text-anchor="end">{tenths * 10}</text>'
            f'<text x="{_x(share)}" y="{_y(0) + 16}" text-anchor="middle">{tenths * 10}</text>'
        )
    middle = (_y(0) + _y(1)) / 2
    parts.append(f'<text x="{_x(0.5)}" y="{HEIGHT - 8}" text-anchor="middle">{across} (%)</text>')
    parts.append(f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{up} (%)</text>')
    return "".join(parts)


def _svg(title: str, parts: list[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
