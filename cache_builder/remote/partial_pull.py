"""Pull a part of a cache: the clips of some splits, glosses or signers, as a smaller cache of its own.

Only the ranges of
bytes that hold chosen clips are asked for, and each clip's bytes are compared with their own checksum: one signer of
twenty is a twentieth of the bytes. The trade-off: the new shards are not the published ones, so a later pull of another
selection begins anew.
"""

import hashlib
import itertools
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from signprep.cache_builder.folder.local_records import note_synced
from signprep.cache_builder.folder.transaction import (
    CacheChange,
    changed_cache,
    check_free_bytes,
    refuse_foreign_folder,
    write_state,
)
from signprep.cache_builder.format.consistency import read_columns
from signprep.cache_builder.format.index import (
    OK,
    SCHEMA,
    NothingChosenError,
    index_of_positions,
    rows_with,
    used_vocabulary,
)
from signprep.cache_builder.format.layout import (
    BUILD_FOLDER,
    INDEX,
    METADATA,
    CacheInfo,
    CacheObject,
    finished_manifest,
    shard_path,
    write_atomically,
)
from signprep.cache_builder.format.shard import (
    CHECKSUM_BYTES,
    INDEX_ENTRY_BYTES,
    chunk_bounds,
    chunk_checksum,
    chunk_is_intact,
    shard_bytes,
    shard_index,
)
from signprep.cache_builder.options import Selection, location_of
from signprep.cache_builder.remote.published import PublishedCache, open_published
from signprep.cache_builder.remote.pull import fetch_metadata, refuse_other_state
from signprep.cache_builder.remote.storage import Progress
from signprep.cache_builder.remote.transfer import TransferResult, coalesce_ranges, transfer_all
from signprep.pipeline.errors import CacheCorruptError
from signprep.pipeline.runtime.paths import StrPath, as_path

_STATE = "selection.json"
"""File of the build folder that tells what is being pulled: the digest of a state and a selection."""


def pull_selection(
    location: StrPath, out: StrPath, selection: Selection, *, overwrite: bool = False, dry_run: bool = False
) -> TransferResult:
    """Make a folder the cache of some clips of a finished cache; a dry run fetches the index only.

    Labels stay those of that cache, so that its models go on working; with a choice of glosses, labels are theirs.
    Raises as `pull`, and CacheError if nothing is chosen.
    """
    location = location_of(location)
    out = as_path(out)
    published = open_published(location)
    digest = _digest(selection, published.manifest.fingerprint)
    if dry_run:
        refuse_foreign_folder(out)
        refuse_other_state(out, published, overwrite=overwrite)
        return _would_fetch(published, out, selection, digest)
    was_there = out.exists()
    try:
        with changed_cache(out, "pull") as change:
            refuse_other_state(out, published, overwrite=overwrite)
            change.note_command()
            if (present := _present(out, digest)) is not None:
                change.discard()
                return present
            change.resume(_STATE, digest)
            return _fetch(published, change, _Plan.of(published, out, selection), digest)
    except NothingChosenError:
        if not was_there:
            shutil.rmtree(out)
        raise


def _digest(selection: Selection, fingerprint: str) -> str:
    """Return the digest of a state of a cache and a selection."""
    document = [fingerprint, sorted(selection.splits), sorted(selection.glosses), sorted(selection.signers)]
    encoded = json.dumps(document, ensure_ascii=False).encode()
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _chosen_positions(selection: Selection, index: pa.Table, where: object) -> NDArray[np.int64]:
    """Return the positions of the chosen clips that can be read; raise CacheError if a filter finds nothing."""
    chosen = pc.equal(index["status"].cast(pa.string()), OK).to_numpy()
    for column, values in (("split", selection.splits), ("gloss", selection.glosses), ("signer", selection.signers)):
        if values:
            chosen &= rows_with(index, column, values, where)
    positions = np.flatnonzero(chosen)
    if not len(positions):
        raise NothingChosenError(f"{where}: no clip matches all of the filters")
    return positions


def _present(out: Path, digest: str) -> TransferResult | None:
    """Return the result of a pull of what is there already, None if something else is there."""
    manifest = finished_manifest(out)
    if manifest is None or manifest.plan_digest != digest:
        return None
    return TransferResult.of({path: entry for path, entry in manifest.objects.items() if path not in METADATA}, [])


