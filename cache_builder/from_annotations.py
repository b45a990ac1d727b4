"""From annotations to a cache in one call: assign splits, plan, build, and say what came of it."""

import time
from collections.abc import Sequence
from pathlib import Path

from signprep.cache_builder.build import BuildReport, build
from signprep.cache_builder.plan import BuildOptions, BuildPlan, plan_build
from signprep.pipeline.content import twin_hashes
from signprep.pipeline.errors import AnnotationError
from signprep.pipeline.progress import progress_bar
from signprep.pipeline.sources.annotations import Annotations, Problem
from signprep.pipeline.splits import Leak, SplitOptions, assign_splits, leaks

SHOWN_LINES = 5
"""Of each list in the summary; the index has all."""


def build_from_annotations(
    annotations: Annotations,
    out: Path,
    options: BuildOptions,
    *,
    splits: SplitOptions = SplitOptions(),  # noqa: B008  (frozen)
    workers: int = -1,
    strict: bool = False,
    overwrite: bool = False,
) -> str:
    """Build or continue the cache of a data set, with progress on stderr, and return the summary for people.

    Raises:
        AnnotationError: the data cannot be split as asked, or there is any problem with `strict`.
        CacheError, DecodeError: as `build` does.
    """
    if strict and annotations.problems:
        raise AnnotationError(f"{annotations.problems[0].message} (stopped by --strict)")
    twins = twin_hashes(annotations.roots, (segment.video for segment in annotations.segments))
    segments = assign_splits(annotations.segments, splits, content_hashes=twins)
    found = leaks((s.split, s.take, twins.get(s.video), s.signer) for s in segments)
    plan = plan_build(annotations.roots, segments, options)
    started = time.monotonic()
    with progress_bar("Building", plan.num_clips, "clips") as progress:
        report = build(plan, out, workers=workers, strict=strict, overwrite=overwrite, progress=progress)
    return build_summary(plan, report, annotations.problems, found, out, time.monotonic() - started)


def build_summary(
    plan: BuildPlan,
    report: BuildReport,
    problems: Sequence[Problem],
    found_leaks: Sequence[Leak],
    out: Path,
    seconds: float,
) -> str:
    """Return the lines that tell what was built, and what was not and why."""
    num_ok = report.num_clips - report.num_failed
    raw_bytes = num_ok * plan.info.clip_spec.raw_rgb_bytes
    splits = ", ".join(f"{count} {split}" for split, count in report.splits.items())
    num_videos = len({segment.video for shard in plan.shards for segment in shard.segments})
    lines = [
        f"{out}: {num_ok} clips ({splits}) of {len(plan.info.vocabulary)} glosses from {num_videos} videos, "
        f"{report.stored_bytes / 1e6:.1f} MB, {report.stored_bytes / max(1, raw_bytes):.3f} of raw RGB",
    ]
    num_new = report.num_clips - report.num_reused
    if num_new:
        lines.append(f"built {num_new} clips in {seconds:.1f} s, {num_new / max(seconds, 1e-9):.1f} clips/s")
    if report.num_reused:
        lines.append(f"kept {report.num_reused} clips of an earlier run")
    if report.num_failed:
        lines.append(f"{report.num_failed} clips failed:")
        lines += _shortened([f"{reason} [{', '.join(ids)}]" for reason, ids in report.failures.items()])
    for leak in found_leaks:
        lines.append(f"{'training will refuse this' if leak.forbidden else 'take care'}: {leak}")
    if problems:
        lines.append(f"{len(problems)} problems in the data root:")
        lines += _shortened([problem.message for problem in problems])
    return "\n".join(lines)


def _shortened(lines: Sequence[str]) -> list[str]:
    shown = [f"  {line}" for line in lines[:SHOWN_LINES]]
    return shown + ([f"  ... and {len(lines) - SHOWN_LINES} more"] if len(lines) > SHOWN_LINES else [])
