"""The report of a scan: its tables as plain rows, the JSON document with all of them, and the text for people.

The document is written piece by piece, so that a list of a million files never is in memory. The text has tables of
what is there, then the problems, worst first. It is written for 100 columns, and its long tables are cut to the rows
that miss most.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.text import byte_size, counted, json_text, printable, time_span
from signprep.pipeline.scan.database import ScanDatabase
from signprep.pipeline.scan.findings import print_finding
from signprep.pipeline.scan.landmarks import Origin
from signprep.pipeline.scan.run import Scan

COVERAGE = """
WITH labelled AS (SELECT l.video_id, COUNT(DISTINCT l.id) AS num_labels FROM labels l WHERE l.readable GROUP BY 1),
     cut AS (SELECT video_id, COUNT(*) AS num_segments FROM segments GROUP BY 1)
SELECT v.kind, v.source, COUNT(DISTINCT v.item) AS items, COUNT(DISTINCT v.signer) AS signers,
       GROUP_CONCAT(DISTINCT v.view) AS views, COUNT(DISTINCT v.take) AS takes,
       SUM(NOT v.of_landmarks) AS videos, SUM(v.base IN (SELECT base FROM landmarks)) AS keypoints,
       COALESCE(SUM(labelled.num_labels), 0) AS labels, COALESCE(SUM(cut.num_segments), 0) AS segments,
       SUM(v.seconds) / 3600 AS hours, COALESCE(SUM(v.num_bytes), 0) AS bytes
FROM videos v LEFT JOIN labelled ON labelled.video_id = v.id LEFT JOIN cut ON cut.video_id = v.id
WHERE v.used GROUP BY v.kind, v.source ORDER BY COUNT(*) DESC
"""

FORMATS = """
SELECT codec, width, height, ROUND(rate, 2) AS frames_per_second, orientation, COUNT(*) AS videos,
       COALESCE(SUM(variable_rate IS NOT NULL), 0) AS variable_rate, SUM(seconds) / 3600 AS hours,
       COALESCE(SUM(num_bytes), 0) AS bytes
FROM videos WHERE probed AND codec IS NOT NULL
GROUP BY codec, width, height, ROUND(rate, 2), orientation ORDER BY videos DESC, codec, width
"""

VIEWS = """
SELECT v.kind, v.source, v.view, COUNT(*) AS videos, COUNT(DISTINCT v.take) AS takes,
       COUNT(DISTINCT v.signer) AS signers, COUNT(DISTINCT v.item) AS items
FROM videos v WHERE v.used AND v.view IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, videos DESC
"""

SIGNERS = """
SELECT v.signer, v.kind, COUNT(DISTINCT v.item) AS items, COUNT(DISTINCT v.view) AS views,
       COUNT(DISTINCT v.take) AS takes, COUNT(*) AS videos, SUM(v.seconds) / 3600 AS hours{missing}
FROM videos v WHERE v.used AND v.signer IS NOT NULL GROUP BY v.signer, v.kind ORDER BY {order}v.signer, v.kind
"""

_MISSING = """,
       (SELECT COUNT(*) FROM missing_words m WHERE m.signer = v.signer AND m.kind IS v.kind) AS missing_words,
       (SELECT COUNT(*) FROM missing_views m JOIN videos w ON w.id = m.first_id
        WHERE w.signer = v.signer AND w.kind IS v.kind) AS missing_views"""

WORDS = """
WITH words AS (SELECT item, gloss, COUNT(*) AS segments, COUNT(DISTINCT signer) AS signers,
                      COUNT(DISTINCT view) AS views, COUNT(DISTINCT video_id) AS videos
               FROM cuts WHERE video_id IS NOT NULL GROUP BY item, gloss)
SELECT * FROM words ORDER BY signers, videos, gloss, item
"""

SPLITS = """
SELECT side AS split, COUNT(*) AS segments, COUNT(DISTINCT video_id) AS videos, COUNT(DISTINCT take) AS takes,
       COUNT(DISTINCT signer) AS signers, COUNT(DISTINCT gloss) AS glosses
