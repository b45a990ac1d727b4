"""Commands for a finished cache: `verify`, `compact` and `forget`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signprep.cache_builder.remote.location import LOCATION, Location, shown
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.runtime.text import byte_size, counted

if TYPE_CHECKING:
    from signprep.cache_builder.edit.compact import CompactReport


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
    from signprep.cache_builder.edit.repair import repair_cache
    from signprep.cache_builder.edit.verify import verify_cache, verify_source
    from signprep.cache_builder.format.layout import read_manifest
    from signprep.pipeline.datasets.files import DataRoots
    from signprep.pipeline.datasets.read import video_root
    from signprep.pipeline.runtime.progress import progress_bar

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
    from signprep.cache_builder.edit.compact import compact as compact_cache

    click.echo(_compacted(cache_path, compact_cache(cache_path)))


@click.command("forget", short_help="Delete a person's clips from a cache for good.")
@click.argument("cache_path", metavar="CACHE", type=click.Path(path_type=Path))
@click.option("--signer", "signers", multiple=True, help="Delete this signer's clips; repeatable, as the next three.")
@click.option("--take", "takes", multiple=True, help="Delete the clips of this take.")
@click.option("--video", "videos", multiple=True, help="Delete the clips of this video, as the index names it.")
@click.option("--segment-id", "segment_ids", multiple=True, help="Delete this clip.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(
    cache_path: Path,
    signers: tuple[str, ...],
    takes: tuple[str, ...],
    videos: tuple[str, ...],
    segment_ids: tuple[str, ...],
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete a person's clips from a cache for good: frames, labels and names.

    The videos are left alone, and copies of the cache elsewhere too. The next build-cache takes the clips in again
    unless their videos are gone or its filters leave them out.

    \b
    Examples:
      signprep forget aihub.zarr --signer REAL07 --dry-run
      signprep forget aihub.zarr --signer REAL07
      signprep forget aihub.zarr --take REAL07_WORD0001 --yes
    """
    from signprep.cache_builder.edit.compact import SELECTORS, matching_positions
    from signprep.cache_builder.edit.compact import compact as compact_cache

    named = zip(SELECTORS, (signers, takes, videos, segment_ids), strict=True)
    chosen = {column: values for column, values in named if values}
    if not chosen:
        raise click.UsageError("say whose clips: --signer, --take, --video or --segment-id")
    positions = matching_positions(cache_path, chosen)
    who = ", ".join(f"{column.replace('_', ' ')} {value}" for column, values in chosen.items() for value in values)
    if dry_run:
        click.echo(f"{cache_path}: {counted(len(positions), 'clip')} ({who}) would be deleted")
        return
    if not yes:
        question = f"Delete {counted(len(positions), 'clip')} ({who}) from {cache_path} for good?"
        if not sys.stdin.isatty():
            raise CacheError(f"{question} Nobody is there to ask; add --yes")
        click.confirm(question, abort=True)
    click.echo(_compacted(cache_path, compact_cache(cache_path, forgotten=chosen)))


def _compacted(cache_path: Path, report: "CompactReport") -> str:
    return (
        f"{cache_path}: {counted(report.num_dropped, 'clip')} dropped, {byte_size(report.freed_bytes)} given back, "
        f"{counted(report.num_shards_written, 'shard')} written again"
    )
