"""Plan the update of a finished cache whose data have changed: clips that stay, that are new, that are gone.

A clip stays where it is if the same bytes of video are still labelled over the same span, with the same box if that
decides what the clip shows, whatever the files, glosses and splits are called now; what is new goes
behind it. Positions never move, so a changed label costs an index and no clip. The trade-off: what is gone keeps its
bytes until `compact`.
"""

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from signprep.cache_builder.building.plan import SEGMENT_FIELDS, BuildPlan, ShardPlan
from signprep.cache_builder.format.index import FAILED, OK, REMOVED, SCHEMA
from signprep.cache_builder.format.layout import CacheInfo
from signprep.pipeline.datasets.annotations import Segment, Vocabulary
from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import AnnotationError, CacheError
from signprep.pipeline.runtime.machine import in_processes
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.video.image_sequence import ImageSequence
from signprep.pipeline.video.preprocess import preprocessing_version_of

OPENED_VIDEOS_A_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class UpdatePlan:
    """A finished cache's way to its new state."""

    info: CacheInfo
    kept: pa.Table
    """The new index rows of all positions that are there already."""
    shards: tuple[ShardPlan, ...]
    """Shards to build behind them; the first may fill up the last one that is there."""
    num_changed: int
    """Clips that stay, with other labels, names or splits."""
    num_removed: int

    @property
    def is_none(self) -> bool:
        """True if the cache is up to date."""
        return not (self.shards or self.num_changed or self.num_removed)


def require_compatible(where: object, old: CacheInfo, new: CacheInfo) -> None:
    """Raise CacheError unless clips of the cache that is there are those that the new one would store."""
    differing = incompatibilities(old, new)
    if differing:
        listed = "; ".join(f"{name} {was} there, {asked} asked for" for name, (was, asked) in differing.items())
        raise CacheError(
            f"{where}: holds clips that were cut in another way ({listed}); choose another --out, or --overwrite to "
            "replace it"
        )


def incompatibilities(old: CacheInfo, new: CacheInfo) -> dict[str, tuple[Any, Any]]:
    """Return the settings of two caches that decide a clip's bytes and differ: both values by name."""
    was, now = _decides(old), _decides(new)
    names = [*was, *(name for name in now if name not in was)]
    return {name: (was.get(name), now.get(name)) for name in names if was.get(name) != now.get(name)}


def _decides(info: CacheInfo) -> dict[str, Any]:
    return info.clip_spec.to_dict() | {"codec": info.codec, "decoder": info.provenance.get("decoder")}


def plan_update(
    index: pa.Table,
    info: CacheInfo,
    plan: BuildPlan,
    video_hashes: Mapping[str, str | None],
    recut: Set[str] = frozenset(),
) -> UpdatePlan:
    """Return what changes a cache with this index and info into one of the planned segments.

    Args:
        index: all rows of the finished cache.
        info: of the finished cache.
        plan: of a new cache of the data as it is now; see `require_compatible`.
        video_hashes: content hash of each video that is there.
        recut: videos whose clips are cut again although they have not changed.
    """
    stays, new = _match(index, plan, video_hashes, recut)
    used = {segment.gloss for shard in plan.shards for segment in shard.segments}
    vocabulary = Vocabulary.of(
        [*(gloss for gloss in info.vocabulary.glosses if gloss in used), *plan.info.vocabulary.glosses]
    )
    kept = _kept_rows(index, stays, vocabulary.labels())
    shards = _shards_behind(index.num_rows, info.clips_per_shard, new)
    return UpdatePlan(
        info=replace(
            info,
            vocabulary=vocabulary,
            num_positions=index.num_rows + len(new),
            provenance=plan.info.provenance if shards or is_of_older_version(info, plan.info) else info.provenance,
        ),
        kept=kept,
        shards=shards,
        num_changed=_num_changed(index, kept, stays),
        num_removed=sum(
            was != REMOVED and now == REMOVED
            for was, now in zip(_strings(index, "status"), _strings(kept, "status"), strict=True)
        ),
    )


def is_of_older_version(old: CacheInfo, new: CacheInfo) -> bool:
    """Return True if a cache was cut by an older version of the preprocessing than the new one."""
    return bool(old.provenance["preprocessing_version"] < new.provenance["preprocessing_version"])


def videos_to_cut_again(index: pa.Table, info: CacheInfo, plan: BuildPlan, workers: int = 1) -> frozenset[str]:
    """Return the videos of a cache that the present preprocessing cuts in another way, or may be able to read now.

    Only a cache of an older version has any. Its videos are opened once, with progress on stderr: the new state is of
    the present version.

    Args:
        index: all rows of the finished cache.
        info: of the finished cache.
        plan: of a new cache of the data as it is now.
        workers: processes of this machine; -1 for all cores.
    """
    if not is_of_older_version(info, plan.info):
        return frozenset()
    rows = list(zip(_strings(index, "video"), _strings(index, "status"), strict=True))
    failed = {video for video, status in rows if status == FAILED}
    videos = sorted({video for video, _ in rows}.intersection(plan.videos()))
    chunks = [videos[start : start + OPENED_VIDEOS_A_CHUNK] for start in range(0, len(videos), OPENED_VIDEOS_A_CHUNK)]
    found: list[str] = []
    with progress_bar("Looking at the videos of an older version", len(videos), "videos") as progress:
        done = 0
        calls = ((plan.roots.absolute(), chunk) for chunk in chunks)
        for versions in in_processes(_versions_of, calls, workers):
            for video, needed in zip(videos[done:], versions, strict=False):
                if needed and (video in failed or needed > info.provenance["preprocessing_version"]):
                    found.append(video)
            progress(done := done + len(versions))
    return frozenset(found)


