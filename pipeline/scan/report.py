"""The tables of a scan as plain rows, and the whole scan as one JSON document.

The document is written piece by piece, so that a list of a million files never is in memory.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from signprep.pipeline.scan.database import ScanDatabase
from signprep.pipeline.scan.run import Scan

COVERAGE = """
WITH labelled AS (SELECT l.video_id, COUNT(DISTINCT l.id) AS num_labels FROM labels l WHERE l.readable GROUP BY 1),
     cut AS (SELECT video_id, COUNT(*) AS num_segments FROM segments GROUP BY 1)
SELECT v.kind, v.source, COUNT(DISTINCT v.item) AS items, COUNT(DISTINCT v.signer) AS signers,
       GROUP_CONCAT(DISTINCT v.view) AS views, COUNT(DISTINCT v.take) AS takes, COUNT(*) AS videos,
       COALESCE(SUM(labelled.num_labels), 0) AS labels, COALESCE(SUM(cut.num_segments), 0) AS segments,
       SUM(v.seconds) / 3600 AS hours, COALESCE(SUM(v.num_bytes), 0) AS bytes
FROM videos v LEFT JOIN labelled ON labelled.video_id = v.id LEFT JOIN cut ON cut.video_id = v.id
WHERE v.used GROUP BY v.kind, v.source ORDER BY videos DESC
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
    "videos": "SELECT COUNT(*) FROM videos",
    "labels": "SELECT COUNT(*) FROM labels",
    "segments": "SELECT COUNT(*) FROM segments",
    "segments_without_video": "SELECT COUNT(*) FROM segments WHERE video_id IS NULL",
    "glosses": "SELECT COUNT(DISTINCT gloss) FROM segments",
    "items": "SELECT COUNT(DISTINCT item) FROM videos",
    "signers": "SELECT COUNT(DISTINCT signer) FROM videos",
    "views": "SELECT COUNT(DISTINCT view) FROM videos",
    "takes": "SELECT COUNT(DISTINCT take) FROM videos",
    "hours": "SELECT SUM(seconds) / 3600 FROM videos",
    "bytes": "SELECT COALESCE(SUM(num_bytes), 0) FROM videos",
    "probed_videos": "SELECT COUNT(*) FROM videos WHERE probed",
}


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
        row["views"] = "".join(sorted((row["views"] or "").split(","), key=_view_order))
    return rows


def _view_order(view: str) -> tuple[int, str]:
    return "FUDLR".find(view) % 6, view  # AIHub's order first


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
    head = {
        "format_version": FORMAT_VERSION,
        "data_root": str(scan.data_root),
        "layout": scan.layout,
        "options": {"frames": options.num_frames, "probe": options.probe, "deep": options.deep},
        "seconds": round(scan.seconds, 3),
        "counts": counts(database),
        "severities": scan.num_by_severity(),
        "split_rule": scan.split_rule,
    }
    yield _dumps(head)[:-1] + ',\n"tables": {'
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
        yield from _list(rows)
    yield '},\n"problems": ['
    for number, (finding, count) in enumerate(scan.found()):
        fields = {
            "kind": finding.kind,
            "severity": finding.severity,
            "title": finding.title,
            "meaning": finding.meaning,
            "advice": finding.cure,
            "count": count,
        }
        yield ("," if number else "") + "\n" + _dumps(fields)[:-1] + ', "files": '
        yield from _list(files_of(database, finding.kind))
        yield "}"
    yield "\n]}\n"


def _list(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield "["
    for number, row in enumerate(rows):
        yield (",\n  " if number else "\n  ") + _dumps(row)
    yield "]"


def _dumps(value: Any) -> str:
    # Names of files may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")
