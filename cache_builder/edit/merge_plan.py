"""Plan a merged cache: the clip of each position, the cache that it comes from, and its labels.

In: finished caches. Out: a `MergePlan`. Every clip is taken once, from the first cache that has it whole, with that
cache's row: its names, its gloss, its split. A pure function of the caches and options, so that the same inputs give
the same cache. The trade-off: a split that was fair in each cache may leak in both together; that is said, and
assigning splits anew is left to who asks.
"""

import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.building.plan import SPLIT_ORDER, clips_per_shard
from signprep.cache_builder.building.update import incompatibilities
from signprep.cache_builder.edit.diff import chosen_rows, clips_of_rows, codes, live_rows
from signprep.cache_builder.format.index import OK, SCHEMA, index_of_positions, stacked
from signprep.cache_builder.format.layout import CacheInfo
from signprep.cache_builder.options import MergeOptions
from signprep.cache_builder.reader import Cache
from signprep.pipeline.datasets.annotations import Segment, Vocabulary
from signprep.pipeline.datasets.splits import SplitOptions, assign_splits
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.text import counted

SHOWN_CONFLICTS = 10


@dataclass(frozen=True, kw_only=True)
class MergePlan:
    """A merged cache before its first byte."""

    info: CacheInfo
    index: pa.Table
    caches: NDArray[np.int64]
    """Number of the cache that each position's clip comes from, int64 [N]."""
    positions: NDArray[np.int64]
    """Position of the clip in that cache, int64 [N]."""
    digest: str
    """Hash of everything that decides the merged cache."""
    num_shared: int
    """Clips that several caches have."""
    num_conflicts: int
    """Shared clips that were labelled with several glosses."""
    num_split_conflicts: int
    """Shared clips that another cache has in another split than the one that stands."""
    num_renamed: int
    """Clips that got another segment id, because another clip has it."""


def plan_merge(caches: Sequence[Cache], options: MergeOptions) -> MergePlan:
    """Return the plan of the cache of all clips of some caches.

    Raises:
        CacheError: their clips are cut in different ways, glosses conflict and nothing says which stands, or no clip
            is left.
        AnnotationError: the clips cannot be split as asked.
    """
    _require_compatible(caches)
    tables = [live_rows(cache) for cache in caches]
    rows, bounds = stacked(tables), np.cumsum([0, *(table.num_rows for table in tables)])
    is_ok = pc.equal(rows["status"].cast(pa.string()), OK).to_numpy()
    clips = clips_of_rows(rows, bounds, is_ok)
    chosen = chosen_rows(clips, is_ok, last=False)
    conflicts = _differing(rows["gloss"], clips, is_ok, chosen)
    if len(conflicts) and options.on_conflict == "refuse":
        raise CacheError(_conflict_message(caches, rows, bounds, clips, conflicts))
    if options.on_conflict == "last":
        chosen[conflicts] = chosen_rows(clips, is_ok, last=True)[conflicts]
    kept = np.delete(chosen, conflicts) if options.on_conflict == "drop" else chosen
    if not is_ok[kept].any():
        raise CacheError(f"{_listed(caches)}: have no clip that a merged cache would hold")
    vocabulary = _vocabulary(caches, rows["gloss"].take(pa.array(kept)))
    index, num_renamed = _with_unique_ids(index_of_positions(rows, kept, vocabulary))
    if options.splits is not None:
        index = _split_anew(index, options.splits)
    order = _build_order(index)
    info = _merged_info(caches, vocabulary, len(kept))
    row_caches = np.searchsorted(bounds, kept[order], side="right") - 1
    positions = rows["position"].to_numpy()[kept[order]]
    return MergePlan(
        info=info,
        index=index_of_positions(index, order, vocabulary),
        caches=row_caches,
        positions=positions,
        digest=_digest(info, options, row_caches, positions),
        num_shared=int((np.bincount(clips) > 1).sum()),
        num_conflicts=len(conflicts),
        num_split_conflicts=0 if options.splits else len(_differing(rows["split"], clips, is_ok, chosen)),
        num_renamed=num_renamed,
    )


def _require_compatible(caches: Sequence[Cache]) -> None:
    first = caches[0]
    for cache in caches[1:]:
        found = incompatibilities(first.info, cache.info)
        if found:
            named = "; ".join(
                f"{name} is {was!r} in the first, {now!r} in the second" for name, (was, now) in found.items()
            )
            raise CacheError(f"{first}, {cache}: their clips are cut in different ways: {named}")


