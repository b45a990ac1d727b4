"""A scan for people: tables of what is there, then the problems, worst first, each with meaning and cure.

It is written for 100 columns. Long tables are cut to the rows that miss most; `--json` has all of them.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from signprep.pipeline.runtime.text import byte_size, counted, printable, time_span
from signprep.pipeline.scan import report as tables
from signprep.pipeline.scan.findings import print_finding
from signprep.pipeline.scan.run import Scan

SHOWN_ROWS = 8
"""Rows of the tables of formats, signers and words."""

Row = dict[str, Any]
Columns = dict[str, Callable[[Row], str]]
"""The header of each column, with a function from a row to the column's text."""


def _word(name: str) -> Callable[[Row], str]:
    return lambda row: row[name] or "-"


def _number(name: str) -> Callable[[Row], str]:
    return lambda row: "-" if row[name] is None else f"{row[name]:,}"


def _numbers(*headers: str) -> Columns:
    """Return columns of numbers; `views missing` shows `missing_views` of a row, `variable rate` `variable_rate`."""
    names = {"words missing": "missing_words", "views missing": "missing_views"}
    return {header: _number(names.get(header, header.replace(" ", "_"))) for header in headers}


_TIME_AND_SIZE: Columns = {
    "time": lambda row: "-" if row["hours"] is None else time_span(row["hours"] * 3600),
    "size": lambda row: byte_size(row["bytes"]),
}


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
    columns: Columns = {
        "data": lambda row: " ".join(name for name in (row["kind"], row["source"]) if name) or "-",
        **_numbers("items", "signers"),
        "views": _word("views"),
        **_numbers("takes", "videos", "labels", "segments"),
        **_TIME_AND_SIZE,
        **_numbers("words missing", "views missing"),
    }
    _print_table(console, "Coverage", columns, tables.coverage(scan.database), left=("data", "views"), gap=1)


def _print_signers(scan: Scan, console: Console) -> None:
    incomplete = (row for row in tables.signers(scan.database) if row.get("missing_words") or row.get("missing_views"))
    columns: Columns = {"signer": _word("signer"), "kind": _word("kind")}
    columns |= _numbers("items", "videos", "words missing", "views missing")
    _print_first(console, "Signers who miss most", columns, incomplete, "signers", left=("signer", "kind"))


def _print_words(scan: Scan, console: Console) -> None:
    most = scan.database.value(f"SELECT MAX(signers) FROM ({tables.WORDS})")
    if not most or most < 2:
        return
    rare = (row for row in scan.database.dicts(tables.WORDS) if 2 * row["signers"] < most)
    columns: Columns = {"gloss": _word("gloss"), "item": _word("item")}
    columns |= _numbers("signers", "views", "videos", "segments")
    _print_first(console, f"Words of the fewest signers (of {most})", columns, rare, "words", left=("gloss", "item"))


def _print_formats(scan: Scan, console: Console) -> None:
    columns: Columns = {
        "codec": _word("codec"),
        "pixels": lambda row: f"{row['width']}x{row['height']}",
        "frames/s": lambda row: "-" if row["frames_per_second"] is None else f"{row['frames_per_second']:g}",
        "turned": _word("orientation"),
        **_numbers("videos", "variable rate"),
        **_TIME_AND_SIZE,
    }
    rows = scan.database.dicts(tables.FORMATS)
    _print_first(console, "Video formats", columns, rows, "formats", left=("codec", "pixels"))


def _print_splits(scan: Scan, console: Console) -> None:
    if scan.split_rule == "none":
        return
    columns: Columns = {"split": _word("split"), **_numbers("segments", "videos", "takes", "signers", "glosses")}
    rows = scan.database.dicts(tables.SPLITS)
    _print_table(console, f"Splits, by {scan.split_rule}", columns, rows, left=("split",))
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
            _print_file(console, printable(problem["path"]), printable(problem["message"]))
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


def _print_first(
    console: Console, title: str, columns: Columns, rows: Iterator[Row], what: str, *, left: tuple[str, ...]
) -> None:
    """Print a table of the first rows, if there are any, and how many more there are."""
    if first := list(islice(rows, SHOWN_ROWS)):
        _print_table(console, title, columns, first, left=left)
        _print_more(console, sum(1 for _ in rows), what)


def _print_table(
    console: Console, title: str, columns: Columns, rows: Iterable[Row], *, left: tuple[str, ...], gap: int = 2
) -> None:
    padding = (0, gap - 1, 0, 0)
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=padding)
    table.show_edge, table.pad_edge = False, False
    for name in columns:
        header = name.replace(" missing", "\nmissing")  # over two lines, so that the column is narrow
        table.add_column(header, justify="left" if name in left else "right", overflow="fold")
    for row in rows:
        # Text, not str: a gloss `[b]` is no markup.
        table.add_row(*(Text(printable(cell(row))) for cell in columns.values()))
    console.print()
    console.print(table)


def _print_more(console: Console, count: int, what: str) -> None:
    if count:
        console.print(f"  ... and {count:,} more {what}", style="dim", highlight=False)
