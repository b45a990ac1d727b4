"""Numbers of clips by split, source, signer, view, class and duration, and the description of a cache.

In: a clip table. Out: small tables of whole numbers, which text and page draw as they like, and plain JSON types. Only
clips that are there count: a failed one is a hole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.format.index import FAILED, OK, REMOVED, counts_by_value
from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.clip_table import ClipTable
from signprep.cache_builder.report.findings import ClipFinding
from signprep.pipeline.clip_spec import NUM_LANDMARKS, ClipSpec
from signprep.pipeline.landmarks.points import SEEN_PARTS
from signprep.pipeline.runtime.text import byte_size, counted, time_span
from signprep.pipeline.scan.findings import ERROR, NOTE, WARNING

_STEPS_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
GRAVITIES = {ERROR: "wrong", WARNING: "look", NOTE: "note"}
"""Names of severities under the JSON key `gravity`, which programs written before `severity` read."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """Clips by the names of one column and by split."""

    column: str
    names: tuple[str | None, ...]
    clips: NDArray[np.int64]
    """Numbers of clips, int64 [names, splits]."""

    @property
    def totals(self) -> NDArray[np.int64]:
        """Clips of each name in all splits, int64 [names]."""
        return self.clips.sum(axis=1)


@dataclass(frozen=True, kw_only=True)
class Durations:
    """Numbers of clips by their lengths."""

    edges_seconds: NDArray[np.float64]
    """Edges of half-open bins, float64 [bins + 1]."""
    clips: NDArray[np.int64]
    quantiles_seconds: tuple[float, ...]
    """Least, 5 %, median, 95 %, greatest."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Words by signer and view."""

    signers: tuple[str | None, ...]
    views: tuple[str | None, ...]
    words: NDArray[np.int64]
    """Numbers of words that have clips, int64 [signers, views]."""
    num_words: int
    num_unsigned: int
    """Pairs of a word and a signer without any clip."""
    num_views_missing: int
    """Combinations of word, signer and view without a clip where another view of the same word and signer has one."""


def balances(table: ClipTable) -> dict[str, Balance]:
    """Return the clips by split, source, signer, view and gloss; columns in which nothing is known are left out."""
    names = ("split", "source", "signer", "view", "gloss")
    ok, found = table.is_ok, {}
    for name in names:
        if (column := table.named(name)).known:
            clips = np.zeros((len(column.names), len(table.split.names)), np.int64)
            np.add.at(clips, (column.codes[ok], table.split.codes[ok]), 1)
            found[name] = Balance(column=name, names=column.names, clips=clips)
    return found


def durations(table: ClipTable) -> Durations | None:
    """Return how long the clips last; None if there is none."""
    seconds = table.durations_seconds[table.is_ok]
    if not len(seconds):
        return None
    # A few clips that last very long would leave the others one bin: the last bin holds them too.
    edges = bin_edges(float(seconds.min()), float(np.percentile(seconds, 99.5)))
    # Differences of times may lie below the first edge by their last bit.
    clips, _ = np.histogram(np.clip(seconds, edges[0], edges[-1]), edges)
    return Durations(
        edges_seconds=edges,
        clips=clips,
        quantiles_seconds=tuple(np.quantile(seconds, (0, 0.05, 0.5, 0.95, 1)).tolist()),
    )


def bin_edges(least: float, most: float) -> NDArray[np.float64]:
    """Return the edges of bins of a round width that hold [least, most], 30 bins at most unless they are very wide.

    >>> bin_edges(0.9, 1.3)[[0, -1]].tolist()
    [0.9, 1.32]
    """
    step = next((step for step in _STEPS_SECONDS if (most - least) / step <= 28), _STEPS_SECONDS[-1])
    first, last = np.floor(least / step + 1e-9), np.floor(most / step + 1e-9) + 1
    return np.round(np.arange(first, last + 1) * step, 6)


def coverage(table: ClipTable) -> Coverage | None:
    """Return which words there are by whom and from where; None if neither signers nor views are known."""
    if not table.signer.known and not table.view.known:
        return None
    shape = len(table.gloss.names), len(table.signer.names), len(table.view.names)
    has = np.zeros(shape, np.bool_)
    ok = table.is_ok
    has[table.gloss.codes[ok], table.signer.codes[ok], table.view.codes[ok]] = True
    # Clips of unknown signers or views, beside those of known ones, are no signer and no view that others could miss.
    signers, views = table.signer.known or (None,), table.view.known or (None,)
    has = has[:, : len(signers), : len(views)]
    signed = np.asarray(has.any(axis=2))
    return Coverage(
        signers=signers,
        views=views,
        words=has.sum(axis=0),
        num_words=shape[0],
        num_unsigned=int((~signed).sum()),
        num_views_missing=int((signed[:, :, np.newaxis] & ~has).sum()),
    )