def _versions_of(roots: DataRoots, videos: Sequence[str]) -> list[int | None]:
    """Return the version of the preprocessing that each video needs, None for one that cannot be read."""
    versions: list[int | None] = []
    for video in videos:
        versions.append(None)
        with suppress(OSError, AnnotationError), roots.opened(video) as source:
            versions[-1] = 1 if isinstance(source, ImageSequence) else preprocessing_version_of(source, video)
    return versions


def _match(
    index: pa.Table, plan: BuildPlan, video_hashes: Mapping[str, str | None], recut: Set[str]
) -> tuple[dict[int, Segment], list[Segment]]:
    """Return the segment of each position that stays, and the segments that have none.

    Where several segments are of one span, a position stays that of its own one, as long as that is there.
    """
    free: dict[tuple[Any, ...], list[int]] = {}
    names = index["segment_id"].to_pylist()
    columns = ("video_hash", "video", "start_seconds", "end_seconds", "box")
    rows = zip(*(index[name].to_pylist() for name in columns), strict=True)
    for position, (video_hash, video, start, end, box) in enumerate(rows):
        key = _content(video_hash, video), start, end, None if box is None else tuple(box)
        free.setdefault(key, []).append(position)

    def positions_of(segment: Segment) -> list[int]:
        content = _content(video_hashes.get(segment.video), segment.video)
        found = free.get((content, segment.start_seconds, segment.end_seconds, segment.box), [])
        return found if segment.video not in recut else []

    stays: dict[int, Segment] = {}
    others: list[Segment] = []
    for segment in (segment for shard in plan.shards for segment in shard.segments):
        positions = positions_of(segment)
        own = next((position for position in positions if names[position] == segment.segment_id), None)
        if own is None:
            others.append(segment)
        else:
            positions.remove(own)
            stays[own] = segment
    new: list[Segment] = []
    for segment in others:
        if positions := positions_of(segment):
            stays[positions.pop(0)] = segment
        else:
            new.append(segment)
    return stays, new


def _content(video_hash: str | None, video: str) -> str:
    """Return the identity of a video: its content, or its name as long as nobody could read it."""
    return video_hash if video_hash is not None else f"unread {video}"


def _kept_rows(index: pa.Table, stays: Mapping[int, Segment], labels: Mapping[str, int]) -> pa.Table:
    columns = {name: index[name] for name in SCHEMA.names}
    for name in SEGMENT_FIELDS:
        values = index[name].to_pylist()
        for position, segment in stays.items():
            values[position] = getattr(segment, name)
        columns[name] = pa.array(values, SCHEMA.field(name).type)
    stored = index["stored_bytes"].to_pylist()
    statuses = [
        (OK if stored[position] else FAILED) if position in stays else REMOVED for position in range(index.num_rows)
    ]
    columns["status"] = pa.array(statuses, SCHEMA.field("status").type)
    new_labels = [labels[stays[p].gloss] if p in stays else None for p in range(index.num_rows)]
    columns["label"] = pa.array(new_labels, pa.int32())
    return pa.table(columns, schema=SCHEMA)


def _shards_behind(num_positions: int, clips_per_shard: int, new: Sequence[Segment]) -> tuple[ShardPlan, ...]:
    """Return the shards of new clips; the first fills up the last one that is there.

    >>> [shard.num_kept for shard in _shards_behind(6, 4, [None] * 3)]
    [2, 0]
    """
    shards = []
    first, taken = num_positions, 0
    while taken < len(new):
        number, num_kept = divmod(first, clips_per_shard)
        segments = tuple(new[taken : taken + clips_per_shard - num_kept])
        shards.append(ShardPlan(number=number, first_position=first, segments=segments, num_kept=num_kept))
        first, taken = first + len(segments), taken + len(segments)
    return tuple(shards)


def _num_changed(old: pa.Table, new: pa.Table, stays: Mapping[int, Segment]) -> int:
    changed: set[int] = set()
    for name in (*SEGMENT_FIELDS, "status"):
        pairs = zip(old[name].to_pylist(), new[name].to_pylist(), strict=True)
        changed |= {position for position, (was, now) in enumerate(pairs) if was != now}
    return len(changed & stays.keys())


def _strings(table: pa.Table, name: str) -> list[str]:
    strings: list[str] = table[name].cast(pa.string()).to_pylist()
    return strings