def _differing(
    column: pa.ChunkedArray, clips: NDArray[np.int64], is_ok: NDArray[np.bool_], chosen: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the clips of which rows that may be chosen differ in a column, ascending."""
    values = codes(column)
    may_be_chosen = is_ok == is_ok[chosen][clips]
    return np.unique(clips[may_be_chosen & (values != values[chosen][clips])])


def _conflict_message(
    caches: Sequence[Cache],
    rows: pa.Table,
    bounds: NDArray[np.int64],
    clips: NDArray[np.int64],
    conflicts: NDArray[np.int64],
) -> str:
    lines = [
        f"{_listed(caches)}: {counted(len(conflicts), 'clip')} labelled in several ways; --on-conflict first, last or "
        "drop decides, or correct the labels and build again:"
    ]
    for clip in conflicts[:SHOWN_CONFLICTS]:
        members = np.flatnonzero(clips == clip)
        names = [caches[number] for number in np.searchsorted(bounds, members, side="right") - 1]
        glosses = rows["gloss"].take(pa.array(members)).to_pylist()
        said = ", ".join(f"{gloss} in {name}" for gloss, name in zip(glosses, names, strict=True))
        lines.append(f"  {rows['segment_id'][int(members[0])]}: {said}")
    more = len(conflicts) - SHOWN_CONFLICTS
    return "\n".join([*lines, f"  ... and {more} more"] if more > 0 else lines)


def _listed(caches: Sequence[Cache]) -> str:
    return ", ".join(str(cache) for cache in caches)


def _vocabulary(caches: Sequence[Cache], glosses: pa.ChunkedArray) -> Vocabulary:
    """Return the glosses that are used: those of the first cache in its order, then those that each next one adds."""
    used = set(glosses.unique().to_pylist())
    return Vocabulary.of(gloss for cache in caches for gloss in cache.vocabulary.glosses if gloss in used)


def _with_unique_ids(index: pa.Table) -> tuple[pa.Table, int]:
    """Return rows of which no two have one segment id, and how many were renamed: the later ones, `NAME~2`."""
    names = index["segment_id"].to_pylist()
    taken = set(names)
    if len(taken) == len(names):
        return index, 0
    seen: set[str] = set()
    num_renamed = 0
    for place, name in enumerate(names):
        if name in seen:
            names[place] = next(new for k in itertools.count(2) if (new := f"{name}~{k}") not in taken)
            taken.add(names[place])
            num_renamed += 1
        seen.add(name)
    return _with_column(index, "segment_id", names), num_renamed


def _split_anew(index: pa.Table, options: SplitOptions) -> pa.Table:
    names = ("segment_id", "video", "video_hash", "start_seconds", "end_seconds", "gloss", "signer", "take")
    columns = (index[name].to_pylist() for name in names)
    segments = [
        Segment(
            segment_id=segment_id,
            # Two caches may call different videos by one name.
            video=video_hash or f"unread {video}",
            start_seconds=start,
            end_seconds=end,
            gloss=gloss,
            signer=signer,
            take=take,
        )
        for segment_id, video, video_hash, start, end, gloss, signer, take in zip(*columns, strict=True)
    ]
    return _with_column(index, "split", [segment.split for segment in assign_splits(segments, options)])


def _with_column(index: pa.Table, name: str, values: list[Any]) -> pa.Table:
    field = SCHEMA.field(name)
    return index.set_column(SCHEMA.get_field_index(name), field, pa.array(values, field.type))


def _build_order(index: pa.Table) -> NDArray[np.int64]:
    """Return the rows in the order of a build: see `plan_build`."""
    ranks = pa.array([SPLIT_ORDER.get(split, len(SPLIT_ORDER)) for split in index["split"].to_pylist()])
    keyed = index.select(["video", "start_seconds", "segment_id"]).append_column("rank", ranks)
    keys = [(name, "ascending") for name in ("rank", "video", "start_seconds", "segment_id")]
    return pc.sort_indices(keyed, sort_keys=keys).to_numpy().astype(np.int64)


def _merged_info(caches: Sequence[Cache], vocabulary: Vocabulary, num_clips: int) -> CacheInfo:
    """Return the merged cache's info; its provenance names the states that it comes from, and every version of each."""
    first = caches[0].info
    found: dict[str, set[str]] = {}
    for cache in caches:
        for name, version in cache.info.provenance.get("versions", {}).items():
            found.setdefault(name, set()).update(version.split(", "))  # it may have been merged itself
    return CacheInfo(
        clip_spec=first.clip_spec,
        codec=first.codec,
        vocabulary=vocabulary,
        num_positions=num_clips,
        clips_per_shard=clips_per_shard(num_clips),
        provenance=dict(first.provenance)
        | {
            "versions": {name: ", ".join(sorted(versions)) for name, versions in found.items()},
            "merged_from": [cache.fingerprint for cache in caches],
        },
    )


def _digest(info: CacheInfo, options: MergeOptions, caches: NDArray[np.int64], positions: NDArray[np.int64]) -> str:
    splits = asdict(options.splits) if options.splits is not None else None
    decided = json.dumps([info.to_dict(), options.on_conflict, splits], ensure_ascii=False, sort_keys=True)
    digest = hashlib.blake2b(decided.encode(), digest_size=16)
    digest.update(caches.tobytes() + positions.tobytes())
    return digest.hexdigest()
