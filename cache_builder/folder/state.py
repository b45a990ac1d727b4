"""Write the index and the manifest of a state of a cache."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from signprep.cache_builder.format.layout import (
    ARRAY_METADATA,
    GROUP_METADATA,
    INDEX,
    MANIFEST,
    CacheManifest,
    CacheObject,
    write_atomically,
)


def write_index(root: Path, index: pa.Table) -> dict[str, CacheObject]:
    """Write the index under a folder; return its object by path."""
    sink = pa.BufferOutputStream()
    pq.write_table(index, sink, compression="zstd", write_page_checksum=True)
    data = sink.getvalue().to_pybytes()
    write_atomically(root / INDEX, data)
    return {INDEX: CacheObject.of(data)}


def write_state(root: Path, *, index: pa.Table, objects: Mapping[str, CacheObject], plan_digest: str) -> None:
    """Write index and manifest of a state of a cache under a folder that holds its Zarr metadata.

    Args:
        root: the cache, or its staging folder.
        index: a row a position.
        objects: its shards by path; older entries of index and metadata are replaced.
        plan_digest: of the plan whose data it holds.
    """
    metadata = {path: CacheObject.of((root / path).read_bytes()) for path in (GROUP_METADATA, ARRAY_METADATA)}
    manifest = CacheManifest(objects={**objects, **metadata, **write_index(root, index)}, plan_digest=plan_digest)
    write_atomically(root / MANIFEST, manifest.to_json().encode())
