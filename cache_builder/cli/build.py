"""The command `build-cache`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signprep.cache_builder.remote.location import LOCATION, Location, shown
from signprep.pipeline.cli.source_options import source_options
from signprep.pipeline.cli.workers_option import workers_option
from signprep.pipeline.errors import DecodeError, StoppedError

if TYPE_CHECKING:
    from signprep.cache_builder.building.cluster import Cluster


@click.command("build-cache", short_help="Cut labelled segments and store them as a cache.")
@source_options
@click.option("--train-data-root", type=click.Path(path_type=Path), help="In place of --data-root: data to train on,")
@click.option("--val-data-root", type=click.Path(path_type=Path), help="and data to validate on.")
@click.option("--out", required=True, type=LOCATION, help="The cache to build: NAME.zarr, or a URL as for `push`.")
@click.option("--frames", "num_frames", default=16, show_default=True, help="Frames a clip.")
@click.option("--size", default=256, show_default=True, help="Height and width of the clips in pixels.")
@click.option("--crop", default="center", show_default=True, help="center, full, or x0,y0,x1,y1 in fractions.")
@click.option("--pixels", default="yuv420p", show_default=True, type=click.Choice(["yuv420p", "rgb24"]))
@click.option("--margin-seconds", default=0.0, show_default=True, help="Added to both ends of a segment.")
@click.option("--clip-duration", type=float, help="Seconds around each segment's middle, in place of the segment.")
@click.option("--codec", default="lz4hc", show_default=True, type=click.Choice(["lz4hc", "zstd", "none", "plain"]))
@click.option("--decoder", default="pyav", show_default=True, type=click.Choice(["pyav", "decord"]))
@click.option(
    "--split-by",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "official", "signer", "take", "column"]),
    help="official: AIHub's signers 17 and 18 validate; column: as the table says; auto: what the data allow.",
)
@click.option("--validation-fraction", default=0.2, show_default=True, help="Of the clips, in whole signers or takes.")
@click.option(
    "--idle-class",
    is_flag=False,
    flag_value="(쉼)",
    metavar="[GLOSS]",
    help="Also clips without a sign, from unlabelled time, as a class of this name; (쉼) without one.",
)
@workers_option
@click.option(
    "--backend",
    default="loky",
    show_default=True,
    type=click.Choice(["loky", "dask", "ray"]),
    help="Who builds: processes of this machine, or a cluster.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Of the cluster: tcp://HOST:8786, ray://HOST:10001.")
@click.option("--shelf", type=LOCATION, help="A team's clips: taken from this folder or URL if others have cut them.")
@click.option("--yes", is_flag=True, help="With a URL: do not ask; all who can read it there are approved.")
@click.option("--strict", is_flag=True, help="Stop at the first problem instead of reporting all at the end.")
@click.option("--dry-run", is_flag=True, help="Only say what it would give and take; a few clips are tried.")
@click.option("--overwrite", is_flag=True, help="Build anew what is at --out, whatever its options.")
def build_cache(
    data_root: Path | None,
    train_data_root: Path | None,
    val_data_root: Path | None,
    out: Location,
    source: dict[str, Any],
    clip_duration: float | None,
    codec: str,
    decoder: str,
    split_by: str,
    validation_fraction: float,
    idle_class: str | None,
    workers: int,
    backend: str,
    scheduler: str | None,
    shelf: Location | None,
    yes: bool,
    strict: bool,
    dry_run: bool,
    overwrite: bool,
    **clip: Any,
) -> None:
    """Cut the labelled segments out of the videos and store them as clips in a cache.

    The data root is a folder of AIHub's videos and labels (any depth, zips too), a table (.csv, .tsv, .parquet),
    or, with --layout classes, folders named by their gloss. Running the same command again continues a build that
    was stopped, and brings a finished cache up to date: clips whose video and span are the same stay as they are.

    \b
    Examples:
      signprep build-cache --data-root aihub --out aihub.zarr --dry-run
      signprep build-cache --data-root aihub --out aihub.zarr
      signprep build-cache --data-root aihub --out front.zarr --view F --kind WORD --gloss-file words.txt
      signprep build-cache --data-root wlasl.csv --out wlasl.zarr --split-by column
      signprep build-cache --train-data-root a --val-data-root b --out ab.zarr --frames 4 --size 112
      signprep build-cache --data-root aihub --out timeline.zarr --idle-class
      signprep build-cache --data-root /nfs/aihub --out /nfs/aihub.zarr --backend dask --scheduler tcp://head:8786
      signprep build-cache --data-root aihub --out s3://team/aihub.zarr
      signprep build-cache --data-root aihub --out aihub.zarr --shelf /nfs/team/shelf
    """
    from signprep.cache_builder.building import run as from_annotations
    from signprep.cache_builder.cli.transfer import confirm_readers
    from signprep.cache_builder.options import BuildOptions
    from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec
    from signprep.pipeline.datasets.annotations import Annotations, SourceOptions
    from signprep.pipeline.datasets.read import read_data_root, read_split_roots
    from signprep.pipeline.datasets.splits import SplitOptions

    two_roots = train_data_root is not None and val_data_root is not None
    if two_roots == (data_root is not None) or (train_data_root is None) != (val_data_root is None):
        raise click.UsageError("give --data-root, or --train-data-root and --val-data-root")
    try:
        spec = ClipSpec(span=clip_duration if clip_duration is not None else SEGMENT_SPAN, **clip)
        sources = SourceOptions(**source)
        splits = SplitOptions(by="column" if two_roots else split_by, validation_fraction=validation_fraction)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    cluster = _cluster(backend, scheduler, workers)
    if shelf is not None and cluster is not None and isinstance(out, str):
        raise click.UsageError("--shelf on a cluster goes with an --out that is a folder, which all machines see")

    def read(sources: SourceOptions) -> Annotations:
        if train_data_root is not None and val_data_root is not None:
            return read_split_roots({"train": train_data_root, "val": val_data_root}, sources)
        assert data_root is not None
        return read_data_root(data_root, sources)

    annotations = read(sources)
    if idle_class is not None:
        from signprep.pipeline.datasets.no_sign import no_sign_segments

        occupied = read(replace(sources, glosses=frozenset())).segments if sources.glosses else None
        idle = no_sign_segments(annotations.segments, idle_class, occupied=occupied)
        annotations = replace(annotations, segments=(*annotations.segments, *idle))
    options = BuildOptions(clip_spec=spec, codec=codec, decoder=decoder)
    if dry_run:
        click.echo(from_annotations.dry_run(annotations, out, options, splits, workers=workers))
        return
    try:
        summary = from_annotations.build_from_annotations(
            annotations,
            out,
            options,
            splits=splits,
            workers=workers,
            strict=strict,
            overwrite=overwrite,
            cluster=cluster,
            confirm=None if yes else confirm_readers,
            shelf=shelf,
        )
    except DecodeError as error:
        raise DecodeError(f"{error} (stopped by --strict)") from error
    except KeyboardInterrupt:
        raise StoppedError(f"{shown(out)}: stopped; the same command goes on from here") from None
    click.echo(summary)


def _cluster(backend: str, scheduler: str | None, workers: int) -> "Cluster | None":
    """Return the cluster that is asked for, None for this machine; what cannot be reached is said before the work."""
    from signprep.cache_builder.building.cluster import Cluster

    if backend == "loky":
        if scheduler is not None:
            raise click.UsageError("--scheduler goes with --backend dask or --backend ray")
        return None
    if scheduler is None:
        raise click.UsageError(f"--backend {backend} needs --scheduler ADDRESS")
    if workers != -1:
        raise click.UsageError("--workers are processes of this machine; a cluster has its own")
    cluster = Cluster(backend=backend, scheduler=scheduler)
    cluster.check()
    return cluster
