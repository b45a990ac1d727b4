"""The metadata and the index of one state of a cache, as files, and the manifest of all its objects."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    GROUP_METADATA,
    INDEX,
    CacheInfo,
    CacheManifest,
    CacheObject,
    write_atomically,
    write_metadata,
)


def write_index(root: Path, index: pa.Table) -> dict[str, CacheObject]:
    """Write the index under a folder; return its object by path."""
    sink = pa.BufferOutputStream()
    pq.write_table(index, sink, compression="zstd", write_page_checksum=True)
    data = sink.getvalue().to_pybytes()
    write_atomically(root / INDEX, data)
    return {INDEX: CacheObject.of(data)}


def write_state(
    root: Path, info: CacheInfo, *, index: pa.Table, objects: Mapping[str, CacheObject], plan_digest: str
) -> CacheManifest:
    """Write Zarr metadata and index of a state of a cache, and return its manifest, which is to be written last.

    Args:
        root: the cache, or a folder whose contents are put in its place.
        info: of the state.
        index: a row a position.
        objects: the shards by path; older entries of index and metadata are replaced.
        plan_digest: of the plan whose data it holds.
    """
    write_metadata(root, info)
    metadata = {path: CacheObject.of((root / path).read_bytes()) for path in (GROUP_METADATA, ARRAY_METADATA)}
    return CacheManifest(objects={**objects, **metadata, **write_index(root, index)}, plan_digest=plan_digest)
