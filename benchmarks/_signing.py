"""Rendered signing and its cache, as several benchmarks want it."""

from pathlib import Path

from signprep.cache_builder.build import build
from signprep.cache_builder.plan import BuildOptions, plan_build
from signprep.cache_builder.reader import Cache, open_cache
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
