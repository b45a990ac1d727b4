"""Open a finished cache and read clips straight out of its mapped shards.

`open_cache(path)` -> Cache: `len`, `clip_spec`, `vocabulary`, `index` (pyarrow Table), `read(positions, out=None)`,
`rgb(position)`.
Reading goes past zarr-python: a mapped shard, its chunk index, the checksum, and decompression into the caller's
buffer take about a quarter of zarr-python's time for the same bytes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from signprep.cache_builder.codec import use_one_thread
from signprep.cache_builder.format import (
    INDEX,
    CacheInfo,
    CacheManifest,
    read_info,
    read_manifest,
    shard_path,
)
from signprep.cache_builder.index import OK, SCHEMA
from signprep.cache_builder.shard import ShardFile
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.segment import Vocabulary

MAX_OPEN_SHARDS = 256
"""Mapped at a time; the first mapped is closed first. Mapping one again takes less than a tenth of reading a clip."""


class Cache:
    """A finished cache, safe to share between threads, to inherit over a fork and to send to a spawned process.

    There is no lock to be inherited while it is held: threads that miss the same shard map it twice, harmlessly.
    """

    def __init__(self, path: Path, info: CacheInfo, manifest: CacheManifest, index: pa.Table) -> None:
        self.path = path
        self.info = info
        self.manifest = manifest
        self.index = index
        self._shards: dict[int, ShardFile] = {}
        use_one_thread()

    def __reduce__(self) -> tuple[Callable[[Path], "Cache"], tuple[Path]]:
        return open_cache, (self.path,)

    def __len__(self) -> int:
        return self.info.num_positions

    @property
    def clip_spec(self) -> ClipSpec:
        """What decided the clips' bytes."""
        return self.info.clip_spec

    @property
    def vocabulary(self) -> Vocabulary:
        """Glosses in the order of their labels."""
        return self.info.vocabulary

    @property
    def fingerprint(self) -> str:
        """Equal for equal caches."""
        return self.manifest.fingerprint

    def positions(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the positions whose clips can be read, of one split or of all; int64, ascending."""
        keep = np.asarray(self.index["status"].cast(pa.string())) == OK
        if split is not None:
            keep &= np.asarray(self.index["split"].cast(pa.string())) == split
        return np.flatnonzero(keep)

    def labels(self) -> NDArray[np.int32]:
        """Return the label of every position, int32 [N]; -1 where the clip was removed, which `positions` leaves out."""
        return pc.fill_null(self.index["label"], -1).to_numpy()

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
            CacheCorruptError: a clip's bytes are missing or damaged; nothing wrong is ever returned.
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
            parts = [slice(k, None, threads) for k in range(min(threads, len(positions)))]
            with ThreadPoolExecutor(len(parts)) as pool:
                for _ in pool.map(lambda part: self._read_some(all_positions[part], out[part]), parts):
                    pass
        return out

    def _read_some(self, positions: Sequence[int] | NDArray[np.integer], clips: NDArray[np.uint8]) -> None:
        codec = self.info.clip_codec
        for clip, position in zip(clips, positions, strict=True):
            try:
                codec.decode(self._chunk(int(position)), clip)
            except CacheCorruptError as error:
                segment_id = self.index["segment_id"][int(position)].as_py()
                raise CacheCorruptError(f"{self.path}: clip {position} ({segment_id}): {error}") from error

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

    def _chunk(self, position: int) -> NDArray[np.uint8]:
        if not 0 <= position < len(self):
            raise IndexError(f"position {position} is outside the cache's 0..{len(self) - 1}")
        number, place = divmod(position, self.info.clips_per_shard)
        chunk = self._shard(number).chunk(place)
        if chunk is None:
            raise CacheCorruptError(f"it is not in shard {number}: its build failed, or it was removed")
        return chunk

    def _shard(self, number: int) -> ShardFile:
        shard = self._shards.get(number)
        if shard is None:
            shard = ShardFile(self.path / shard_path(self.info, number), self.info.clips_per_shard)
            self._shards[number] = shard
            if len(self._shards) > MAX_OPEN_SHARDS:
                # Unmapped when the last view of it goes.
                for oldest in list(self._shards)[:-MAX_OPEN_SHARDS]:
                    self._shards.pop(oldest, None)
        return shard


def open_cache(path: str | Path) -> Cache:
    """Open a finished cache.

    Raises:
        CacheVersionError: there is no cache at this path, or one of a newer format.
        CacheIncompleteError: its build has not ended.
        CacheError: its metadata is damaged.
    """
    root = Path(path)
    info = read_info(root)
    manifest = read_manifest(root)
    try:
        # Mapped, and strings that repeat stay dictionaries: an index of millions of rows opens at once.
        index = pq.read_table(root / INDEX, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise CacheError(f"{root / INDEX}: cannot be read ({error})") from error
    if index.num_rows != info.num_positions or not set(SCHEMA.names) <= set(index.column_names):
        raise CacheError(
            f"{root / INDEX}: has {index.num_rows} rows and columns {index.column_names}; expected "
            f"{info.num_positions} rows and columns {SCHEMA.names}"
        )
    return Cache(root, info, manifest, index)
