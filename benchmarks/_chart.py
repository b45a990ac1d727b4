"""A bar chart as SVG: in, a title and bars; out, text. It brings its own background, so that it can be read on a light
page and on a dark one, and names a Korean font before the system's.
"""

import unicodedata
from collections.abc import Mapping
from html import escape
from typing import Any

WIDTH, BAR, GAP, PADDING = 860, 20, 12, 16
LABEL_WIDTH, VALUE_WIDTH = 270, 280

STYLE = """
text { font: 13px "Noto Sans KR", "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic", system-ui, sans-serif;
       fill: #1f2328 }
.title { font-weight: 600; font-size: 15px }
.faint { fill: #59636e }
.page { fill: #ffffff; stroke: #d1d9e0 }
.ours { fill: #0969da }
.peer { fill: #afb8c1 }
.wins { fill: #bc4c00 }
.lost { fill: #bc4c00; font-weight: 600 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .faint { fill: #9198a1 }
  .page { fill: #0d1117; stroke: #3d444d }
  .ours { fill: #4493f8 }
  .peer { fill: #656c76 }
  .wins { fill: #db6d28 }
  .lost { fill: #f0883e }
}
"""


def bar_chart(charts: list[Mapping[str, Any]]) -> str:
    """Return one picture of charts below each other."""
    parts: list[str] = []
    top = PADDING
    for chart in charts:
        lines, top = _one(chart, top)
        parts += lines
        top += PADDING
    titles = "; ".join(str(chart["title"]) for chart in charts)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
            f'role="img" aria-label="{escape(titles)}">',
            f"<style>{STYLE}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{top - 1}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _one(chart: Mapping[str, Any], top: int) -> tuple[list[str], int]:
    """Return a chart's elements, and where the next one begins."""
    bars, more_is_better = chart["bars"], chart["more_is_better"]
    largest = max((bar["value"] for bar in bars), default=0) or 1
    reference = next((bar["value"] for bar in bars if bar["ours"]), None)
    better = "longer is better" if more_is_better else "shorter is better"
    parts = [
        f'<text class="title" x="{PADDING}" y="{top + 14}">{escape(chart["title"])}</text>',
        f'<text class="faint" x="{PADDING}" y="{top + 34}">{escape(chart["unit"])}; {better}</text>',
    ]
    top += 46
    for bar in bars:
        wins = (
            not (bar["ours"] or bar["part"])
            and reference is not None
            and _wins(bar["value"], reference, more_is_better)
        )
        kind = "ours" if bar["ours"] else "wins" if wins else "peer"
        length = max(1.0, (WIDTH - LABEL_WIDTH - VALUE_WIDTH - PADDING) * bar["value"] / largest)
        middle = top + BAR - 5
        parts += [
            f'<text x="{LABEL_WIDTH - 8}" y="{middle}" text-anchor="end">{escape(_fit(bar["name"]))}</text>',
            f'<rect class="{kind}" x="{LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="{BAR}" rx="3"/>',
            f'<text class="{"lost" if wins else "label"}" x="{LABEL_WIDTH + length + 8:.1f}" y="{middle}">'
            f"{escape(_value(bar, reference, wins))}</text>",
        ]
        top += BAR + GAP
    return parts, top


def _wins(value: float, ours: float, more_is_better: bool) -> bool:
    return value > ours if more_is_better else value < ours


def _value(bar: Mapping[str, Any], reference: float | None, wins: bool) -> str:
    value = bar["value"]
    shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    if reference is not None and value and not bar["ours"]:
        shown += f" (ours / it {_ratio(reference / value)})"
    return " · ".join(part for part in (shown, bar["note"], "is ahead" if wins else "") if part)


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def _fit(text: str) -> str:
    """Return a text that fits beside its bar; East Asian letters are twice as wide.

    >>> _fit("왼쪽")
    '왼쪽'
    """
    room, kept = 34, ""
    for letter in text:
        room -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if room < 0:
            return kept[:-1] + "…"
        kept += letter
    return kept
