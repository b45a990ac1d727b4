"""The cache of a data root, built or brought up to date before `signprep train --data-root` trains on it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from signprep.cache_builder.building.run import build_from_annotations
from signprep.cache_builder.options import BuildOptions
from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec
from signprep.pipeline.datasets.annotations import Annotations, DatasetOptions
from signprep.pipeline.datasets.read import read_data_root, read_split_roots
from signprep.pipeline.datasets.splits import SplitOptions
from signprep.pipeline.errors import StoppedError
from signprep.training.model_spec import ModelSpec

CACHES_FOLDER = "caches"
DEFAULT_CLIPS = ClipSpec()


@dataclass(frozen=True)
class Sources:
    """Data roots with the options to read them."""

    data_root: Path | None
    train_data_root: Path | None
    val_data_root: Path | None
    options: dict[str, Any]
    """Fields of DatasetOptions."""
    clip_duration: float | None
    """Seconds around the middle of a segment; the segment itself if None."""

    def roots(self) -> dict[str, Path]:
        """Return the folders by split, or the one folder by "". A split without one of its own takes --data-root's.

        Raises:
            click.UsageError: there are none, or one split has none.
        """
        if self.train_data_root is None and self.val_data_root is None:
            if self.data_root is None:
                raise click.UsageError("give --cache, or --data-root, or --train-data-root and --val-data-root")
            return {"": self.data_root}
        train, val = self.train_data_root or self.data_root, self.val_data_root or self.data_root
        if train is None or val is None:
            raise click.UsageError("--train-data-root and --val-data-root go together, or with --data-root")
        return {"train": train, "val": val}

    def read(self) -> tuple[Annotations, SplitOptions]:
        """Return the annotations and the options of their split."""
        try:
            options = DatasetOptions(**self.options)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        roots = self.roots()
        if "" in roots:
            return read_data_root(roots[""], options), SplitOptions()
        return read_split_roots(roots, options), SplitOptions(by="column")


def clip_spec_for(spec: ModelSpec, clip_duration: float | None) -> ClipSpec:
    """Return the cache's default clips, with more frames or pixels where a model needs them."""
    return ClipSpec(
        num_frames=max(DEFAULT_CLIPS.num_frames, spec.num_frames),
        size=max(DEFAULT_CLIPS.size, -(-spec.crop_size // 4) * 4),
        span=SEGMENT_SPAN if clip_duration is None else clip_duration,
    )


def cache_location(sources: Sources, clips: ClipSpec, output_dir: Path) -> Path:
    """Return OUTPUT_DIR/caches/NAMES-FRAMESxSIZE[-SECONDSs]-HASH.zarr: caches of other clips or folders do not meet.

    HASH is of the folders' paths, since two folders may both be called `data`.
    """
    roots = [root.resolve() for root in sources.roots().values()]
    names = "+".join(root.name for root in roots)
    seconds = "" if clips.span == SEGMENT_SPAN else f"-{clips.span:g}s"
    places = hashlib.blake2b("\0".join(map(str, roots)).encode(), digest_size=4).hexdigest()
    return output_dir / CACHES_FOLDER / f"{names}-{clips.num_frames}x{clips.size}{seconds}-{places}.zarr"


def refreshed_cache(sources: Sources, spec: ModelSpec, output_dir: Path) -> Path:
    """Build the cache of the data, or bring it up to date, and return where it is.

    Raises:
        AnnotationError, CacheError, DecodeError: as `signprep build-cache` does.
    """
    clips = clip_spec_for(spec, sources.clip_duration)
    out = cache_location(sources, clips, output_dir)
    if int(os.environ.get("LOCAL_RANK", "0")) > 0:
        return out  # the first process of this machine has built it before it started this one
    annotations, splits = sources.read()
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        summary = build_from_annotations(annotations, out, BuildOptions(clip_spec=clips), splits=splits)
    except KeyboardInterrupt:
        raise StoppedError(f"{out}: stopped; the same command goes on from here") from None
    click.echo(summary, err=True)
    return out
