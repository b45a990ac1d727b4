"""A scan for people: tables of what is there, then the problems, worst first, each with meaning and cure.

Written for 100 columns. Long tables are cut to the rows that miss most; `--json` has all of them.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from signprep.pipeline.runtime.text import byte_size, counted, time_span
from signprep.pipeline.scan import report as tables
from signprep.pipeline.scan.findings import print_finding
from signprep.pipeline.scan.run import Scan

SHOWN_ROWS = 8
"""Of a table of formats, signers or words."""


def print_report(scan: Scan, console: Console, *, num_shown: int) -> None:
    """Print the whole report, with up to `num_shown` files of each kind of problem."""
    _print_overview(scan, console)
    _print_coverage(scan, console)
    _print_signers(scan, console)
    _print_words(scan, console)
    _print_formats(scan, console)
    _print_splits(scan, console)
    _print_problems(scan, console, num_shown)


def _print_overview(scan: Scan, console: Console) -> None:
    counts = tables.counts(scan.database)
    time = f"{time_span(counts['hours'] * 3600)}, " if counts["hours"] is not None else ""
    line = Text(f"{scan.data_root}", style="bold")
    line.append(f" ({scan.layout} layout, scanned in {scan.seconds:,.1f} s)", style="not bold")
    console.print(line, soft_wrap=True)
    labels = f"{counted(counts['labels'], 'label')}, " if scan.layout == "aihub" else ""
    segments, glosses = counted(counts["segments"], "segment"), counted(counts["glosses"], "gloss", "glosses")
    if counts["segments_without_video"]:
        segments += f" ({counts['segments_without_video']:,} without a video)"
    console.print(
        f"{counted(counts['videos'], 'video')} ({time}{byte_size(counts['bytes'])}), {labels}{segments} of {glosses}, "
        f"{counted(counts['signers'], 'signer')}"
    )
    if not counts["videos"]:
        console.print("There is no video in it: is it the folder that holds video/ and label/, or a part of it?")
    probed = counts["probed_videos"]
    if scan.options.probe == "none":
        console.print("No video was opened (--probe none): durations, formats and damage are unknown.")
    elif probed < counts["videos"]:
        console.print(f"{probed:,} videos were opened (--probe sample): times and formats are those of the sample.")


def _print_coverage(scan: Scan, console: Console) -> None:
    rows = [
        (
            " ".join(name for name in (row["kind"], row["source"]) if name) or "-",
            *(f"{row[name]:,}" for name in ("items", "signers")),
            row["views"] or "-",
            *(f"{row[name]:,}" for name in ("takes", "videos", "labels", "segments")),
            "-" if row["hours"] is None else time_span(row["hours"] * 3600),
            byte_size(row["bytes"]),
            _count(row["missing_words"]),
            _count(row["missing_views"]),
        )
        for row in tables.coverage(scan.database)
    ]
    names = ["data", "items", "signers", "views", "takes", "videos", "labels", "segments", "time", "size"]
    names += ["words missing", "views missing"]
    _print_table(console, "Coverage", names, rows, left=("data", "views"), gap=1)


def _print_signers(scan: Scan, console: Console) -> None:
    incomplete = (row for row in tables.signers(scan.database) if row.get("missing_words") or row.get("missing_views"))
    rows = [
        (row["signer"], row["kind"] or "-", *(f"{row[name]:,}" for name in names))
        for names in [("items", "videos", "missing_words", "missing_views")]
        for row in islice(incomplete, SHOWN_ROWS)
    ]
    if rows:
        names = ["signer", "kind", "items", "videos", "words missing", "views missing"]
        _print_table(console, "Signers who miss most", names, rows, left=("signer", "kind"))
        _print_more(console, sum(1 for _ in incomplete), "signers")


def _print_words(scan: Scan, console: Console) -> None:
    most = scan.database.value(f"SELECT MAX(signers) FROM ({tables.WORDS})")
    if not most or most < 2:
        return
    rare = (row for row in scan.database.dicts(tables.WORDS) if 2 * row["signers"] < most)
    rows = [
        (row["gloss"], row["item"] or "-", *(f"{row[name]:,}" for name in ("signers", "views", "videos", "segments")))
        for row in islice(rare, SHOWN_ROWS)
    ]
    if rows:
        names = ["gloss", "item", "signers", "views", "videos", "segments"]
        _print_table(console, f"Words of the fewest signers (of {most})", names, rows, left=("gloss", "item"))
        _print_more(console, sum(1 for _ in rare), "words")


def _print_formats(scan: Scan, console: Console) -> None:
    found = scan.database.dicts(tables.FORMATS)
    rows = [
        (
            row["codec"],
            f"{row['width']}x{row['height']}",
            "-" if row["frames_per_second"] is None else f"{row['frames_per_second']:g}",
            row["orientation"] or "-",
            f"{row['videos']:,}",
            f"{row['variable_rate']:,}",
            "-" if row["hours"] is None else time_span(row["hours"] * 3600),
            byte_size(row["bytes"]),
        )
        for row in islice(found, SHOWN_ROWS)
    ]
    if rows:
        names = ["codec", "pixels", "frames/s", "turned", "videos", "variable rate", "time", "size"]
        _print_table(console, "Video formats", names, rows, left=("codec", "pixels"))
        _print_more(console, sum(1 for _ in found), "formats")


def _print_splits(scan: Scan, console: Console) -> None:
    if scan.split_rule == "none":
        return
    names = ["split", "segments", "videos", "takes", "signers", "glosses"]
    rows = [(row["split"], *(f"{row[name]:,}" for name in names[1:])) for row in scan.database.dicts(tables.SPLITS)]
    _print_table(console, f"Splits, by {scan.split_rule}", names, rows, left=("split",))
    if not scan.database.value("SELECT COUNT(*) FROM problems WHERE kind LIKE 'leak-%'"):
        console.print("  No take, signer or video content is on two sides.", style="dim")


def _print_problems(scan: Scan, console: Console, num_shown: int) -> None:
    console.print()
    severities = scan.num_by_severity()
    if not sum(severities.values()):
        console.print("No problems found.", style="bold green")
        return
    line = ", ".join(counted(count, severity) for severity, count in severities.items() if count)
    console.print(f"Problems: {line}", style="bold")
    hidden = 0
    for finding, count in scan.found():
        print_finding(finding, f"{finding.title}: {count:,}", console)
        for problem in tables.files_of(scan.database, finding.kind, num_shown):
            _print_file(console, _shown(problem["path"]), _shown(problem["message"]))
        _print_more(console, count - min(count, num_shown), "files" if num_shown else "files, not shown")
        hidden += max(0, count - num_shown)
    if hidden:
        console.print("\n--show N prints more files of each kind, --json all of them.", style="dim", markup=False)


def _print_file(console: Console, path: str, message: str) -> None:
    """Print a path whole, to be copied, and its message beside it or, where both are too wide, below."""
    fits = cell_len(path) + cell_len(message) + 4 <= console.width
    line = Text(f"  {path}")
    line.append(f"{'  ' if fits else chr(10) + ' ' * 6}{message}", style="dim")
    console.print(line, soft_wrap=True, highlight=False)


def _print_table(
    console: Console,
    title: str,
    names: list[str],
    rows: Iterable[tuple[Any, ...]],
    *,
    left: tuple[str, ...],
    gap: int = 2,
) -> None:
    padding = (0, gap - 1, 0, 0)
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=padding)
    table.show_edge, table.pad_edge = False, False
    for name in names:
        header = name.replace(" missing", "\nmissing")  # over two lines, so that the column is narrow
        table.add_column(header, justify="left" if name in left else "right", overflow="fold")
    for row in rows:
        # Text, not str: a gloss `[b]` is no markup.
        table.add_row(*(Text(_shown(str(value))) for value in row))
    console.print()
    console.print(table)


def _print_more(console: Console, count: int, what: str) -> None:
    if count:
        console.print(f"  ... and {count:,} more {what}", style="dim", highlight=False)


def _shown(text: str) -> str:
    """Return a name from the data without what would move the cursor or cannot be encoded."""
    safe = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return safe.encode("utf-8", "replace").decode("utf-8")


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
