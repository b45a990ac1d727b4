"""One shard file of the Zarr v3 sharding codec: inner chunks one after another, then their index.

Layout (index_location "end"): chunks; then for each of the n inner chunks its offset and size in bytes as two
little-endian uint64, both 2^64-1 where the chunk is absent; then the CRC-32C of that index as uint32.
Source: Zarr v3 specification, codec sharding_indexed 1.0.
"""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.errors import CacheCorruptError

ABSENT = 2**64 - 1
INDEX_ENTRY_BYTES = 16
CHECKSUM_BYTES = 4
MISSING = "this shard is missing; `signprep verify CACHE --repair --data-root DATA` makes it again"
MIXED = (
    "it is damaged, or of another state of the cache, as after a copy that was stopped; copy the whole cache again, or "
    "`signprep verify CACHE --repair --data-root DATA` makes it again"
)


def shard_bytes(chunks: Sequence[bytes | None], chunks_per_shard: int) -> bytes:
    """Return the file contents of a shard; None and missing chunks at the end are absent."""
    index = np.full((chunks_per_shard, 2), ABSENT, dtype="<u8")
    offset = 0
    for place, chunk in enumerate(chunks):
        if chunk is not None:
            index[place] = offset, len(chunk)
            offset += len(chunk)
    encoded = index.tobytes()
    checksum = google_crc32c.value(encoded).to_bytes(CHECKSUM_BYTES, "little")
    return b"".join([*(chunk for chunk in chunks if chunk is not None), encoded, checksum])


class ShardFile:
    """An open shard: `chunk(place)` is a view of the file's own pages, or what was read of it.

    A view copies nothing. But giving pages to a process and taking them back takes longer than reading a compressed
    clip: a shard of which only one is wanted is better not mapped.

    Raises CacheCorruptError where the file is missing, cannot be read, is shorter than its index says or not of the
    `num_bytes` that a manifest tells, or the index fails its checksum.
    """

    _descriptor: int | None = None
    """Of the file, while it is open: a mapped one is not."""

    def __init__(
        self, path: Path | str, chunks_per_shard: int, *, num_bytes: int | None = None, is_mapped: bool = True
    ) -> None:
        self.path = path
        self.is_mapped = is_mapped or not hasattr(os, "pread")
        self._bytes: NDArray[np.uint8] | None = None
        tail_bytes = chunks_per_shard * INDEX_ENTRY_BYTES + CHECKSUM_BYTES
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            size = os.fstat(self._descriptor).st_size
            if num_bytes is not None and size != num_bytes:
                raise CacheCorruptError(f"{path}: has {size} bytes, the manifest tells of {num_bytes}; {MIXED}")
            if size < tail_bytes:
                raise CacheCorruptError(f"{path}: {size} bytes are too few for a shard; it is truncated")
            os.lseek(self._descriptor, size - tail_bytes, os.SEEK_SET)
            tail = np.frombuffer(os.read(self._descriptor, tail_bytes), np.uint8)
            if self.is_mapped:
                self._bytes = np.frombuffer(mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ), np.uint8)
                self._close()
        except FileNotFoundError as error:
            raise CacheCorruptError(f"{path}: {MISSING}") from error
        except OSError as error:
            raise self._unreadable(error) from error
        self._data_bytes = size - tail_bytes
        self._index = shard_index(tail, path)
        self.verified = bytearray(chunks_per_shard)
        """Not 0 for the inner chunks whose checksum was compared since the file was opened."""

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    __del__ = _close

    def _unreadable(self, error: OSError) -> CacheCorruptError:
        return CacheCorruptError(f"{self.path}: this shard cannot be read ({error.strerror})")

    def require_sizes(self, sizes: NDArray[np.uint64]) -> None:
        """Raise CacheCorruptError unless the first inner chunks have these sizes in bytes, `ABSENT` where absent."""
        if not np.array_equal(self._index[: len(sizes), 1], sizes):
            raise CacheCorruptError(f"{self.path}: its clips have other sizes than in the index; {MIXED}")

    def chunk(self, place: int) -> NDArray[np.uint8] | None:
        """Return the stored bytes of an inner chunk, or None where it is absent.

        Raises CacheCorruptError if it lies outside the file, or cannot be read.
        """
        bounds = chunk_bounds(self._index, place, self._data_bytes, self.path)
        if bounds is None:
            return None
        start, end = bounds
        if self._bytes is not None:
            return self._bytes[start:end]
        assert self._descriptor is not None
        try:
            return np.frombuffer(os.pread(self._descriptor, end - start, start), np.uint8)
        except OSError as error:
            raise self._unreadable(error) from error


def shard_index(tail: NDArray[np.uint8], path: object) -> NDArray[np.uint64]:
    """Return offsets and sizes of a shard's inner chunks, uint64 [n, 2], from the bytes behind them.

    Raises CacheCorruptError if they fail their checksum.
    """
    encoded = tail[:-CHECKSUM_BYTES]
    if google_crc32c.value(encoded) != int.from_bytes(tail[-CHECKSUM_BYTES:], "little"):
        raise CacheCorruptError(f"{path}: the shard's index does not match its checksum; it is damaged")
    return encoded.view("<u8").reshape(-1, 2)


def chunk_bounds(index: NDArray[np.uint64], place: int, data_bytes: int, path: object) -> tuple[int, int] | None:
    """Return the half-open range of an inner chunk's bytes in its shard, None where it is absent.

    Raises CacheCorruptError if it lies outside the `data_bytes` of all chunks.
    """
    offset, size = index[place].tolist()
    if offset == size == ABSENT:
        return None
    if offset + size > data_bytes:
        raise CacheCorruptError(f"{path}: chunk {place} lies outside the file; it is truncated")
    return offset, offset + size


def stored_chunks(path: Path, chunks_per_shard: int, num_chunks: int) -> list[bytes | None]:
    """Return the first inner chunks of a shard, None where absent, to be written again.

    Args:
        path: of the shard.
        chunks_per_shard: as many as a whole one has.
        num_chunks: to return.

    Raises:
        CacheCorruptError: the file is missing, or a chunk is damaged: it must not be handed on under a new checksum.
    """
    shard = ShardFile(path, chunks_per_shard)
    chunks: list[bytes | None] = []
    for place in range(num_chunks):
        chunk = shard.chunk(place)
        if chunk is not None and not chunk_is_intact(chunk):
            raise CacheCorruptError(
                f"{path}: chunk {place} is damaged; `signprep verify CACHE --repair --data-root DATA` makes it again"
            )
        chunks.append(None if chunk is None else chunk.tobytes())
    return chunks


def chunk_checksum(chunk: NDArray[np.uint8] | bytes) -> int:
    """Return the CRC-32C that an inner chunk ends with."""
    return int.from_bytes(chunk[-CHECKSUM_BYTES:], "little")


def chunk_is_intact(chunk: NDArray[np.uint8]) -> bool:
    """Return True if an inner chunk's last four bytes are the CRC-32C of the others."""
    checksum = google_crc32c.value(chunk[:-CHECKSUM_BYTES].tobytes())
    return len(chunk) >= CHECKSUM_BYTES and checksum == chunk_checksum(chunk)
