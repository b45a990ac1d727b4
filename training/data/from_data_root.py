"""The cache of a data root, built or brought up to date before `signprep train --data-root` trains on it."""

import hashlib
from pathlib import Path

from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec
from signprep.pipeline.datasets.annotations import DataRootOptions, DatasetOptions
from signprep.pipeline.datasets.read import read_roots
from signprep.pipeline.datasets.splits import SplitOptions
from signprep.training.model_spec import ModelSpec

CACHES_FOLDER = "caches"
DEFAULT_CLIPS = ClipSpec()


def clip_spec_for(spec: ModelSpec, clip_duration: float | None) -> ClipSpec:
    """Return the cache's default clips, with more frames or pixels where a model needs them."""
    return ClipSpec(
        num_frames=max(DEFAULT_CLIPS.num_frames, spec.num_frames),
        size=max(DEFAULT_CLIPS.size, -(-spec.crop_size // 4) * 4),
        span=SEGMENT_SPAN if clip_duration is None else clip_duration,
    )


def cache_location(roots: DataRootOptions, clips: ClipSpec, output_dir: Path) -> Path:
    """Return OUTPUT_DIR/caches/NAMES-FRAMESxSIZE[-SECONDSs]-HASH.zarr: caches of other clips or folders do not meet.

    HASH is of the folders' paths, since two folders may both be called `data`.
    """
    folders = [root.resolve() for root in roots.by_split.values()]
    names = "+".join(root.name for root in folders)
    seconds = "" if clips.span == SEGMENT_SPAN else f"-{clips.span:g}s"
    places = hashlib.blake2b("\0".join(map(str, folders)).encode(), digest_size=4).hexdigest()
    return output_dir / CACHES_FOLDER / f"{names}-{clips.num_frames}x{clips.size}{seconds}-{places}.zarr"


def refresh_cache(out: Path, roots: DataRootOptions, source: DatasetOptions, clips: ClipSpec) -> str:
    """Build the cache of the data, or bring it up to date, and return what was done, for people.

    Raises:
        AnnotationError, CacheError, DecodeError: as `signprep build-cache` does.
    """
    splits = SplitOptions() if "" in roots.by_split else SplitOptions(by="column")
    annotations = read_roots(roots, source)
    out.parent.mkdir(parents=True, exist_ok=True)
    return build_from_annotations(annotations, out, BuildOptions(clip_spec=clips), splits=splits)
