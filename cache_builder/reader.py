"""Open a finished cache of this machine and read clips straight out of its mapped shards.

`open_folder(path)` -> Cache: `len`, `clip_spec`, `vocabulary`, `index` (pyarrow Table), `read(positions, out=None)`,
`rgb(position)`.
Reading goes past zarr-python: a mapped shard, its chunk index, the checksum, and decompression into the caller's
buffer take about a quarter of zarr-python's time for the same bytes.
"""

import difflib
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signprep.cache_builder.format.codec import StoredClip, use_one_thread
from signprep.cache_builder.format.consistency import check_index, checked_columns, read_columns
from signprep.cache_builder.format.index import OK, SCHEMA, SPLITS, check_frames, has_value, whole_numbers
from signprep.cache_builder.format.layout import (
    INDEX,
    MANIFEST,
    CacheInfo,
    CacheManifest,
    Stamp,
    read_info,
    read_manifest,
    shard_path,
    stamp_of,
)
from signprep.cache_builder.format.shard import ABSENT, MIXED, ShardFile, chunk_checksum, chunk_is_intact
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.landmarks.draw import drawn
from signprep.pipeline.runtime.paths import StrPath, as_path
from signprep.pipeline.runtime.text import first_line

ALWAYS, FIRST = "always", "first"
MAX_OPEN_SHARDS = 256
"""Shards mapped at a time; the first is closed first. One that is not takes a tenth longer for a clip."""
STAMPED = (MANIFEST, INDEX)
"""Files that every change of a cache replaces, the first before all others."""
LOCATED_TOGETHER = 32
"""Clips whose shards are looked up, and stay mapped, before the first of them is decoded."""