def _would_fetch(published: PublishedCache, out: Path, selection: Selection, digest: str) -> TransferResult:
    """Return what would travel, without a change of the folder: an interrupted pull may have left its shards there."""
    if (present := _present(out, digest)) is not None:
        return present
    with TemporaryDirectory(prefix="signprep-") as scratch:
        plan = _Plan.of(published, Path(scratch), selection)
    is_same = (state := out / BUILD_FOLDER / _STATE).exists() and state.read_text() == digest
    missing = plan.missing(CacheChange(out).new_objects) if is_same else list(range(plan.info.num_shards))
    return TransferResult(
        num_objects=plan.info.num_shards,
        num_bytes=plan.num_bytes,
        num_sent=len(missing),
        sent_bytes=plan.num_bytes_of(missing),
    )


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The clips to fetch, and the cache that they will be."""

    published_info: CacheInfo
    info: CacheInfo
    index: pa.Table
    positions: NDArray[np.int64]
    """Position in the published cache of each new position."""

    @property
    def num_bytes(self) -> int:
        return int(self.index["stored_bytes"].to_numpy().sum())

    def missing(self, staged: Path) -> list[int]:
        """Return the numbers of the shards that a folder does not have yet."""
        return [n for n in range(self.info.num_shards) if not (staged / shard_path(self.info, n)).exists()]

    def num_bytes_of(self, shards: Sequence[int]) -> int:
        sizes, size = self.index["stored_bytes"].to_numpy(), self.info.clips_per_shard
        return sum(int(sizes[number * size : (number + 1) * size].sum()) for number in shards)

    @classmethod
    def of(cls, published: PublishedCache, out: Path, selection: Selection) -> "_Plan":
        info, folder = fetch_metadata(published, out)
        index = read_columns(folder / INDEX, SCHEMA.names, published)
        positions = _chosen_positions(selection, index, published)
        vocabulary = used_vocabulary(index, positions, info.vocabulary) if selection.glosses else info.vocabulary
        return cls(
            published_info=info,
            info=replace(info, vocabulary=vocabulary, num_positions=len(positions)),
            index=index_of_positions(index, positions, vocabulary),
            positions=positions,
        )


def _fetch(published: PublishedCache, change: CacheChange, plan: _Plan, digest: str) -> TransferResult:
    out, staged = change.root, change.new_objects
    missing = plan.missing(staged)
    num_bytes = plan.num_bytes_of(missing)
    check_free_bytes(out, num_bytes)

    def fetch(number: int, progress: Progress) -> int:
        size = plan.info.clips_per_shard
        rows = slice(number * size, (number + 1) * size)
        stored = plan.index.slice(number * size, size).select(["stored_bytes", "stored_crc32c"])
        chunks, num_bytes = _chunks_of(published, plan.published_info, plan.positions[rows], stored)
        write_atomically(staged / shard_path(plan.info, number), shard_bytes(chunks, size))
        progress(plan.num_bytes_of([number]))
        return num_bytes

    fetched = transfer_all(missing, fetch, description="Pulling", num_bytes=num_bytes)
    paths = [shard_path(plan.info, number) for number in range(plan.info.num_shards)]
    objects = {path: CacheObject.of((staged / path).read_bytes()) for path in paths}
    manifest = write_state(staged, plan.info, index=plan.index, objects=objects, plan_digest=digest)
    note_synced(out, manifest.fingerprint)
    change.commit(manifest)
    return TransferResult(
        num_objects=len(objects),
        num_bytes=sum(fetched) + plan.num_bytes - num_bytes,
        num_sent=len(missing),
        sent_bytes=sum(fetched),
    )


def _chunks_of(
    published: PublishedCache, info: CacheInfo, positions: NDArray[np.int64], stored: pa.Table
) -> tuple[list[bytes], int]:
    """Return the inner chunks at these ascending positions of the published cache, and how many bytes came for them.

    `stored` has the size and the checksum of each, as the index tells them.
    """
    size = info.clips_per_shard
    chunks: list[bytes] = []
    num_bytes = 0
    for number, group in itertools.groupby(positions.tolist(), key=lambda position: position // size):
        path = shard_path(info, number)
        if path not in published.manifest.objects:
            raise CacheCorruptError(f"{published}: its index has clips in {path}, its manifest does not know it")
        index_bytes = size * INDEX_ENTRY_BYTES + CHECKSUM_BYTES
        data_bytes = published.manifest.objects[path].num_bytes - index_bytes
        if data_bytes < 0:
            raise CacheCorruptError(f"{published}: {path} is too small for a shard of {size} clips")
        tail = published.read(path, data_bytes, data_bytes + index_bytes)
        index = shard_index(np.frombuffer(tail, np.uint8), f"{published}/{path}")
        bounds = [chunk_bounds(index, position - number * size, data_bytes, path) for position in group]
        if None in bounds:
            raise CacheCorruptError(f"{published}: {path} lacks clips that the index has")
        present = [pair for pair in bounds if pair is not None]
        if any(after[0] < before[1] for before, after in itertools.pairwise(present)):
            raise CacheCorruptError(f"{published}: {path} has clips that overlap; refused")
        num_bytes += index_bytes
        for first, last, inside in coalesce_ranges(present):
            data = published.read(path, first, last)
            num_bytes += len(data)
            chunks += [data[start - first : end - first] for start, end in inside]
    told = zip(*(column.to_pylist() for column in stored.columns), strict=True)
    for chunk, position, (num_stored, checksum) in zip(chunks, positions, told, strict=True):
        is_same = len(chunk) == num_stored and checksum in (None, chunk_checksum(chunk))
        if not is_same or not chunk_is_intact(np.frombuffer(chunk, np.uint8)):
            raise CacheCorruptError(f"{published}: clip {position} is not what was written; it is damaged there")
    return chunks, num_bytes
