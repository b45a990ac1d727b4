"""Commands of this floor: `build-cache`, `verify`, `compact` and `forget`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signprep.cache_builder.sharing.location import LOCATION, Location, shown
from signprep.pipeline.errors import CacheCorruptError, CacheError, CacheIncompleteError, DecodeError
from signprep.pipeline.source_options import source_options
from signprep.pipeline.wording import byte_size, counted
from signprep.pipeline.workers_option import workers_option

if TYPE_CHECKING:
    from signprep.cache_builder.cluster import Cluster


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
    from signprep.cache_builder import from_annotations
    from signprep.cache_builder.plan import BuildOptions
    from signprep.cache_builder.sharing.commands import confirm_readers
    from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec
    from signprep.pipeline.sources.annotations import Annotations, SourceOptions
    from signprep.pipeline.sources.read import read_data_root, read_split_roots
    from signprep.pipeline.splits import SplitOptions

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
        from signprep.pipeline.idle import idle_segments

        occupied = read(replace(sources, glosses=frozenset())).segments if sources.glosses else None
        idle = idle_segments(annotations.segments, idle_class, occupied=occupied)
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
        raise CacheIncompleteError(f"{shown(out)}: stopped; the same command goes on from here") from None
    click.echo(summary)


def _cluster(backend: str, scheduler: str | None, workers: int) -> "Cluster | None":
    """Return the cluster that is asked for, None for this machine; what cannot be reached is said before the work."""
    from signprep.cache_builder.cluster import Cluster

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


@click.command("verify", short_help="Check a cache's files, and make bad ones again.")
@click.argument("location", metavar="CACHE", type=LOCATION)
@click.option("--deep", is_flag=True, help="Also decode every clip.")
@click.option("--repair", is_flag=True, help="Make what is bad again, from the videos in the data root.")
@click.option("--data-root", type=click.Path(path_type=Path), help="What the cache was built from; with --repair.")
@click.option("--train-data-root", type=click.Path(path_type=Path), help="In place of --data-root: as for the build,")
@click.option("--val-data-root", type=click.Path(path_type=Path), help="both of them.")
def verify(
    location: Location,
    deep: bool,
    repair: bool,
    data_root: Path | None,
    train_data_root: Path | None,
    val_data_root: Path | None,
) -> None:
    """Check every file of a cache against its manifest; exit code 1 if anything is not as it was written.

    CACHE is a folder, or the URL that it was pushed to.

    \b
    Examples:
      signprep verify aihub.zarr
      signprep verify aihub.zarr --deep
      signprep verify aihub.zarr --repair --data-root aihub
      signprep verify s3://team/aihub.zarr
    """
    from signprep.cache_builder.format import read_manifest
    from signprep.cache_builder.repair import repair_cache
    from signprep.cache_builder.sharing.verify_source import verify_source
    from signprep.cache_builder.verify import verify_cache
    from signprep.pipeline.progress import progress_bar
    from signprep.pipeline.sources.files import DataRoots
    from signprep.pipeline.sources.read import video_root

    roots = None
    if train_data_root is not None and val_data_root is not None and data_root is None:
        both = (("train", train_data_root), ("val", val_data_root))
        roots = DataRoots(folders=tuple((split, video_root(root)) for split, root in both))
    elif data_root is not None and train_data_root is None and val_data_root is None:
        roots = DataRoots.single(video_root(data_root))
    if repair != (roots is not None):
        raise click.UsageError("--repair goes with --data-root, or with --train-data-root and --val-data-root")
    if isinstance(location, str):
        if deep or repair:
            raise click.UsageError("--deep and --repair are for a cache in a folder; pull it first")
        faults, num_objects = verify_source(location)
    else:
        num_objects = len(read_manifest(location).objects) if location.is_dir() else 0
        with progress_bar("Verifying", num_objects, "files") as progress:
            faults = verify_cache(location, deep=deep, progress=progress)
    cache_path = shown(location)
    for fault in faults:
        click.echo(fault.message)
    if faults and roots is not None:
        report = repair_cache(Path(location), faults, roots)
        files, clips = counted(report.num_objects, "file"), counted(report.num_clips, "clip")
        click.echo(f"{cache_path}: {files} repaired, {clips} made again")
        for reason in report.unrepaired:
            click.echo(reason)
        if report.unrepaired:
            raise CacheCorruptError(f"{cache_path}: {counted(len(report.unrepaired), 'fault')} could not be repaired")
    elif faults:
        local = f"`signprep verify {cache_path} --repair --data-root DATA` makes good what it can"
        how = "push it again from a whole copy" if isinstance(location, str) else local
        raise CacheCorruptError(f"{cache_path}: {counted(len(faults), 'fault')}; {how}")
    else:
        decoded = ", and every clip decodes" if deep else ""
        click.echo(f"{cache_path}: {num_objects} files are as they were written{decoded}")


@click.command("compact", short_help="Give back the bytes of clips that are gone.")
@click.argument("cache_path", metavar="CACHE", type=click.Path(path_type=Path))
def compact(cache_path: Path) -> None:
    """Give back the bytes of clips that are gone from the data; only the shards concerned are written again.

    Positions change: open the cache again, and build on no position that was noted down before.

    \b
    Example:
      signprep compact aihub.zarr
    """
    from signprep.cache_builder.compact import compact as compact_cache

    click.echo(_compacted(cache_path, compact_cache(cache_path)))


@click.command("forget", short_help="Delete a person's clips from a cache for good.")
@click.argument("cache_path", metavar="CACHE", type=click.Path(path_type=Path))
@click.option("--signer", "signers", multiple=True, help="Delete this signer's clips; repeatable, as the next three.")
@click.option("--take", "takes", multiple=True, help="Delete the clips of this take.")
@click.option("--video", "videos", multiple=True, help="Delete the clips of this video, as the index names it.")
@click.option("--segment-id", "segment_ids", multiple=True, help="Delete this clip.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(
    cache_path: Path,
    signers: tuple[str, ...],
    takes: tuple[str, ...],
    videos: tuple[str, ...],
    segment_ids: tuple[str, ...],
    yes: bool,
) -> None:
    """Delete a person's clips from a cache for good: frames, labels and names.

    The videos are left alone, and copies of the cache elsewhere too. The next build-cache takes the clips in again
    unless their videos are gone or its filters leave them out.

    \b
    Examples:
      signprep forget aihub.zarr --signer REAL07
      signprep forget aihub.zarr --take REAL07_WORD0001 --yes
    """
    from signprep.cache_builder.compact import SELECTORS, matching_positions
    from signprep.cache_builder.compact import compact as compact_cache

    named = zip(SELECTORS, (signers, takes, videos, segment_ids), strict=True)
    chosen = {column: values for column, values in named if values}
    if not chosen:
        raise click.UsageError("say whose clips: --signer, --take, --video or --segment-id")
    positions = matching_positions(cache_path, chosen)
    if not yes:
        who = ", ".join(f"{column.replace('_', ' ')} {value}" for column, values in chosen.items() for value in values)
        question = f"Delete {counted(len(positions), 'clip')} ({who}) from {cache_path} for good?"
        if not sys.stdin.isatty():
            raise CacheError(f"{question} Nobody is there to ask; add --yes")
        click.confirm(question, abort=True)
    click.echo(_compacted(cache_path, compact_cache(cache_path, forgotten=chosen)))


def _compacted(cache_path: Path, report: Any) -> str:
    return (
        f"{cache_path}: {counted(report.num_dropped, 'clip')} dropped, {byte_size(report.freed_bytes)} given back, "
        f"{counted(report.num_shards_written, 'shard')} written again"
    )
