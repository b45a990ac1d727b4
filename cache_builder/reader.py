"""Open a finished cache of this machine and read clips straight out of its mapped shards.

`open_folder(path)` -> Cache: `len`, `clip_spec`, `vocabulary`, `index` (pyarrow Table), `read(positions, out=None)`,
`rgb(position)`.
Reading goes past zarr-python: a mapped shard, its chunk index, the checksum, and decompression into the caller's
buffer take about a quarter of zarr-python's time for the same bytes.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signprep.cache_builder.format.codec import use_one_thread
from signprep.cache_builder.format.index import OK, SCHEMA
from signprep.cache_builder.format.layout import (
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    CacheInfo,
    CacheManifest,
    CacheObject,
    read_info,
    read_manifest,
    shard_path,
)
from signprep.cache_builder.format.shard import ShardFile, chunk_is_intact
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.datasets.annotations import Vocabulary
from signprep.pipeline.errors import CacheCorruptError, CacheError

MAX_OPEN_SHARDS = 256
"""Shards mapped at a time; the first is closed first. Mapping one again takes less than a tenth of reading a clip."""


class Cache:
    """A finished cache, safe to share between threads, to inherit over a fork and to send to a spawned process.

    There is no lock to be inherited while it is held: threads that miss the same shard map it twice, harmlessly.
    Columns of the index are read when they are first needed, so that millions of rows open at once.
    """

    def __init__(self, path: Path, info: CacheInfo, manifest: CacheManifest, stamp: "_Stamp") -> None:
        self.path = path
        self.info = info
        self.manifest = manifest
        self._stamp = stamp
        self._columns: dict[str, pa.ChunkedArray] = {}
        self._shards: dict[int, ShardFile] = {}
        self._pool: tuple[tuple[int, int], ThreadPoolExecutor] | None = None
        use_one_thread()

    is_streamed = False
    """True if shards come from elsewhere while they are read."""

    def __str__(self) -> str:
        """Return its location, as people may see it."""
        return str(self.path)

    def __reduce__(self) -> tuple[Callable[..., "Cache"], tuple[object, ...]]:
        return open_folder, (self.path,)

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
        """The label index, a row a position."""
        return self._read_index(None)

    def _column(self, name: str) -> pa.ChunkedArray:
        if name not in self._columns:
            self._columns[name] = (self.index if "index" in self.__dict__ else self._read_index([name]))[name]
        return self._columns[name]

    def _read_index(self, columns: list[str] | None) -> pa.Table:
        path = self.path / INDEX
        try:
            table = pq.read_table(path, columns=columns, memory_map=True, page_checksum_verification=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise CacheError(f"{path}: cannot be read ({error})") from error
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
            raise CacheError(f"{path}: cannot be read ({error})") from error
        raise self._outside(position)

    def _require_unchanged(self) -> None:
        """Raise CacheError if the cache was changed since it was opened: its positions may mean other clips now."""
        if _stamp_of(self.path) != self._stamp:
            raise CacheError(f"{self}: was changed while it was open; open it again")

    def positions(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the positions whose clips can be read, of one split or of all; int64, ascending."""
        keep = _equal(self._column("status"), OK)
        if split is not None:
            keep &= _equal(self._column("split"), split)
        return np.flatnonzero(keep)

    def labels(self) -> NDArray[np.int32]:
        """Return the label of every position, int32 [N]; -1 where its clip was removed: no part of `positions`."""
        return pc.fill_null(self._column("label"), -1).to_numpy()

    def read(
        self, positions: Sequence[int] | NDArray[np.integer], out: NDArray[np.uint8] | None = None, *, threads: int = 1
    ) -> NDArray[np.uint8]:
        """Return the clips at these positions as stored, uint8 [B, T, 3S/2, S] or [B, T, S, S, 3].

        Args:
            positions: B of them, in any order.
            out: where to write them, C-contiguous; a new array if None.
            threads: that share the work; decompression releases the interpreter's lock.

        Raises:
            IndexError: a position is outside the cache.
            ValueError: `out` does not fit.
            CacheCorruptError: a clip's bytes are missing or damaged; nothing wrong is ever returned.
            CacheError: the cache was changed since it was opened.
        """
        shape = (len(positions), *self.clip_spec.clip_shape)
        if out is None:
            out = np.empty(shape, np.uint8)
        elif out.shape != shape or out.dtype != np.uint8 or not out.flags.c_contiguous:
            raise ValueError(f"out is {out.dtype} {out.shape}; expected C-contiguous uint8 {shape}")
        if threads == 1 or len(positions) < 2:
            self._read_some(positions, out)
        else:
            all_positions = np.asarray(positions)
            first, *others = (slice(k, None, threads) for k in range(min(threads, len(positions))))
            pool = self._pool_of(threads - 1)
            begun = [pool.submit(self._read_some, all_positions[part], out[part]) for part in others]
            try:
                self._read_some(all_positions[first], out[first])
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

    def _read_some(self, positions: Sequence[int] | NDArray[np.integer], clips: NDArray[np.uint8]) -> None:
        for clip, position in zip(clips, positions, strict=True):
            try:
                self._decode(int(position), clip)
            except CacheCorruptError as error:
                raise self._named(int(position), error) from error

    def _decode(self, position: int, clip: NDArray[np.uint8]) -> None:
        """Write one clip into memory. Raises CacheCorruptError if its bytes are missing or damaged."""
        self.info.clip_codec.decode(self._chunk(position), clip)

    def rgb(self, position: int) -> NDArray[np.uint8]:
        """Return one clip as RGB, uint8 [T, S, S, 3], converted by FFmpeg where the cache stores I420."""
        clip = self.read([position])[0]
        if self.clip_spec.pixels == "rgb24":
            return clip
        from av import VideoFrame

        return np.stack([VideoFrame.from_ndarray(frame, format="yuv420p").to_ndarray(format="rgb24") for frame in clip])

    def chunk_bytes(self, position: int) -> int:
        """Return the stored size of a clip in bytes."""
        return len(self._chunk(position))

    def stored_chunk(self, position: int) -> bytes:
        """Return a clip's inner chunk as it is stored, to be written elsewhere; its own checksum is compared.

        Raises as `read`.
        """
        try:
            chunk = self._chunk(position)
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

    def _chunk(self, position: int) -> NDArray[np.uint8]:
        if not 0 <= position < len(self):
            raise self._outside(position)
        number, place = divmod(position, self.info.clips_per_shard)
        chunk = self._shard(number).chunk(place)
        if chunk is None:
            raise CacheCorruptError(f"it is not in shard {number}: its build failed, or it was removed")
        return chunk

    def _outside(self, position: int) -> IndexError:
        return IndexError(f"position {position} is outside the cache's 0..{len(self) - 1}")

    def _shard(self, number: int) -> ShardFile:
        shard = self._shards.get(number)
        if shard is None:
            shard = ShardFile(self.path / shard_path(self.info, number), self.info.clips_per_shard)
            # Looked at after it was mapped: a change takes the manifest away before it touches a shard.
            self._require_unchanged()
            self._shards[number] = shard
            if len(self._shards) > MAX_OPEN_SHARDS:
                # Unmapped when the last view of it goes.
                for oldest in list(self._shards)[:-MAX_OPEN_SHARDS]:
                    self._shards.pop(oldest, None)
        return shard


