"""A cache in a few lines: its name, how its clips were cut, and the main figures."""

from datetime import date

import numpy as np

from signprep.cache_builder.reader import Cache
from signprep.cache_builder.report.columns import ClipColumns
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.runtime.text import byte_size, counted, time_span


def cache_name(cache: Cache) -> str:
    """Return the last part of where a cache lies: reports travel, and folders of this machine are nobody's business."""
    return str(cache).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or str(cache)


def clip_shape(spec: ClipSpec) -> str:
    """Return how clips were cut, for people.

    >>> clip_shape(ClipSpec())
    '16 x 256 x 256 yuv420p, center crop, labelled segment'
    """
    span = "labelled segment" if spec.span == "segment" else f"{spec.span} s around the segment's middle"
    margin = f" and {spec.margin_seconds:g} s on both sides" if spec.margin_seconds else ""
    return f"{spec.num_frames} x {spec.size} x {spec.size} {spec.pixels}, {spec.crop} crop, {span}{margin}"


def about_cache(cache: Cache) -> list[str]:
    """Return what a reader of a report must know about its cache."""
    return [
        f"signprep cache of format {cache.info.format_version}, codec {cache.info.codec}. Clips: "
        f"{clip_shape(cache.clip_spec)}.",
        f"Fingerprint {cache.fingerprint}. Report of {date.today().isoformat()}.",
    ]


def main_figures(cache: Cache, columns: ClipColumns) -> list[tuple[str, str, str]]:
    """Return the main figures of a cache: a name, a figure, and what more there is to say."""
    ok = columns.is_ok
    num_ok, num_failed = int(ok.sum()), int((~ok).sum())
    splits = zip(columns.split.names, columns.split.counts(ok).tolist(), strict=True)
    by_split = " · ".join(f"{number:,} {name or 'without split'}" for name, number in splits if number)
    stored_bytes = sum(entry.num_bytes for entry in cache.manifest.objects.values())
    classes = columns.gloss.counts(ok)
    num_takes = len(np.unique(columns.take.codes[ok]))
    num_videos = len(np.unique(columns.video.codes[ok]))
    seconds = float(columns.durations_seconds[ok].sum())
    median = f"median {counted(int(np.median(classes)), 'clip')} a class" if len(classes) else ""
    return [
        ("clips", f"{num_ok:,}", by_split),
        ("classes", f"{len(classes):,}", median),
        ("signers", f"{len(columns.signer.known):,}", "" if columns.signer.known else "no names of signers"),
        ("views", f"{len(columns.view.known):,}", ", ".join(columns.view.known[:8]) or "no names of views"),
        ("takes", f"{num_takes:,}", f"of {counted(num_videos, 'video')}"),
        ("time", time_span(seconds), "of all clips together"),
        ("failed", f"{num_failed:,}", "could not be decoded" if num_failed else "every clip was decoded"),
        ("size", byte_size(stored_bytes), f"{counted(cache.info.num_shards, 'shard')}"),
    ]
