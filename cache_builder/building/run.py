"""From annotations to a cache in one call: assign splits, plan, build, and say what came of it.

A dry run says before what it will take: a handful of videos, spread evenly over the plan, is decoded and encoded in
this process, and scaled up. That is a few seconds for an answer within some 20 %.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from signprep.cache_builder.building.build import BuildResult, build
from signprep.cache_builder.building.clip_pool import check_pool
from signprep.cache_builder.building.encode_shard import clips_of_video
from signprep.cache_builder.building.plan import BuildPlan, plan_build
from signprep.cache_builder.building.remote_target import check_url
from signprep.cache_builder.building.workers import PoolUse, RunOptions, TwinTarget
from signprep.cache_builder.folder.transaction import free_bytes
from signprep.cache_builder.format.codec import use_one_thread
from signprep.cache_builder.options import BuildOptions, Location, location_of, shown
from signprep.pipeline.clips import Clip
from signprep.pipeline.datasets.annotations import Segment
from signprep.pipeline.datasets.files.data_root import HARMLESS, NOTED, Problem
from signprep.pipeline.datasets.files.video_files import hash_possible_duplicates
from signprep.pipeline.datasets.read import Annotations
from signprep.pipeline.datasets.splits import SplitOptions, assign_splits, changed_by_duplicates, leaks
from signprep.pipeline.errors import AnnotationError, CacheError
from signprep.pipeline.landmarks.maker import require_models
from signprep.pipeline.runtime.machine import usable_cores
from signprep.pipeline.runtime.paths import StrPath
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import byte_size, counted, first_lines, time_span

SHOWN_LINES = 5
"""Lines of each list in the summary; the index has all."""
SMALLEST_RATIO = 0.05
"""Share of raw RGB: half of what the strongest codec reached on real AIHub clips."""


def plan_annotations(
    annotations: Annotations,
    options: BuildOptions,
    splits: SplitOptions = SplitOptions(),
) -> tuple[BuildPlan, list[str]]:
    """Assign splits and return the plan of a cache, and what there is to say of its splits, a line each.

    Raises AnnotationError if the data cannot be split as asked.
    """
    hashes = hash_possible_duplicates(annotations.roots, (segment.video for segment in annotations.segments))
    segments = assign_splits(annotations.segments, splits, content_hashes=hashes)
    videos: dict[str, dict[str, None]] = {}  # by content: people know them by their names
    for segment in segments:
        if segment.video in hashes:
            videos.setdefault(hashes[segment.video], {})[segment.video] = None
    contents = {content: " = ".join(list(names)[:3]) + " = ..." * (len(names) > 3) for content, names in videos.items()}
    found = leaks((s.split, s.take, contents.get(hashes.get(s.video, "")), s.signer) for s in segments)
    told = None if splits.duplicates == "keep" else changed_by_duplicates(annotations.segments, segments)
    notes = [] if told is None else [f"--duplicates {splits.duplicates}: {told}"]
    return plan_build(annotations.roots, segments, options), notes + [leak.warning for leak in found]


def build_from_annotations(
    annotations: Annotations,
    out: StrPath,
    options: BuildOptions,
    *,
    splits: SplitOptions = SplitOptions(),
    run: RunOptions = RunOptions(),  # noqa: B008  (frozen)
    overwrite: bool = False,
    confirm: Callable[[str], None] | None = None,
) -> str:
    """Build or continue the cache of a data set, with progress on stderr, and return the summary for people.

    Args:
        annotations: the data set's segments.
        out: a folder, or a URL that workers write to.
        options: how clips are cut and stored.
        splits: how segments are split.
        run: who builds, and how.
        overwrite: build anew what is there.
        confirm: called with who can read a URL if that is everybody or not known; it raises to cancel.

    Raises:
        AnnotationError: the data cannot be split as asked, or there is any problem with `run.strict`.
        CacheError, DecodeError: as `build` does, or the disk is too small.
    """
    out = location_of(out)
    if run.strict and (grave := [problem for problem in annotations.problems if problem.kind not in HARMLESS]):
        raise AnnotationError(f"{grave[0].message} (stopped by --strict)")
    if isinstance(out, str):
        check_url(out, confirm)
    if run.pool is not None:
        check_pool(run.pool.location, confirm)
    plan, found = plan_annotations(annotations, options, splits)
    started = time.monotonic()
    if isinstance(out, Path):
        check_space(plan, out)
    with progress_bar("Building", plan.num_clips, "clips") as progress:
        result = build(plan, out, replace(run, progress=progress), overwrite=overwrite)
    lines = _build_summary(plan, result, out, time.monotonic() - started)
    lines += _problem_lines(annotations.problems, found)
    return "\n".join(lines if run.pool is None else lines + _pool_lines(run.pool))


def build_both(
    annotations: Annotations,
    out: Location,
    landmarks_out: Path,
    options: BuildOptions,
    *,
    splits: SplitOptions = SplitOptions(),
    run: RunOptions = RunOptions(),  # noqa: B008  (frozen)
    overwrite: bool = False,
    confirm: Callable[[str], None] | None = None,
) -> str:
    """Build the cache of a data set's pixels, and one of the same clips' landmarks, from one decoding.

    Landmarks are put beside their cache, into a clip pool of their own, as pixels are cut; the second build takes them
    from there, and cuts what is missing. So both builds go on where they were stopped.

    Args and errors are those of `build_from_annotations`; `landmarks_out` is the folder of the second cache.
    """
    landmarks = replace(options, clip_spec=replace(options.clip_spec, landmarks="mediapipe"))
    beside = landmarks_out.with_name(f".{landmarks_out.name}.clips")
    twin = TwinTarget(location=beside, clip_spec=landmarks.clip_spec)
    first, second = replace(run, twin=twin), replace(run, pool=PoolUse(location=beside))
    more: dict[str, Any] = {"splits": splits, "overwrite": overwrite, "confirm": confirm}
    require_models()
    lines = [build_from_annotations(annotations, out, options, run=first, **more)]
    lines.append(build_from_annotations(annotations, landmarks_out, landmarks, run=second, **more))
    shutil.rmtree(beside, ignore_errors=True)
    return "\n".join(lines)


def check_space(plan: BuildPlan, out: Path) -> None:
    """Raise CacheError if the disk cannot even hold the smallest cache that was ever seen for so many clips."""
    stored = 0
    with suppress(OSError):  # what cannot be read is told where it is to be written
        stored = sum(path.stat().st_size for path in (out / "clips").rglob("*") if path.is_file())
    needed = round(plan.num_clips * plan.info.clip_spec.raw_bytes * SMALLEST_RATIO) - stored
    if (free := free_bytes(out)) < needed:
        raise CacheError(
            f"{out}: {byte_size(free)} are free, but {plan.num_clips} clips need at least {byte_size(needed)}; "
            "--dry-run estimates it closely"
        )


def _pool_lines(use: PoolUse) -> list[str]:
    lines = [f"taken from the clip pool {shown(use.location)}: {counted(use.num_taken, 'clip')}"]
    if use.errors:
        lines.append(f"clips of {counted(len(use.errors), 'shard')} could not be put there: {use.errors[0]}")
    return lines


def dry_run(
    annotations: Annotations, out: Location, options: BuildOptions, splits: SplitOptions, *, workers: int = -1
) -> str:
    """Return what a build would do and take, for people; nothing is written.

    Raises AnnotationError if the data cannot be split as asked, CacheError if not one clip of those tried can be built.
    """
    plan, found = plan_annotations(annotations, options, splits)
    estimate = estimate_build(plan, out)
    segments = [segment for shard in plan.shards for segment in shard.segments]
    counts = Counter(segment.split for segment in segments)
    free = "" if estimate.free_bytes is None else f"; {byte_size(estimate.free_bytes)} are free"
    if estimate.free_bytes is not None and estimate.free_bytes < estimate.stored_bytes:
        free += ": TOO FEW, make room or choose another disk"
    lines = [
        f"{shown(out)}: {counted(plan.num_clips, 'clip')} ({_listed(counts)}) of "
        f"{counted(len(plan.info.vocabulary), 'gloss', 'glosses')} from "
        f"{counted(len({segment.video for segment in segments}), 'video')}, in {counted(len(plan.shards), 'shard')}",
        f"about {byte_size(estimate.stored_bytes)}{free}",
        f"about {time_span(estimate.cpu_seconds)} of CPU, {time_span(estimate.seconds(workers))} with "
        f"{'all cores' if workers == -1 else f'{workers} workers'}",
        f"(from {counted(estimate.num_sampled, 'clip')} tried, {estimate.num_sampled_failed} of which failed"
        f"{':' if estimate.failures else ''}",
        *first_lines(estimate.failures, SHOWN_LINES),
    ]
    lines[-1] += ")"
    return "\n".join(lines + _problem_lines(annotations.problems, found))


def _build_summary(plan: BuildPlan, result: BuildResult, out: Location, seconds: float) -> list[str]:
    """Return the lines that tell what was built, and what was not and why."""
    num_ok = result.num_clips - result.num_failed
    ratio = result.stored_bytes / max(1, num_ok * plan.info.clip_spec.raw_bytes)
    raw = "as raw RGB" if plan.info.clip_spec.content == "pixels" else "without compression"
    lines = [
        f"{shown(out)}: {counted(num_ok, 'clip')} ({_listed(result.splits)}) of "
        f"{counted(len(plan.info.vocabulary), 'gloss', 'glosses')} from "
        f"{counted(result.num_videos, 'video')}, {byte_size(result.stored_bytes)}, "
        f"{ratio:.3f} of their size {raw}",
    ]
    num_new = result.num_clips - result.num_reused
    if num_new:
        done = "tried" if result.num_failed else "built"
        speed = num_new / max(seconds, 1e-9)
        lines.append(f"{done} {counted(num_new, 'clip')} in {seconds:.1f} s, {speed:.1f} clips/s")
    if result.num_reused:
        changed = f", {result.num_changed} of them with other labels, names or splits" if result.num_changed else ""
        failed = ", failed ones among them" if result.num_failed else ""
        lines.append(f"{counted(result.num_reused, 'clip')} stayed as they were{failed}{changed}")
    if result.num_removed:
        lines.append(f"gone from the data: {counted(result.num_removed, 'clip')}; `signprep compact` frees their bytes")
    if result.num_failed:
        lines.append(f"{counted(result.num_failed, 'clip')} failed:")
        lines += first_lines([f"{reason} [{', '.join(ids)}]" for reason, ids in result.failures.items()], SHOWN_LINES)
    return lines


def _listed(counts: Mapping[str | None, int] | Mapping[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in counts.items())


def _problem_lines(problems: Sequence[Problem], of_splits: Sequence[str]) -> list[str]:
    lines = list(of_splits)
    for word, is_note in (("problem", False), ("note", True)):
        if messages := [problem.message for problem in problems if (problem.kind in NOTED) is is_note]:
            lines.append(f"{counted(len(messages), word)} in the data root:")
            lines += first_lines(messages, SHOWN_LINES)
    return lines


SAMPLED_VIDEOS = 8


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The clips, bytes and seconds that a build will take."""

    num_clips: int
    num_sampled: int
    """Clips that the figures are scaled up from."""
    num_sampled_failed: int
    failures: tuple[str, ...]
    stored_bytes: int
    cpu_seconds: float
    free_bytes: int | None
    """Free bytes of the cache's disk; None behind a URL."""

    def seconds(self, workers: int) -> float:
        """Return the wall time with that many workers, -1 for all cores."""
        cores = usable_cores()
        return self.cpu_seconds / (cores if workers == -1 else min(workers, cores))


