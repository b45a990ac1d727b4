"""Rendered signing and its cache, as several benchmarks want it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from signprep.cache_builder.build import build, write_state
from signprep.cache_builder.format import CacheObject, shard_path, write_atomically, write_metadata
from signprep.cache_builder.index import SCHEMA
from signprep.cache_builder.plan import BuildOptions, plan_build
from signprep.cache_builder.reader import Cache, open_cache
from signprep.cache_builder.shard import shard_bytes
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.sample.dataset import SampleSpec, render_dataset
from signprep.pipeline.sources.read import read_data_root
from signprep.pipeline.splits import assign_splits


def signing_cache(folder: Path, sample: SampleSpec, clips: ClipSpec) -> Cache:
    """Render a data set into folder/data and build its cache, folder/signing.zarr, with the default codec."""
    render_dataset(sample, folder / "data", workers=-1)
    annotations = read_data_root(folder / "data")
    plan = plan_build(annotations.roots, assign_splits(annotations.segments), BuildOptions(clip_spec=clips))
    build(plan, folder / "signing.zarr")
    return open_cache(folder / "signing.zarr")


def many_clips(cache: Cache, target: Path, num_clips: int, clips_per_shard: int) -> Cache:
    """Return a cache of another one's clips, over and over, no two shards the same."""
    info = replace(cache.info, num_positions=num_clips, clips_per_shard=clips_per_shard)
    chunks = [cache.stored_chunk(int(position)) for position in cache.positions()]
    rows = cache.index.take(pa.array(cache.positions()))
    sources, objects = [], {}
    for number in range(info.num_shards):
        size = min(clips_per_shard, num_clips - number * clips_per_shard)
        places = [(number + place) % len(chunks) for place in range(size)]
        data = shard_bytes([chunks[place] for place in places], clips_per_shard)
        write_atomically(target / shard_path(info, number), data)
        objects[shard_path(info, number)] = CacheObject.of(data)
        sources += places
    index = rows.take(pa.array(sources)).set_column(0, SCHEMA.field(0), pa.array(np.arange(num_clips)))
    write_metadata(target, info)
    write_state(target, index=index, objects=objects, plan_digest="made")
    return open_cache(target)