FROM cuts WHERE side IS NOT NULL GROUP BY side ORDER BY side
"""

COUNTS = {
    "videos": "SELECT COUNT(*) FROM videos WHERE NOT of_landmarks",
    "keypoints": "SELECT COUNT(*) FROM landmarks",
    "labels": "SELECT COUNT(*) FROM labels",
    "segments": "SELECT COUNT(*) FROM segments",
    "segments_without_video": "SELECT COUNT(*) FROM segments WHERE video_id IS NULL",
    "labels_with_keypoints": "SELECT COUNT(*) FROM labels WHERE landmarks_id IS NOT NULL",
    "segments_with_keypoints": "SELECT COUNT(*) FROM segments WHERE landmarks_id IS NOT NULL",
    "glosses": "SELECT COUNT(DISTINCT gloss) FROM segments",
    "items": "SELECT COUNT(DISTINCT item) FROM videos",
    "signers": "SELECT COUNT(DISTINCT signer) FROM videos",
    "views": "SELECT COUNT(DISTINCT view) FROM videos",
    "takes": "SELECT COUNT(DISTINCT take) FROM videos",
    "hours": "SELECT SUM(seconds) / 3600 FROM videos",
    "bytes": "SELECT COALESCE(SUM(num_bytes), 0) FROM videos",
    "probed_videos": "SELECT COUNT(*) FROM videos WHERE probed",
    "probed_keypoints": "SELECT COUNT(*) FROM landmarks WHERE probed",
}
"""Names with `keypoints` have `landmark_files` instead where those are looked at."""


def counts(database: ScanDatabase) -> dict[str, Any]:
    """Return totals of the data set."""
    return {name: database.value(query) for name, query in COUNTS.items()}


def coverage(database: ScanDatabase) -> list[dict[str, Any]]:
    """Return a row for each kind and source."""
    rows, compared = list(database.dicts(COVERAGE)), _compared(database)
    for row in rows:
        for table in ("missing_words", "missing_views"):
            query = f"SELECT COUNT(*) FROM {table} WHERE kind IS ? AND source IS ?"
            row[table] = database.value(query, (row["kind"], row["source"])) if compared else None
        # AIHub's order comes first.
        row["views"] = "".join(sorted((row["views"] or "").split(","), key=lambda view: ("FUDLR".find(view) % 6, view)))
    return rows


def _compared(database: ScanDatabase) -> bool:
    """Return True if the check of missing words and views has run, as it does for AIHub's layout only."""
    return bool(database.value("SELECT COUNT(*) FROM sqlite_temp_master WHERE name = 'missing_words'"))


def signers(database: ScanDatabase) -> Iterator[dict[str, Any]]:
    """Yield a row for each signer and kind, those who miss most first."""
    if _compared(database):
        return database.dicts(SIGNERS.format(missing=_MISSING, order="missing_words DESC, missing_views DESC, "))
    return database.dicts(SIGNERS.format(missing="", order=""))


def files_of(database: ScanDatabase, kind: str, limit: int = -1) -> Iterator[dict[str, Any]]:
    """Yield path and message of the problems of a kind, in order of their paths; -1 yields all."""
    return database.dicts(
        "SELECT path, message FROM problems WHERE kind = ? ORDER BY path, rowid LIMIT ?", (kind, limit)
    )


FORMAT_VERSION = 1


def json_report(scan: Scan) -> Iterator[str]:
    """Yield the document in pieces."""
    database, options = scan.database, scan.options
    of_all = counts(database)
    shown = partial(_named_by_origin, scan.origin)
    head = {
        "format_version": FORMAT_VERSION,
        "data_root": str(scan.data_root),
        "layout": scan.layout,
        "options": {"frames": options.num_frames, "probe": options.probe, "deep": options.deep},
        "seconds": round(scan.seconds, 3),
        "counts": shown(of_all),
        "severities": scan.num_by_severity(),
        "split_rule": scan.split_rule,
    }
    if scan.layout != "aihub":  # whose document is what it was
        head["read_as"] = scan.notes
    yield json_text(head, indent=None)[:-1] + ',\n"tables": {'
    rows_of: dict[str, Iterable[dict[str, Any]]] = {
        "coverage": coverage(database),
        "formats": database.dicts(FORMATS),
        "splits": database.dicts(SPLITS),
        "views": database.dicts(VIEWS),
        "signers": signers(database),
        "words": database.dicts(WORDS),
    }
    for number, (name, rows) in enumerate(rows_of.items()):
        yield f'{"," if number else ""}\n"{name}": '
        yield from _list(shown(row) for row in rows)
    yield '},\n"problems": ['
    for number, (finding, count) in enumerate(scan.found()):
        fields = asdict(finding)
        fields |= {"advice": fields.pop("cure"), "count": count}
        yield ("," if number else "") + "\n" + json_text(fields, indent=None)[:-1] + ', "files": '
        yield from _list(files_of(database, finding.kind))
        yield "}"
    yield "\n]}\n"


