"""Merge: one new cache of the clips of several, each once.

In: finished caches whose clips are cut in the same way. Out: a finished cache, as a build of all their data would make
it. Chunks are copied as they are stored, after their checksum, never decoded; memory holds the index and one shard.
Shards are written whole and the manifest last: a merge that was stopped opens as nothing, and the same command goes on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from signprep.cache_builder.edit.merge_plan import MergePlan, plan_merge
from signprep.cache_builder.folder.local_records import note_synced, synced_fingerprints
from signprep.cache_builder.folder.space import check_free_bytes
from signprep.cache_builder.folder.transaction import (
    changed_cache,
    delete_torn_writes,
    write_state,
)
from signprep.cache_builder.format.index import OK
from signprep.cache_builder.format.layout import CacheObject, shard_path, write_atomically
from signprep.cache_builder.format.shard import shard_bytes
from signprep.cache_builder.options import MergeOptions
from signprep.cache_builder.reader import Cache, open_folder
from signprep.pipeline.datasets.splits import Leak, leaks
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import byte_size, counted


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
    roots: Sequence[Path],
    out: Path,
    options: MergeOptions = MergeOptions(),
    *,
    overwrite: bool = False,
) -> MergeResult:
    """Write the cache of all clips of some caches, or go on with it, with progress on stderr.

    Raises:
        CacheError: as `plan_merge`; a cache is none, is given twice or is the output; there is something at `out`;
            the disk is too small.
        CacheCorruptError: a clip is damaged.
        AnnotationError: the clips cannot be split as asked.
    """
    _require_apart(roots, out)
    caches = [open_folder(root) for root in roots]
    plan = plan_merge(caches, options)
    with changed_cache(out) as change:
        if not change.begin(plan.info, plan.digest, overwrite=overwrite):
            raise CacheError(f"{out}: is a cache already; choose another --out, or --overwrite to replace it")
        delete_torn_writes(out)
        objects = _write_shards(caches, plan, out)
        _note_origins(caches, out)
        change.commit(write_state(out, plan.info, index=plan.index, objects=objects, plan_digest=plan.digest))
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
    objects = {path: CacheObject.of_file(out / path) for path in paths.values() if (out / path).exists()}
    sizes = plan.index["stored_bytes"].to_numpy()
    check_free_bytes(out, int(sizes.sum()) - sum(entry.num_bytes for entry in objects.values()))
    with progress_bar("Merging", len(sizes), "clips") as progress:
        for number, path in paths.items():
            places = range(number * size, min((number + 1) * size, len(sizes)))
            if path not in objects and sizes[places.start : places.stop].any():
                data = shard_bytes([_chunk(caches, plan, place, int(sizes[place])) for place in places], size)
                write_atomically(out / path, data)
                objects[path] = CacheObject.of(data)
                for cache in caches:
                    cache.unmap()
            progress(places.stop)
    return objects


def _chunk(caches: Sequence[Cache], plan: MergePlan, place: int, num_bytes: int) -> bytes | None:
    """Return the inner chunk of a new position, None where the clip has failed."""
    if not num_bytes:
        return None
    cache, position = caches[plan.caches[place]], int(plan.positions[place])
    chunk = cache.stored_chunk(position)
    if len(chunk) != num_bytes:
        name = cache.segment_id(position)
        raise CacheCorruptError(f"{cache}: clip {position} ({name}) has {len(chunk)} bytes, {num_bytes} by the index")
    return chunk


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
        f"{out}: {counted(sum(report.splits.values()), 'clip')} ({splits}) of {report.num_glosses} glosses, "
        f"{byte_size(report.stored_bytes)}",
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