def open_folder(root: Path) -> Cache:
    """Open a finished cache in a folder of this machine.

    Raises:
        CacheVersionError: there is no cache at this path, or one of a newer format.
        CacheIncompleteError: its build has not ended.
        CacheError: its metadata is damaged.
    """
    stamp = _stamp_of(root)
    info = read_info(root)
    manifest = read_manifest(root)
    if manifest.objects.get(GROUP_METADATA) != CacheObject.of((root / GROUP_METADATA).read_bytes()):
        raise CacheCorruptError(f"{root / GROUP_METADATA}: its bytes are not those that were written")
    try:
        with pq.ParquetFile(root / INDEX, memory_map=True) as file:
            num_rows, schema = file.metadata.num_rows, file.schema_arrow
    except (OSError, ValueError, pa.ArrowException) as error:
        raise CacheError(f"{root / INDEX}: cannot be read ({error})") from error
    cache = Cache(root, info, manifest, stamp)
    cache._require_unchanged()
    types = {field.name: field.type for field in schema}
    wrong = [
        f"{field.name} is {types.get(field.name, 'not there')}, expected {field.type}"
        for field in SCHEMA
        if types.get(field.name) != field.type
    ]
    if not wrong and num_rows != info.num_positions:
        wrong = [f"{num_rows} rows, expected {info.num_positions}"]
    if wrong:
        raise CacheError(f"{root / INDEX}: is not this cache's index: {'; '.join(wrong)}")
    return cache


_Stamp = tuple[int, int] | None
"""Inode and time of change of the manifest; None without one."""


def _stamp_of(root: Path) -> _Stamp:
    try:
        status = (root / MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _equal(column: pa.ChunkedArray, value: str) -> NDArray[np.bool_]:
    """Return where a column of dictionary-encoded strings has a value, without making a string a row."""
    parts = []
    for chunk in column.chunks:
        code = pc.index_in(pa.scalar(value), chunk.dictionary).as_py()
        codes = pc.fill_null(chunk.indices, -1).to_numpy()
        parts.append(codes == code if code is not None else np.zeros(len(chunk), np.bool_))
    return np.concatenate([np.zeros(0, np.bool_), *parts])
