"""What is in a cache, as one plain dictionary for programs."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from signprep.cache_builder.format.index import FAILED, OK, REMOVED
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.columns import ClipColumns
from signprep.cache_builder.report.findings import Finding
from signprep.cache_builder.report.statistics import durations


def describe(cache: Cache) -> dict[str, Any]:
    """Return counts, bytes and settings of a cache as plain JSON types."""
    index = cache.index
    stored = index.filter(pc.equal(index["status"].cast(pa.string()), OK))
    stored_bytes = pc.sum(stored["stored_bytes"]).as_py() or 0
    raw_bytes = stored.num_rows * cache.clip_spec.raw_rgb_bytes
    failed = index.filter(pc.equal(index["status"].cast(pa.string()), FAILED))
    num_removed = pc.sum(pc.equal(index["status"].cast(pa.string()), REMOVED)).as_py() or 0
    return {
        "path": str(cache),
        "format_version": cache.info.format_version,
        "fingerprint": cache.fingerprint,
        "clip_spec": cache.clip_spec.to_dict(),
        "codec": cache.info.codec,
        "provenance": dict(cache.info.provenance),
        "positions": len(cache),
        "clips": stored.num_rows,
        "removed": num_removed,
        "classes": len(cache.vocabulary),
        "videos": len(pc.unique(stored["video"])),
        "takes": len(pc.unique(stored["take"])),
        "shards": cache.info.num_shards,
        "stored_bytes": stored_bytes,
        "raw_rgb_bytes": raw_bytes,
        "ratio_to_raw_rgb": stored_bytes / raw_bytes if raw_bytes else None,
        "by": {name: counts_by_value(stored[name]) for name in ("split", "source", "signer", "view", "gloss")},
        "failures": counts_by_value(failed["error"]),
    }


def describe_findings(columns: ClipColumns, findings: list[Finding]) -> dict[str, Any]:
    """Return durations and findings as plain JSON types, to be added to the description of a cache."""
    found = durations(columns)
    names = ("least", "five_percent", "median", "ninety_five_percent", "greatest")
    return {
        "clip_seconds": dict(zip(names, found.quantiles_seconds, strict=True)) if found else None,
        "findings": [
            {
                "kind": finding.kind,
                "gravity": finding.gravity,
                "title": finding.title,
                "meaning": finding.meaning,
                "positions": columns.positions[finding.rows].tolist(),
                "names": list(finding.lines),
            }
            for finding in findings
        ],
    }


def counts_by_value(column: pa.ChunkedArray) -> dict[str, int]:
    """Return how many rows have each value, most first, then by name; a null is called `-`."""
    counted = pc.value_counts(column.cast(pa.string())).to_pylist()
    pairs = [(entry["values"] if entry["values"] is not None else "-", entry["counts"]) for entry in counted]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
