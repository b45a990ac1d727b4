"""Bars and charts of the page as inline SVG, which takes its colours from the style sheet and needs no script.

Only numbers go in: sizes are attributes of SVG, so that the page's policy can forbid every inline style.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.statistics import Durations

WIDTH, HEIGHT = 640, 190
LEFT, TOP, RIGHT, BOTTOM = 52, 22, 16, 26
"""Margins around the plot, for its labels."""
CURVE_POINTS = 600
MOST_LABELS = 7


def bar(parts: Sequence[int], longest: int) -> str:
    """Return one bar of several parts, a colour each, as long as their sum is of `longest`."""
    left, rects = 0.0, []
    for place, part in enumerate(parts):
        width = 100 * part / max(1, longest)
        if part:
            rects.append(f'<rect class="part{place % 5}" x="{left:.2f}" width="{width:.2f}" height="10"/>')
        left += width
    return f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{"".join(rects)}</svg>'


def histogram(durations: Durations) -> str:
    """Return how many clips last how long."""
    edges, clips = durations.edges_seconds, durations.clips
    most = _round_up(int(clips.max()))
    first, last = float(edges[0]), float(edges[-1])
    parts = [_across(most, "clips")]
    for start, end, number in zip(edges[:-1], edges[1:], clips.tolist(), strict=True):
        left, right = _x((start - first) / (last - first)), _x((end - first) / (last - first))
        tip = f"{start:g} to {end:g} s: {number:,} clips"
        parts.append(
            f'<g><title>{tip}</title><rect class="part0" x="{left:.1f}" y="{_y(number / most):.1f}" '
            f'width="{max(0.5, right - left - 1):.1f}" height="{_y(0) - _y(number / most):.1f}"/></g>'
        )
    step = -(-len(clips) // MOST_LABELS)
    for edge in edges[::step]:
        parts.append(_below(_x((edge - first) / (last - first)), f"{edge:g} s"))
    median = durations.quantiles_seconds[2]
    parts.append(_mark(_x((median - first) / (last - first)), f"median {median:.2f} s"))
    return _svg("Durations of the clips", parts)


def class_curve(clips: NDArray[np.int64]) -> str:
    """Return the numbers of clips of all classes, the largest class first, as an area."""
    ordered = np.sort(clips)[::-1]
    most = _round_up(int(ordered[0]))
    shown = np.linspace(0, len(ordered) - 1, min(CURVE_POINTS, len(ordered))).round().astype(int)
    steps = []
    for place in shown.tolist():
        steps.append(f"L{_x(place / len(ordered)):.1f} {_y(ordered[place] / most):.1f}")
        steps.append(f"L{_x((place + len(ordered) / len(shown)) / len(ordered)):.1f} {_y(ordered[place] / most):.1f}")
    parts = [_across(most, "clips"), f'<path class="area" d="M{_x(0)} {_y(0)}{"".join(steps)}V{_y(0)}Z"/>']
    for part in range(5):
        place = round((len(ordered) - 1) * part / 4)
        parts.append(_below(_x(part / 4), f"{place + 1:,}."))
    return _svg("Clips of the classes, the largest first", parts)


def _x(share: float) -> float:
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(share: float) -> float:
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _round_up(number: int) -> int:
    """Return a number whose halves and quarters are round, from `number` on.

    >>> [_round_up(number) for number in (1, 7, 36, 1_300)]
    [4, 8, 40, 2000]
    """
    size = 1
    while True:
        for factor in (4, 8, 12, 20, 28):
            if number <= factor * size:
                return factor * size
        size *= 10


def _across(most: int, unit: str) -> str:
    """Return the lines of the grid with their numbers."""
    lines = []
    for quarter in range(5):
        y, value = _y(quarter / 4), most * quarter // 4
        lines.append(
            f'<path class="grid" d="M{_x(0)} {y}H{_x(1)}"/><text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:,}'
            "</text>"
        )
    return "".join(lines) + f'<text x="{LEFT - 6}" y="{TOP - 10}" text-anchor="end">{unit}</text>'


def _below(x: float, text: str) -> str:
    return f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>'


def _mark(x: float, text: str) -> str:
    anchor = "end" if x > WIDTH / 2 else "start"
    x_text = x - 6 if anchor == "end" else x + 6
    return (
        f'<path class="mark" d="M{x:.1f} {TOP}V{_y(0)}"/>'
        f'<text class="strong" x="{x_text:.1f}" y="{TOP + 10}" text-anchor="{anchor}">{text}</text>'
    )


def _svg(title: str, parts: Sequence[str]) -> str:
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
