"""The parts of the page that need no script: figures, findings, balance, durations, coverage.

In: figures and findings. Out: HTML. Names come from label files and from others' caches: each is escaped where it
enters the page.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from signprep.cache_builder.report.charts import bar, class_curve, histogram
from signprep.cache_builder.report.columns import ClipColumns
from signprep.cache_builder.report.findings import WRONG, Finding
from signprep.cache_builder.report.statistics import Balance, Coverage, Durations
from signprep.pipeline.runtime.text import counted

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
    columns: ClipColumns, findings: Sequence[Finding], pairs: Mapping[str, Sequence[tuple[int, int]]]
) -> str:
    """Return what to look at, the gravest first.

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


def _finding(columns: ClipColumns, number: int, finding: Finding, pairs: Sequence[tuple[int, int]]) -> str:
    """Return one finding, folded unless it is wrong; the script puts the pictures of pairs into their places."""
    lines = "".join(f"<li>{escape(line)}</li>" for line in finding.examples(columns, SHOWN_LINES))
    num_more = (len(finding.lines) or len(finding.rows)) - SHOWN_LINES
    more = f'<p class="small">{num_more:,} more are not named here.</p>' if num_more > 0 else ""
    link = f'<p class="screen"><a href="#finding={number}">Their clips in the list</a></p>' if len(finding.rows) else ""
    shown = "".join(f'<div data-pair="{first} {second}"></div>' for first, second in pairs)
    return (
        f'<details class="finding {finding.gravity}"{" open" if finding.gravity == WRONG else ""}><summary>'
        f'<span class="gravity">{finding.gravity}</span> {escape(finding.title)}</summary>'
        f"<p>{escape(finding.meaning)}</p>"
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
