"""Merge: one new cache of the clips of several, each once, from the first cache that has it whole.

In: finished caches whose clips are cut in the same way. Out: a finished cache, as a build of all their data would make
it. Chunks are copied as they are stored, after their checksum; memory holds the index and one shard. A merge that was
stopped opens as nothing, and the same command goes on. The trade-off: a split that was fair in each cache may leak in
all together; that is said, and assigning splits anew is left to who asks.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.building.plan import SPLIT_ORDER, clips_per_shard
from signprep.cache_builder.building.update import incompatibilities
from signprep.cache_builder.edit.diff import chosen_rows, clips_of_rows, codes, live_rows
from signprep.cache_builder.folder.local_records import note_synced, synced_fingerprints
from signprep.cache_builder.folder.transaction import changed_cache, check_free_bytes, delete_torn_writes, write_state
from signprep.cache_builder.format.index import OK, SCHEMA, has_unknown_clips, index_of_positions, stacked
from signprep.cache_builder.format.layout import (
    CacheInfo,
    CacheObject,
    read_manifest,
    require_object,
    shard_path,
    write_atomically,
)
from signprep.cache_builder.format.shard import shard_bytes
from signprep.cache_builder.options import MergeOptions
from signprep.cache_builder.reader import Cache, open_folder
from signprep.pipeline.datasets.annotations import Segment, Vocabulary
from signprep.pipeline.datasets.splits import Leak, SplitOptions, assign_splits, leaks
from signprep.pipeline.errors import CacheError
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import byte_size, counted

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


def _plan_merge(caches: Sequence[Cache], options: MergeOptions) -> MergePlan:
    """Return the plan of the cache of all clips of some caches; errors are those of `merge`."""
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
    used = set(rows["gloss"].take(pa.array(kept)).unique().to_pylist())
    # Those of the first cache in its order, then those that each next one adds.
    vocabulary = Vocabulary.of(gloss for cache in caches for gloss in cache.vocabulary.glosses if gloss in used)
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


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """The outcome of a merge."""

    clips_of: tuple[int, ...]
    """Clips that each cache gave, failed ones included."""
    num_failed: int
    """Clips that no cache has whole."""
    splits: dict[str | None, int]
    num_glosses: int
    stored_bytes: int
    num_shared: int
    num_conflicts: int
    num_split_conflicts: int
    num_renamed: int
    found_leaks: tuple[Leak, ...]


def merge(
    roots: Sequence[StrPath],
    out: StrPath,
    options: MergeOptions = MergeOptions(),
    *,
    overwrite: bool = False,
) -> MergeResult:
    """Write the cache of all clips of some caches, or go on with it, with progress on stderr.

    Raises:
        CacheError: as `_plan_merge`; a cache is none, is given twice or is the output; there is something at `out`;
            the disk is too small.
        CacheCorruptError: a clip is damaged, or is not the one that its cache's index means.
        AnnotationError: the clips cannot be split as asked.
    """
    folders, out = [as_path(root) for root in roots], as_path(out)
    _require_apart(folders, out)
    caches = [open_folder(folder) for folder in folders]
    plan = _plan_merge(caches, options)
    with changed_cache(out, "merge") as change:
        if change.begin(plan.info, plan.digest, overwrite=overwrite):
            delete_torn_writes(out)
            _require_written(caches)
            objects = _write_shards(caches, plan, out)
            _note_origins(caches, out)
            change.commit(write_state(out, plan.info, index=plan.index, objects=objects, plan_digest=plan.digest))
        elif read_manifest(out).plan_digest == plan.digest:  # this very cache, perhaps of a process killed at its end
            change.discard()
        else:
            raise CacheError(f"{out}: is a cache already; choose another --out, or --overwrite to replace it")
    return _report(plan, len(caches))


def _require_apart(roots: Sequence[Path], out: Path) -> None:
    resolved = [root.resolve() for root in roots]
    for number, root in enumerate(roots):
        if resolved[number] in resolved[:number]:
            raise CacheError(f"{root}: is given twice")
        if resolved[number] in (out.resolve(), *out.resolve().parents):
            raise CacheError(f"{out}: lies in one of the caches that are merged; --out names a new folder")


def _write_shards(caches: Sequence[Cache], plan: MergePlan, out: Path) -> dict[str, CacheObject]:
    """Write the shards that are not there yet; return all of them by path."""
    size = plan.info.clips_per_shard
    paths = {number: shard_path(plan.info, number) for number in range(plan.info.num_shards)}
    objects = {path: CacheObject.of(out / path) for path in paths.values() if (out / path).exists()}
    sizes = plan.index["stored_bytes"].to_numpy()
    check_free_bytes(out, int(sizes.sum()) - sum(entry.num_bytes for entry in objects.values()))
    with progress_bar("Merging", len(sizes), "clips") as progress:
        for number, path in paths.items():
            places = range(number * size, min((number + 1) * size, len(sizes)))
            if path not in objects and sizes[places.start : places.stop].any():
                chunks = [
                    caches[plan.caches[place]].stored_chunk(int(plan.positions[place])) if sizes[place] else None
                    for place in places
                ]
                data = shard_bytes(chunks, size)
                write_atomically(out / path, data)
                objects[path] = CacheObject.of(data)
                for cache in caches:
                    cache.unmap()
            progress(places.stop)
    return objects


def _require_written(caches: Sequence[Cache]) -> None:
    """Raise CacheCorruptError if a shard of older caches, whose rows tell no checksums, is not what was written."""
    older = [cache for cache in caches if has_unknown_clips(cache.index)]
    files = [(cache.path / path, entry) for cache in older for path, entry in cache.manifest.objects.items()]
    with progress_bar("Comparing", len(files), "files") as progress:
        for number, (file, entry) in enumerate(files, start=1):
            require_object(file, entry)
            progress(number)


def _note_origins(caches: Sequence[Cache], out: Path) -> None:
    """Note which states elsewhere the new cache comes from, so that it may be pushed in their place."""
    for cache in caches:
        states = synced_fingerprints(cache.path)
        if states:
            note_synced(out, cache.fingerprint if cache.fingerprint in states else states[-1])


def _report(plan: MergePlan, num_caches: int) -> MergeResult:
    columns = {
        name: plan.index[name].cast(pa.string()).to_pylist() for name in ("split", "take", "video_hash", "signer")
    }
    statuses = plan.index["status"].to_pylist()
    pairs = zip(columns["split"], statuses, strict=True)
    splits = Counter(split for split, status in pairs if status == OK)
    return MergeResult(
        clips_of=tuple(int((plan.caches == number).sum()) for number in range(num_caches)),
        num_failed=len(statuses) - splits.total(),
        splits=dict(splits),
        num_glosses=len(plan.info.vocabulary),
        stored_bytes=int(plan.index["stored_bytes"].to_numpy().sum()),
        num_shared=plan.num_shared,
        num_conflicts=plan.num_conflicts,
        num_split_conflicts=plan.num_split_conflicts,
        num_renamed=plan.num_renamed,
        found_leaks=tuple(leaks(zip(*columns.values(), strict=True))),
    )


def merge_summary(report: MergeResult, roots: Sequence[Path], out: Path, options: MergeOptions) -> str:
    """Return the lines that tell people what was merged, and what they should look at."""
    splits = ", ".join(f"{count:,} {split or 'without a split'}" for split, count in report.splits.items())
    given = ", ".join(f"{count:,} taken from {root}" for root, count in zip(roots, report.clips_of, strict=True))
    lines = [
        f"{out}: {counted(sum(report.splits.values()), 'clip')} ({splits}) of "
        f"{counted(report.num_glosses, 'gloss', 'glosses')}, {byte_size(report.stored_bytes)}",
        f"{given}{', failed ones included' if report.num_failed else ''}; {report.num_shared:,} are in several of "
        "them, and come from the first",
    ]
    if report.num_failed:
        lines.append(f"{counted(report.num_failed, 'clip')} failed wherever they are")
    if report.num_conflicts:
        done = {"first": "the first cache's gloss stands", "last": "the last cache's gloss stands", "drop": "left out"}
        lines.append(f"{counted(report.num_conflicts, 'clip')} labelled in several ways: {done[options.on_conflict]}")
    if report.num_renamed:
        lines.append(
            f"take care: {counted(report.num_renamed, 'clip')} with the segment id of another clip, of other video "
            "content or another span: both are kept, the later one as NAME~2"
        )
    if report.num_split_conflicts:
        lines.append(
            f"{counted(report.num_split_conflicts, 'clip')} in several splits: the one of the first cache stands"
        )
    lines += [leak.warning for leak in report.found_leaks]
    if any(leak.forbidden for leak in report.found_leaks):
        lines.append("--split-by auto, with another --out or --overwrite, splits the clips anew")
    return "\n".join(lines)