class Cache:
    """A finished cache, safe to share between threads, to inherit over a fork and to send to a spawned process.

    There is no lock to be inherited while it is held: threads that miss the same shard map it twice, harmlessly.
    Opening reads the columns of the index that tell labels and splits, and checks them; the others are read when they
    are first needed.
    """

    def __init__(
        self,
        path: Path,
        info: CacheInfo,
        manifest: CacheManifest,
        stamps: dict[str, Stamp],
        columns: dict[str, pa.ChunkedArray],
        verify: str = ALWAYS,
    ) -> None:
        self.path = path
        self._folder = f"{path}/"  # as text: a Path takes longer to extend than the system to open the file
        self.verify = verify
        self.info = info
        self.manifest = manifest
        self._stamps = stamps
        self._columns = columns
        self._shards: dict[int, ShardFile | None] = {}
        """None for one of which one clip was read so far: it is mapped at the second."""
        self._pool: tuple[tuple[int, int], ThreadPoolExecutor] | None = None
        use_one_thread()

    is_streamed = False
    """True if shards come from elsewhere while they are read."""

    def __str__(self) -> str:
        """Return its location, as people may see it."""
        return str(self.path)

    def __repr__(self) -> str:
        num_clips, classes = len(self.positions()), len(self.vocabulary)
        shape = f"{self.clip_spec.dtype} {list(self.clip_spec.clip_shape)}"
        return f"<Cache {self}: {num_clips:,} of {len(self):,} clips can be read, {classes:,} classes, stored {shape}>"

    def __reduce__(self) -> tuple[Callable[..., "Cache"], tuple[object, ...]]:
        return open_folder, (self.path, self.verify)

    def __len__(self) -> int:
        return self.info.num_positions

    @property
    def clip_spec(self) -> ClipSpec:
        """The spec that decided the clips' bytes."""
        return self.info.clip_spec

    @property
    def vocabulary(self) -> Vocabulary:
        """Glosses in the order of their labels."""
        return self.info.vocabulary

    @property
    def fingerprint(self) -> str:
        """Equal for equal caches."""
        return self.manifest.fingerprint

    @cached_property
    def index(self) -> pa.Table:
        """The label index, a row a position. Raises CacheError if it contradicts itself or the manifest."""
        index = self._read_index(SCHEMA.names)
        check_index(index, self.info, self.manifest, self)
        return index

    @cached_property
    def _stored(self) -> tuple[NDArray[np.uint64], NDArray[np.integer]]:
        """Size and checksum of each position's inner chunk, [N]: ABSENT where there is none, -1 where none is told."""
        table = self._read_index(["stored_bytes", "stored_crc32c"])
        sizes = table["stored_bytes"].to_numpy().astype(np.uint64)
        sizes[sizes == 0] = ABSENT
        checksums = table["stored_crc32c"]
        return sizes, (
            checksums if not checksums.null_count else pc.fill_null(checksums.cast(pa.int64()), -1)
        ).to_numpy()

    def _read_index(self, columns: list[str]) -> pa.Table:
        table = read_columns(self.path / INDEX, columns, self)
        self._require_unchanged()
        return table

    def segment_id(self, position: int) -> str:
        """Return the segment id of a clip, reading only its row group."""
        path, first = self.path / INDEX, 0
        try:
            with pq.ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
                for group in range(file.num_row_groups):
                    num_rows = file.metadata.row_group(group).num_rows
                    if first <= position < first + num_rows:
                        names = file.read_row_group(group, columns=["segment_id"])["segment_id"]
                        self._require_unchanged()
                        return str(names[position - first])
                    first += num_rows
        except (OSError, ValueError, pa.ArrowException) as error:
            raise CacheError(f"{path}: cannot be read ({first_line(error)})") from error
        raise self._outside(position)

    def _require_unchanged(self, names: Sequence[str] = STAMPED) -> None:
        """Raise CacheError if the cache was changed since it was opened: its positions may mean other clips now."""
        if any(stamp_of(self._folder + name) != self._stamps[name] for name in names):
            raise CacheError(f"{self}: was changed while it was open; open it again")

    def positions(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the positions whose clips can be read, of one split or of all; int64, ascending.

        Raises ValueError if a cache has no such split; train, val and test may be empty.
        """
        if split is not None and split not in SPLITS:
            near = difflib.get_close_matches(str(split).lower(), SPLITS, n=1, cutoff=0.4)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"split is {split!r:.60}; expected {', '.join(SPLITS)}, or None for all{meant}")
        keep = has_value(self._columns["status"], OK)
        if split is not None:
            keep &= has_value(self._columns["split"], split)
        return np.flatnonzero(keep)

    def labels(self) -> NDArray[np.int32]:
        """Return the label of every position, int32 [N]; -1 where its clip was removed: no part of `positions`."""
        return pc.fill_null(self._columns["label"], -1).to_numpy()

    def read(
        self,
        positions: Sequence[int] | NDArray[np.integer],
        out: StoredClip | None = None,
        *,
        threads: int = 1,
        frames: NDArray[np.integer] | None = None,
    ) -> StoredClip:
        """Return the clips at these positions as stored, or some of their frames.

        They are uint8 [B, T, 3S/2, S] or [B, T, S, S, 3], or landmarks, float16 [B, T, 75, 3].

        Args:
            positions: B of them, in any order: a list, a range or an array of whole numbers.
            out: where to write them, C-contiguous; a new array if None.
            threads: that share the work; decompression releases the interpreter's lock.
            frames: for each clip the t frames that are wanted, [B, t], in 0..T-1; all T if None.

        Raises:
            IndexError: a position is outside the cache, or a frame outside its clip.
            TypeError: positions are no sequence of whole numbers.
            ValueError: `out` or `frames` do not fit, or `threads` is below 1.
            CacheCorruptError: a clip's bytes are missing or damaged; nothing wrong is ever returned.
            CacheError: the cache was changed since it was opened.
        """
        positions = whole_numbers(positions)
        shape = (len(positions), *self.clip_spec.clip_shape)
        if frames is not None:
            check_frames(frames, *shape[:2])
            shape = (*frames.shape, *shape[2:])
        if threads < 1:
            raise ValueError(f"threads is {threads}; expected at least 1")
        dtype = self.clip_spec.dtype
        if out is None:
            out = np.empty(shape, dtype)
        elif not isinstance(out, np.ndarray):
            raise TypeError(f"out is {type(out).__name__}; expected a NumPy array, {dtype} {shape}")
        elif out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
            raise ValueError(f"out is {out.dtype} {out.shape}; expected C-contiguous {dtype} {shape}")
        if threads == 1 or len(positions) < 2:
            self._read_some(positions, out, frames)
        else:
            parts = [slice(k, None, threads) for k in range(min(threads, len(positions)))]
            shares = [(positions[part], out[part], None if frames is None else frames[part]) for part in parts]
            pool = self._pool_of(threads - 1)
            begun = [pool.submit(self._read_some, *share) for share in shares[1:]]
            try:
                self._read_some(*shares[0])
            finally:
                wait(begun)  # nobody writes into `out` after this
            for done in begun:
                done.result()
        return out

    def _pool_of(self, num_threads: int) -> ThreadPoolExecutor:
        """Return threads that stay: starting them costs as much as reading a clip. A forked process starts its own."""
        key = os.getpid(), num_threads
        if self._pool is None or self._pool[0] != key:
            self._pool = key, ThreadPoolExecutor(num_threads, thread_name_prefix="signprep-read")
        return self._pool[1]

    def _read_some(self, positions: NDArray[np.integer], clips: StoredClip, frames: NDArray[np.integer] | None) -> None:
        # Frames follow from those before them, so that a clip is decoded whole, into memory that stays in the cache.
        whole = None if frames is None else np.empty(self.clip_spec.clip_shape, self.clip_spec.dtype)
        for first in range(0, len(positions), LOCATED_TOGETHER):
            # Decoding a clip takes everything else out of the processor's cache, so all are looked up before the first.
            group = [self._located(position) for position in positions[first : first + LOCATED_TOGETHER].tolist()]
            for place, located in enumerate(group, first):
                self._decode(located, clips[place] if whole is None else whole)
                if whole is not None and frames is not None:
                    np.take(whole, frames[place], axis=0, out=clips[place], mode="clip")  # "raise" copies twice

    def _decode(self, located: "Located", clip: StoredClip) -> None:
        """Write one clip into memory. Raises CacheCorruptError if its bytes are missing or damaged."""
        position, shard, place, chunk = located
        try:
            chunk = self._chunk(position, shard, place) if chunk is None else chunk
            self.info.clip_codec.decode(chunk, clip, is_verified=self.verify == FIRST and shard.verified[place] > 0)
        except CacheCorruptError as error:
            raise self._named(position, error) from error
        shard.verified[place] = 1

    def rgb(self, position: int) -> NDArray[np.uint8]:
        """Return one clip as RGB, uint8 [T, S, S, 3]: converted by FFmpeg from I420, landmarks as a drawing."""
        clip = self.read([position])[0]
        if self.clip_spec.content == "landmarks":
            return drawn(clip, self.clip_spec.size)
        if self.clip_spec.pixels == "rgb24":
            return clip
        from av import VideoFrame

        return np.stack([VideoFrame.from_ndarray(frame, format="yuv420p").to_ndarray(format="rgb24") for frame in clip])

    def __getitem__(self, position: int | slice) -> NDArray[np.generic]:
        """Return the clip at a position as `rgb` does, landmarks as they are stored; of a slice, several as one array.

        It is uint8 [T, S, S, 3] or float16 [T, 75, 3]; a slice's has one dimension more before. Negative positions
        count from the end. Iteration gives the clips that can be read, at `positions()`.

        Raises IndexError outside the cache, CacheCorruptError as `read` where a clip was not built.
        """
        if isinstance(position, slice):
            spec, chosen = self.clip_spec, range(len(self))[position]
            shape = spec.clip_shape if spec.landmarks else (spec.num_frames, spec.size, spec.size, 3)
            return np.array([self[place] for place in chosen], spec.dtype).reshape(-1, *shape)
        try:
            place = operator.index(position)
        except TypeError:
            kind = type(position).__name__
            raise TypeError(
                f"position is {position!r:.60}, of type {kind}; expected a whole number or a slice"
            ) from None
        if not -len(self) <= place < len(self):
            raise self._outside(place)
        place %= len(self)
        return self.rgb(place) if self.clip_spec.content == "pixels" else self.read([place])[0]

    def __iter__(self) -> Iterator[NDArray[np.generic]]:
        return (self[position] for position in self.positions().tolist())

    def stored_chunk(self, position: int) -> bytes:
        """Return a clip's inner chunk as it is stored, to be written elsewhere; its own checksum is compared.

        Raises as `read`.
        """
        _, shard, place, chunk = self._located(position)
        try:
            chunk = self._chunk(position, shard, place) if chunk is None else chunk
            if not chunk_is_intact(chunk):
                raise CacheCorruptError("its checksum does not match its bytes")
        except CacheCorruptError as error:
            raise self._named(position, error) from error
        return chunk.tobytes()

    def unmap(self) -> None:
        """Give back the memory that shards are mapped in; those that are read again are mapped again."""
        self._shards.clear()

    def _named(self, position: int, error: CacheCorruptError) -> CacheCorruptError:
        return CacheCorruptError(f"{self}: clip {position} ({self.segment_id(position)}): {error}")

    def _located(self, position: int) -> "Located":
        """Return where a clip is stored. Raises CacheCorruptError if it is not there, or not the one of the index."""
        if not 0 <= position < len(self):
            raise self._outside(position)
        number, place = divmod(position, self.info.clips_per_shard)
        try:
            shard = self._shard(number)
            return Located(position, shard, place, self._chunk(position, shard, place) if shard.is_mapped else None)
        except CacheCorruptError as error:
            raise self._named(position, error) from error

    def _chunk(self, position: int, shard: ShardFile, place: int) -> NDArray[np.uint8]:
        chunk = shard.chunk(place)
        if chunk is None:
            number = position // self.info.clips_per_shard
            raise CacheCorruptError(f"it is not in shard {number}: its build failed, or it was removed")
        expected = self._stored[1][position]
        if expected >= 0 and chunk_checksum(chunk) != expected:
            path = shard_path(self.info, position // self.info.clips_per_shard)
            raise CacheCorruptError(f"{path} has other bytes for it than the index; {MIXED}")
        return chunk

    def _outside(self, position: int) -> IndexError:
        return IndexError(f"position {position} is outside the cache's 0..{len(self) - 1}")

    def _shard(self, number: int) -> ShardFile:
        shard = self._shards.get(number)
        if shard is None:
            is_known = number in self._shards
            try:
                shard = self._opened(number, is_mapped=is_known)
            finally:
                # Looked at after it was opened: a change takes the manifest away before it touches a shard.
                self._require_unchanged((MANIFEST,))
            self._shards[number] = shard if shard.is_mapped else None
            if len(self._shards) > MAX_OPEN_SHARDS:
                # Unmapped when the last view of them goes; several at a time, since listing them takes its time.
                for oldest in list(self._shards)[: MAX_OPEN_SHARDS // 8]:
                    self._shards.pop(oldest, None)
        return shard

    def _opened(self, number: int, file: Path | None = None, *, is_mapped: bool = False) -> ShardFile:
        """Open the file of a shard, the one in this folder if None.

        Raises CacheCorruptError if it is not the one that manifest and index mean.
        """
        path, size = shard_path(self.info, number), self.info.clips_per_shard
        entry, sizes = self.manifest.objects.get(path), self._stored[0][number * size : (number + 1) * size]
        if entry is None:
            has_clips = "but the index has clips in it" if (sizes != ABSENT).any() else "not one of its clips was built"
            raise CacheCorruptError(f"{path} is not in the manifest: {has_clips}")
        shard = ShardFile(file or f"{self._folder}{path}", size, num_bytes=entry.num_bytes, is_mapped=is_mapped)
        shard.require_sizes(sizes)
        return shard


class Located(NamedTuple):
    """Where a clip is stored: its shard, the place there, and its inner chunk; None if that is still to be read."""

    position: int
    shard: ShardFile
    place: int
    chunk: NDArray[np.uint8] | None


def open_folder(root: StrPath, verify: str = ALWAYS) -> Cache:
    """Open a finished cache in a folder of this machine; `open_cache` explains `verify`.

    Raises:
        CacheVersionError: there is no cache at this path, or one of a newer format.
        CacheIncompleteError: its build has not ended.
        CacheError: its metadata is damaged.
    """
    root = as_path(root)
    stamps = {name: stamp_of(f"{root}/{name}") for name in STAMPED}
    info, manifest = read_info(root), read_manifest(root)
    columns = checked_columns(root, info, manifest, root)
    cache = Cache(root, info, manifest, stamps, {name: columns[name] for name in columns.column_names}, verify)
    cache._require_unchanged()
    return cache
