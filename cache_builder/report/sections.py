"""The parts of the page that need no script: figures, findings, balance, durations, coverage.

In: figures and findings. Out: HTML. Names come from label files and from others' caches: each is escaped where it
enters the page.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from signprep.cache_builder.report.clip_table import ClipTable
from signprep.cache_builder.report.findings import ClipFinding
from signprep.cache_builder.report.statistics import Balance, Coverage, Durations
from signprep.pipeline.runtime.text import counted
from signprep.pipeline.scan.findings import ERROR

SHOWN_LINES = 100
"""Of a finding; the list of clips has the others."""
MOST_ROWS = 60
"""Of a table; of more classes the largest and the smallest are shown."""
ENDS = 12
ABSENT = "\N{EN DASH}"
"""What is shown in place of a name that nobody knows."""


def named(name: str | None) -> str:
    """Return a name as HTML."""
    return escape(name) if name is not None else ABSENT


def figures_section(figures: Sequence[tuple[str, str, str]]) -> str:
    """Return the main figures as cards: a name, a figure, and what more there is to say."""
    cards = "".join(
        f"<div><dt>{escape(name)}</dt><dd><b>{escape(figure)}</b><span>{escape(more)}</span></dd></div>"
        for name, figure, more in figures
    )
    return f'<section id="figures" aria-label="Figures"><dl class="cards">{cards}</dl></section>'


def findings_section(
    columns: ClipTable, findings: Sequence[ClipFinding], pairs: Mapping[str, Sequence[tuple[int, int]]]
) -> str:
    """Return what to look at, the worst first.

    Args:
        columns: of the cache.
        findings: of it.
        pairs: of clips to show side by side, as places in the page's list, by kind of finding.
    """
    if not findings:
        return (
            '<section id="findings"><h2>To look at</h2><p class="fine">Nothing was found that is wrong.</p></section>'
        )
    entries = "".join(
        _finding(columns, number, finding, pairs.get(finding.kind, ())) for number, finding in enumerate(findings)
    )
    return f'<section id="findings"><h2>To look at</h2>{entries}</section>'


def _finding(columns: ClipTable, number: int, finding: ClipFinding, pairs: Sequence[tuple[int, int]]) -> str:
    """Return one finding, folded unless it is wrong; the script puts the pictures of pairs into their places."""
    lines = "".join(f"<li>{escape(line)}</li>" for line in finding.examples(columns, SHOWN_LINES))
    num_more = (len(finding.lines) or len(finding.rows)) - SHOWN_LINES
    more = f'<p class="small">{num_more:,} more are not named here.</p>' if num_more > 0 else ""
    link = f'<p class="screen"><a href="#finding={number}">Their clips in the list</a></p>' if len(finding.rows) else ""
    shown = "".join(f'<div data-pair="{first} {second}"></div>' for first, second in pairs)
    return (
        f'<details class="finding {finding.severity}"{" open" if finding.severity == ERROR else ""}><summary>'
        f'<span class="severity">{finding.severity}</span> {escape(finding.title)}</summary>'
        f"<p>{escape(finding.explanation)}</p>"
        + (f'<div class="pairs">{shown}</div>' if shown else "")
        + (f'<ul class="lines">{lines}</ul>' if lines else "")
        + f"{more}{link}</details>"
    )


def balance_section(balances: dict[str, Balance], splits: Sequence[str | None], found: Durations | None) -> str:
    """Return clips by split, source, signer, view and class, as bars of their splits, and their durations."""
    parts = [_legend(splits)]
    tables = [
        _balance_table(balance, f"{name.capitalize()}s ({len(balance.names):,})", splits)
        for name, balance in balances.items()
        if name != "gloss" and (name == "split" or len(balance.names) > 1)
    ]
    parts.append(f'<div class="columns">{"".join(tables)}</div>')
    if "gloss" in balances:
        parts.append(_classes(balances["gloss"], splits))
    if found is not None:
        least, low, median, high, most = found.quantiles_seconds
        parts.append(
            f"<h3>Durations</h3>{histogram(found)}<p>From {least:.2f} to {most:.2f} s, half of the clips under "
            f"{median:.2f} s, nine tenths between {low:.2f} and {high:.2f} s.</p>"
        )
    return f'<section id="balance"><h2>Balance</h2>{"".join(parts)}</section>'


def _legend(splits: Sequence[str | None]) -> str:
    keys = "".join(
        f'<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="part{place % 5}" width="10" height="10"/></svg>'
        f"{named(split)}</li>"
        for place, split in enumerate(splits)
    )
    return f'<ul class="legend" aria-label="Splits">{keys}</ul>'


def _balance_table(
    balance: Balance, title: str, splits: Sequence[str | None], places: Sequence[int] | None = None
) -> str:
    """Return a table of names with their clips in each split.

    Args:
        balance: to show.
        title: above the table.
        splits: names of the balance's splits.
        places: of the names to show, in this order; all of them by default.
    """
    totals, several = balance.totals, len(splits) > 1 and balance.column != "split"
    asked = list(places if places is not None else range(len(balance.names)))
    shown, left = asked[:MOST_ROWS], asked[MOST_ROWS:]
    longest = int(totals.max(initial=0))
    heads = "".join(f"<th>{named(split)}</th>" for split in splits) if several else ""
    rows = []
    for place in shown:
        parts = balance.clips[place].tolist()
        cells = "".join(f"<td>{number:,}</td>" for number in parts) if several else ""
        rows.append(
            f'<tr><th scope="row" class="name">{named(balance.names[place])}</th><td>{totals[place]:,}</td>{cells}'
            f'<td class="drawn">{bar(parts, longest)}</td></tr>'
        )
    more = f'<p class="small">{len(left):,} more have {int(totals[left].sum()):,} clips.</p>' if left else ""
    return (
        f'<div><h3>{escape(title)}</h3><div class="scroll"><table class="sortable"><thead><tr><th scope="col" '
        f'class="name">{balance.column}</th><th scope="col">clips</th>{heads}<td class="drawn"></td></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{more}</div>"
    )


def _classes(balance: Balance, splits: Sequence[str | None]) -> str:
    """Return clips by class: all of a few classes, else a curve with the largest and the smallest."""
    totals = balance.totals
    order = np.argsort(-totals, kind="stable").tolist()
    if len(order) <= MOST_ROWS:
        return _balance_table(balance, f"Classes ({len(order):,})", splits, order)
    told = (
        f"{len(order):,} classes of {int(totals.min()):,} to {counted(int(totals.max()), 'clip')}; half of them have "
        f"{int(np.median(totals)):,} or fewer."
    )
    ends = (("Largest classes", order[:ENDS]), ("Smallest classes", order[: -ENDS - 1 : -1]))
    tables = "".join(_balance_table(balance, title, splits, places) for title, places in ends)
    return f'<h3>Classes</h3>{class_curve(totals)}<p>{told}</p><div class="columns">{tables}</div>'


def coverage_section(found: Coverage) -> str:
    """Return how many words there are by each signer from each view; the script adds the words themselves."""
    heads = "".join(f'<th scope="col">{named(view)}</th>' for view in found.views)
    rows = []
    for signer, by_view in list(zip(found.signers, found.words.tolist(), strict=True))[:MOST_ROWS]:
        cells = []
        for words in by_view:
            kind = "" if words else ' class="hole"'
            cells.append(f"<td{kind}>{words:,}{bar([words], found.num_words)}</td>")
        rows.append(f'<tr><th scope="row" class="name">{named(signer)}</th>{"".join(cells)}</tr>')
    left = len(found.signers) - len(rows)
    more = f'<p class="small">{left:,} more signers are not shown here.</p>' if left else ""
    told = (
        f"Of {len(found.signers) * found.num_words:,} pairs of word and signer, {found.num_unsigned:,} have no clip at "
        f"all; in the others, {counted(found.num_views_missing, 'view')} "
        f"{'is' if found.num_views_missing == 1 else 'are'} missing."
    )
    return (
        f'<p>{told}</p><h3>Words by signer and view, of {found.num_words:,}</h3><div class="scroll">'
        f'<table class="sortable words"><thead><tr><th scope="col" class="name">signer</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{more}"
    )


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
