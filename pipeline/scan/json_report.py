"""A scan as one JSON document, written piece by piece: a list of a million files never is in memory."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from signprep.pipeline.scan import report as tables
from signprep.pipeline.scan.run import Scan

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
        "counts": tables.counts(database),
        "severities": tables.num_of_severity(database),
        "split_rule": scan.split_rule,
    }
    yield _dumps(head)[:-1] + ',\n"tables": {'
    rows_of: dict[str, Iterable[dict[str, Any]]] = {
        "coverage": tables.coverage(database),
        "formats": database.dicts(tables.FORMATS),
        "splits": database.dicts(tables.SPLITS),
        "views": database.dicts(tables.VIEWS),
        "signers": tables.signers(database),
        "words": database.dicts(tables.WORDS),
    }
    for number, (name, rows) in enumerate(rows_of.items()):
        yield f'{"," if number else ""}\n"{name}": '
        yield from _list(rows)
    yield '},\n"problems": ['
    for number, found in enumerate(tables.found_kinds(database)):
        finding = found.finding
        fields = {
            "kind": finding.kind,
            "severity": finding.severity,
            "title": finding.title,
            "meaning": finding.meaning,
            "advice": finding.cure,
            "count": found.count,
        }
        yield ("," if number else "") + "\n" + _dumps(fields)[:-1] + ', "files": '
        yield from _list(tables.files_of(database, finding.kind))
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