def describe(cache: Cache) -> dict[str, Any]:
    """Return counts, bytes and settings of a cache as plain JSON types."""
    index, status = cache.index, cache.index["status"].cast(pa.string())
    stored, failed, removed = (index.filter(pc.equal(status, value)) for value in (OK, FAILED, REMOVED))
    stored_bytes = pc.sum(stored["stored_bytes"]).as_py() or 0
    raw_bytes = stored.num_rows * cache.clip_spec.raw_bytes
    ratio = stored_bytes / raw_bytes if raw_bytes else None
    suffix = "_rgb" if cache.clip_spec.content == "pixels" else ""
    return {
        "path": str(cache),
        "format_version": cache.info.format_version,
        "fingerprint": cache.fingerprint,
        "clip_spec": cache.clip_spec.to_dict(),
        "codec": cache.info.codec,
        "provenance": dict(cache.info.provenance),
        "positions": len(cache),
        "clips": stored.num_rows,
        "removed": removed.num_rows,
        "classes": len(cache.vocabulary),
        "videos": len(pc.unique(stored["video"])),
        "takes": len(pc.unique(stored["take"])),
        "shards": cache.info.num_shards,
        "stored_bytes": stored_bytes,
        f"raw{suffix}_bytes": raw_bytes,
        f"ratio_to_raw{suffix}": ratio,
        **({} if (seen := mean_seen(stored)) is None else {"seen_fraction": seen}),
        "by": {name: counts_by_value(stored[name]) for name in ("split", "source", "signer", "view", "gloss")},
        "failures": counts_by_value(failed["error"]),
    }


def mean_seen(index: pa.Table) -> dict[str, float] | None:
    """Return by the names of `SEEN_PARTS` which part of landmarks was seen on average; None where no row tells."""
    stored = index.filter(pc.equal(index["status"].cast(pa.string()), OK))
    told = stored["seen_fraction"].combine_chunks().drop_null()
    if not len(told):
        return None
    means = told.flatten().to_numpy(zero_copy_only=False).reshape(-1, len(SEEN_PARTS)).mean(axis=0)
    return dict(zip(SEEN_PARTS, means.tolist(), strict=True))


def seen_text(seen: Mapping[str, float]) -> str:
    """Return in words which part of landmarks was seen.

    >>> seen_text({"body": 1.0, "left_hand": 0.414})
    'body 100 %, left hand 41 %'
    """
    return ", ".join(f"{name.replace('_', ' ')} {part:.0%}".replace("%", " %") for name, part in seen.items())


def describe_findings(table: ClipTable, findings: list[ClipFinding]) -> dict[str, Any]:
    """Return durations and findings as plain JSON types, to be added to the description of a cache."""
    found = durations(table)
    names = ("least", "five_percent", "median", "ninety_five_percent", "greatest")
    return {
        "clip_seconds": dict(zip(names, found.quantiles_seconds, strict=True)) if found else None,
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "gravity": GRAVITIES[finding.severity],
                "title": finding.title,
                "meaning": finding.explanation,
                "positions": table.positions[finding.rows].tolist(),
                "names": list(finding.lines),
            }
            for finding in findings
        ],
    }


def cache_name(cache: object) -> str:
    """Return the name of a cache, path or URL without its folders, which a report for others must not show."""
    return str(cache).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or str(cache)


def clip_shape(spec: ClipSpec) -> str:
    """Return in words how clips were cut.

    >>> clip_shape(ClipSpec())
    '16 x 256 x 256 yuv420p, center crop, labelled segment'
    """
    span = "labelled segment" if spec.span == "segment" else f"{spec.span} s around the segment's middle"
    margin = f" and {spec.margin_seconds:g} s on both sides" if spec.margin_seconds else ""
    shown = f"{spec.size} x {spec.size} {spec.pixels}"
    if spec.landmarks is not None:
        shown = f"{NUM_LANDMARKS} landmarks ({spec.landmarks})"
    return f"{spec.num_frames} x {shown}, {spec.crop} crop, {span}{margin}"


def about_cache(cache: Cache) -> list[str]:
    """Return what a reader of a report must know about its cache."""
    return [
        f"signprep cache of format {cache.info.format_version}, codec {cache.info.codec}. Clips: "
        f"{clip_shape(cache.clip_spec)}.",
        f"Fingerprint {cache.fingerprint}. Report of {date.today().isoformat()}.",
    ]


def main_figures(table: ClipTable) -> list[tuple[str, str, str]]:
    """Return the main figures of a cache: a name, a figure, and what more there is to say."""
    cache, ok = table.cache, table.is_ok
    num_ok, num_failed = int(ok.sum()), int((~ok).sum())
    splits = zip(table.split.names, table.split.counts(ok).tolist(), strict=True)
    by_split = " · ".join(f"{number:,} {name or 'without split'}" for name, number in splits if number)
    stored_bytes = sum(entry.num_bytes for entry in cache.manifest.objects.values())
    classes = table.gloss.counts(ok)
    num_videos = len(np.unique(table.video.codes[ok]))
    median = f"median {counted(int(np.median(classes)), 'clip')} a class" if len(classes) else ""
    seen = mean_seen(cache.index)
    return [
        ("clips", f"{num_ok:,}", by_split),
        ("classes", f"{len(classes):,}", median),
        ("signers", f"{len(table.signer.known):,}", "" if table.signer.known else "no names of signers"),
        ("views", f"{len(table.view.known):,}", ", ".join(table.view.known[:8]) or "no names of views"),
        ("takes", f"{len(np.unique(table.take.codes[ok])):,}", f"of {counted(num_videos, 'video')}"),
        ("time", time_span(float(table.durations_seconds[ok].sum())), "of all clips together"),
        ("failed", f"{num_failed:,}", "could not be decoded" if num_failed else "every clip was decoded"),
        ("size", byte_size(stored_bytes), f"{counted(cache.info.num_shards, 'shard')}"),
        *([] if seen is None else [("seen", f"{seen['body']:.0%}", f"of the body's points; {seen_text(seen)}")]),
    ]
