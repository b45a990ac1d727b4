"""What is in a cache: one plain dictionary for programs, and the table that people read."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from signprep.cache_builder.index import FAILED, OK, REMOVED
from signprep.cache_builder.reader import Cache

BAR_WIDTH = 24


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
        "by": {name: _counts(stored, name) for name in ("split", "source", "signer", "view", "gloss")},
        "failures": _counts(failed, "error"),
    }


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    """Return how many rows have each value, most first, then by name."""
    counted = pc.value_counts(table[column].cast(pa.string())).to_pylist()
    pairs = [(entry["values"] if entry["values"] is not None else "-", entry["counts"]) for entry in counted]
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def print_description(description: dict[str, Any], console: Console, *, most: int = 10) -> None:
    """Print a description as tables: the cache, then clips by split, source, signer, view and gloss."""
    spec, ratio = description["clip_spec"], description["ratio_to_raw_rgb"]
    overview = Table(show_header=False, box=None, pad_edge=False)
    shape = f"{spec['num_frames']} x {spec['size']} x {spec['size']} {spec['pixels']}, {spec['crop']} crop"
    span = "labelled segment" if spec["span"] == "segment" else f"{spec['span']} s around the segment's middle"
    rows = [
        ("cache", description["path"]),
        ("format", f"{description['format_version']}, codec {description['codec']}"),
        ("clips", f"{description['clips']:,} of {description['positions']:,}, in {description['shards']:,} shards"),
        ("clip", f"{shape}, {span}"),
        ("classes", f"{description['classes']:,}"),
        ("videos", f"{description['videos']:,} of {description['takes']:,} takes"),
        ("size", f"{description['stored_bytes'] / 1e6:,.1f} MB" + (f", {ratio:.3f} of raw RGB" if ratio else "")),
        ("fingerprint", description["fingerprint"]),
    ]
    if description["removed"]:
        rows.append(("removed", f"{description['removed']:,} clips, until `signprep compact`"))
    for name, value in rows:
        overview.add_row(f"[bold]{name}", value)
    console.print(overview)
    for name, counts in description["by"].items():
        _print_counts(name, counts, console, most)
    if description["failures"]:
        console.print(f"\n[bold]failed clips[/] {sum(description['failures'].values()):,}")
        for reason, count in list(description["failures"].items())[:most]:
            console.print(f"  {count} x {reason}", markup=False, highlight=False)


def _print_counts(name: str, counts: dict[str, int], console: Console, most: int) -> None:
    if set(counts) <= {"-"}:
        return
    largest = max(counts.values())
    table = Table(title=f"{name} ({len(counts):,})", title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(min_width=12, overflow="fold")
    table.add_column(justify="right")
    table.add_column()
    for value, count in list(counts.items())[:most]:
        # Gloss names come from label files: they are text, never markup.
        table.add_row(value.replace("[", r"\["), f"{count:,}", "█" * max(1, round(BAR_WIDTH * count / largest)))
    if len(counts) > most:
        table.add_row(f"... {len(counts) - most:,} more", f"{sum(list(counts.values())[most:]):,}", "")
    console.print()
    console.print(table)