def _named_by_origin(origin: Origin | None, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with the landmarks' own names; without landmarks it is what it was before there were any."""
    if origin is None:
        return {name: value for name, value in row.items() if "keypoints" not in name}
    return {name.replace("keypoints", origin.key): value for name, value in row.items()}


def _list(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield "["
    for number, row in enumerate(rows):
        yield (",\n  " if number else "\n  ") + json_text(row, indent=None)
    yield "]"


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
    "time": lambda row: "-" if row["hours"] is None else translated(time_span(row["hours"] * 3600)),
    "size": lambda row: byte_size(row["bytes"]),
}


def print_report(scan: Scan, console: Console, *, num_shown: int) -> None:
    """Print the whole report, with up to `num_shown` files of each kind of problem."""
    _print_overview(scan, console)
    if scan.layout in ("table", "preset") and not scan.database.value("SELECT COUNT(*) FROM videos"):
        # Nothing but its rows' problems is worth reading.
        _print_problems(scan, console, num_shown)
        return
    _print_coverage(scan, console)
    _print_signers(scan, console)
    _print_words(scan, console)
    _print_formats(scan, console)
    _print_splits(scan, console)
    _print_problems(scan, console, num_shown)


def _print_overview(scan: Scan, console: Console) -> None:
    totals = counts(scan.database)
    time = f"{time_span(totals['hours'] * 3600)}, " if totals["hours"] is not None else ""
    line = Text(f"{scan.data_root}", style="bold")
    line.append(f" ({scan.layout} layout, scanned in {scan.seconds:,.1f} s)", style="not bold")
    console.print(line, soft_wrap=True)
    for note in scan.notes:
        console.print(Text(printable(note)), soft_wrap=True)
    labels = f"{counted(totals['labels'], 'label')}, " if scan.layout == "aihub" else ""
    segments, glosses = counted(totals["segments"], "segment"), counted(totals["glosses"], "gloss", "glosses")
    if totals["segments_without_video"] and (totals["videos"] or not totals["keypoints"]):
        segments += f" ({totals['segments_without_video']:,} without a video)"
    console.print(
        f"{counted(totals['videos'], 'video')} ({time}{byte_size(totals['bytes'])}), {labels}{segments} of {glosses}, "
        f"{counted(totals['signers'], 'signer')}"
    )
    if scan.origin is not None:
        _print_landmarks(scan, scan.origin, totals, console)
    if not totals["videos"] and scan.origin is not None and totals["keypoints"]:
        what = scan.origin.title.lower()
        console.print(
            f"There is no video in it: build-cache --landmarks {scan.origin.option} makes a cache of its {what}."
        )
    elif not totals["videos"] and scan.layout in ("table", "preset"):
        console.print("None of its rows makes a segment.")
    elif not totals["videos"]:
        console.print("There is no video in it: is it the folder that holds video/ and label/, or a part of it?")
    probed = totals["probed_videos"]
    if scan.options.probe == "none":
        console.print("No video was opened (--probe none): durations, formats and damage are unknown.")
    elif probed < totals["videos"]:
        console.print(f"{probed:,} videos were opened (--probe sample): times and formats are those of the sample.")


def _print_landmarks(scan: Scan, origin: Origin, totals: Row, console: Console) -> None:
    """Tell how many clips have landmarks."""
    labels = f"{totals['labels_with_keypoints']:,} of {counted(totals['labels'], 'label')} and "
    line = (
        f"{origin.title} of {counted(totals['keypoints'], 'video')}: {labels if scan.layout == 'aihub' else ''}"
        f"{totals['segments_with_keypoints']:,} of {counted(totals['segments'], 'segment')} have them"
    )
    if totals["probed_keypoints"] < totals["keypoints"]:
        line += f"; {totals['probed_keypoints']:,} were opened (--probe {scan.options.probe})"
    console.print(line)


def _print_coverage(scan: Scan, console: Console) -> None:
    of_landmarks = {scan.origin.title.lower(): _number("keypoints")} if scan.origin is not None else {}
    columns: Columns = {
        "data": lambda row: " ".join(name for name in (row["kind"], row["source"]) if name) or "-",
        **_numbers("items", "signers"),
        "views": _word("views"),
        **_numbers("takes", "videos"),
        **of_landmarks,
        **_numbers("labels", "segments"),
        **_TIME_AND_SIZE,
        **_numbers("words missing", "views missing"),
    }
    _print_table(console, "Coverage", columns, coverage(scan.database), left=("data", "views"), gap=1)


def _print_signers(scan: Scan, console: Console) -> None:
    incomplete = (row for row in signers(scan.database) if row.get("missing_words") or row.get("missing_views"))
    columns: Columns = {"signer": _word("signer"), "kind": _word("kind")}
    columns |= _numbers("items", "videos", "words missing", "views missing")
    _print_first(console, "Signers who miss most", columns, incomplete, "signers", left=("signer", "kind"))


def _print_words(scan: Scan, console: Console) -> None:
    most = scan.database.value(f"SELECT MAX(signers) FROM ({WORDS})")
    if not most or most < 2:
        return
    rare = (row for row in scan.database.dicts(WORDS) if 2 * row["signers"] < most)
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
    rows = scan.database.dicts(FORMATS)
    _print_first(console, "Video formats", columns, rows, "formats", left=("codec", "pixels"))


def _print_splits(scan: Scan, console: Console) -> None:
    if scan.split_rule == "none":
        return
    columns: Columns = {"split": _word("split"), **_numbers("segments", "videos", "takes", "signers", "glosses")}
    rows = scan.database.dicts(SPLITS)
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
        for problem in files_of(scan.database, finding.kind, num_shown):
            _print_file(console, printable(problem["path"]), printable(problem["message"]))
        names = ("rows", "rows, not shown") if finding.kind == "row-unusable" else ("files", "files, not shown")
        _print_more(console, count - min(count, num_shown), names[0 if num_shown else 1])
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
