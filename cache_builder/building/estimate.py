"""Estimate a build before it is started: clips, bytes and minutes, from a few clips that are really built.

In: a plan. Out: an `Estimate`. A handful of videos, spread evenly over the plan, is decoded and encoded once in this
process; everything is scaled up from there. That is a few seconds for an answer within some 20 %.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from signprep.cache_builder.building.encode_shard import clips_of_video
from signprep.cache_builder.building.plan import BuildPlan
from signprep.cache_builder.folder.space import free_bytes
from signprep.cache_builder.format.codec import use_one_thread
from signprep.cache_builder.options import Location
from signprep.pipeline.clips import Clip
from signprep.pipeline.datasets.annotations import Segment
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.machine import usable_cores

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
