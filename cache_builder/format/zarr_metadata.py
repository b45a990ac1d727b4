"""What only zarr-python reads or writes: the metadata of a cache, and our own codec as it finds it by an entry point.

A module of its own: zarr takes as long to import as all that our reader and writer need together.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import zarr
from zarr.abc.codec import ArrayArrayCodec
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.storage import MemoryStore

from signprep.cache_builder.format.codec import DELTA_NAME, ClipCodec, encode_delta, undo_delta
from signprep.cache_builder.format.layout import ARRAY_METADATA, GROUP_METADATA, CacheInfo, write_atomically


@dataclass(frozen=True)
class TemporalDelta(ArrayArrayCodec):
    """zarr-python's face of the codec. It takes no configuration."""

    is_fixed_size = True

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from zarr.json's codec entry. Raises ValueError on a configuration, which this codec has none of."""
        if data.get("name") != DELTA_NAME or data.get("configuration"):
            raise ValueError(f"not a {DELTA_NAME} codec without configuration: {data}")
        return cls()

    def to_dict(self) -> dict[str, Any]:
        """Return zarr.json's codec entry."""
        return {"name": DELTA_NAME}

    def validate(self, *, dtype: Any, **_: Any) -> None:
        """Raise ValueError for other element types than uint8."""
        if dtype.to_native_dtype() != np.uint8:
            raise ValueError(f"{DELTA_NAME} works on uint8 arrays, not {dtype}")

    async def _encode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer | None:
        chunk = np.asarray(chunk_array.as_ndarray_like())
        delta = np.stack([encode_delta(clip) for clip in chunk])
        return chunk_spec.prototype.nd_buffer.from_numpy_array(delta)

    async def _decode_single(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> NDBuffer:
        chunk = np.array(chunk_array.as_ndarray_like(), order="C")
        for clip in chunk:
            undo_delta(clip)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(chunk)

    def compute_encoded_size(self, input_byte_length: int, _chunk_spec: ArraySpec) -> int:
        """Return the encoded size in bytes: unchanged."""
        return input_byte_length


def zarr_codecs(codec: ClipCodec) -> dict[str, Any]:
    """Return the `filters` and `compressors` arguments of zarr.create_array for a chain."""
    compressors: list[Any] = []
    if codec.compressor == "blosc":
        blosc_options: Any = {"cname": codec.blosc_codec, "clevel": codec.level, "shuffle": codec.blosc_shuffle}
        compressors = [BloscCodec(typesize=codec.typesize, **blosc_options)]
    elif codec.compressor == "zstd":
        compressors = [ZstdCodec(level=codec.level)]
    return {"filters": [TemporalDelta()] if codec.delta else [], "compressors": [*compressors, Crc32cCodec()]}


def write_metadata(root: Path, info: CacheInfo) -> None:
    """Write the Zarr metadata of the group and of its array `clips`, by zarr-python itself."""
    shape = info.clip_spec.clip_shape
    inner = ("row", "column", "channel") if info.clip_spec.content == "pixels" else ("point", "xyc")
    names = ("clip", "frame", *inner[: len(shape) - 1])
    # Made in memory and written by us: whole or not at all, and never in the middle of a Ctrl-C.
    documents: dict[str, Buffer] = {}
    group = zarr.create_group(MemoryStore(documents), attributes={"signprep": info.to_dict()})
    group.create_array(
        "clips",
        shape=(info.num_positions, *shape),
        chunks=(1, *shape),
        shards=(info.clips_per_shard, *shape),
        dtype=info.clip_spec.dtype,
        fill_value=0 if info.clip_spec.content == "pixels" else float("nan"),
        dimension_names=names,
        **zarr_codecs(info.clip_codec),
    )
    for path in (ARRAY_METADATA, GROUP_METADATA):
        write_atomically(root / path, documents[path].to_bytes())