def estimate_build(plan: BuildPlan, out: Location) -> Estimate:
    """Build a few of the plan's clips in memory and scale up what they take.

    Raises CacheError if not one of them can be built.
    """
    use_one_thread()
    by_video: dict[str, list[Segment]] = {}
    for shard in plan.shards:
        for segment in shard.segments:
            by_video.setdefault(segment.video, []).append(segment)
    videos = list(by_video)
    step = max(1, len(videos) // SAMPLED_VIDEOS)
    num_sampled = num_bytes = 0
    failures: list[str] = []
    started = time.process_time()
    for video in videos[step // 2 :: step][:SAMPLED_VIDEOS]:
        clips, _ = clips_of_video(plan.roots, plan.info, video, by_video[video])
        for clip in clips:
            num_sampled += 1
            if isinstance(clip, Clip):
                num_bytes += len(plan.info.clip_codec.encode(clip.frames))
            else:
                failures.append(str(clip))
    if len(failures) == num_sampled:
        raise CacheError(f"not one of {num_sampled} clips tried can be built; the last reason: {failures[-1]}")
    scale = plan.num_clips / num_sampled
    return Estimate(
        num_clips=plan.num_clips,
        num_sampled=num_sampled,
        num_sampled_failed=len(failures),
        failures=tuple(dict.fromkeys(failures)),
        stored_bytes=round(num_bytes * scale),
        cpu_seconds=(time.process_time() - started) * scale,
        free_bytes=free_bytes(out) if isinstance(out, Path) else None,
    )
