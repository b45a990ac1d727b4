"""Commands for finished caches: `verify`, `compact`, `forget`, `diff` and `merge`."""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signprep.cache_builder.options import CACHE_ARGUMENT, Location, MergeOptions, location_option, shown
from signprep.pipeline.cli.next_step import as_typed, free_path, next_step
from signprep.pipeline.cli.options import command, reject_unused, told_if_stopped
from signprep.pipeline.cli.printing import echo, echo_data
from signprep.pipeline.datasets.annotations import DataRootOptions, DatasetOptions, fps_option
from signprep.pipeline.datasets.splits import SPLIT_BY, SplitOptions
from signprep.pipeline.datasets.tables.options import TableOptions
from signprep.pipeline.errors import CacheCorruptError, CacheError
from signprep.pipeline.options import REQUIRED, Options, json_option, option
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.text import byte_size, counted, json_text, printable

if TYPE_CHECKING:
    from signprep.cache_builder.edit.compact import CompactResult
    from signprep.cache_builder.edit.verify import Fault

TROUBLE = 2
"""Exit code of `diff` where there is nothing to compare."""


@command("verify", "Check a cache's files, and make bad ones again.")
def verify(
    *,
    cache: Location = location_option(
        REQUIRED, "The folder of the cache, or the URL that it was pushed to.", **CACHE_ARGUMENT
    ),
    deep: bool = option(False, "Also decode every clip."),
    repair: bool = option(False, "Make what is bad again, from the videos in the data root."),
    roots: DataRootOptions,
    fps: float | None = fps_option(),
    video_root: Path | None = option(None, "Look for a table's videos in this folder.", metavar="DIR", group="Data"),
) -> None:
    """Check every file of a cache against its manifest; exit code 1 if anything is not as it was written.

    The data roots, for --repair, are those that the cache was built from, with the same --fps and --video-root.

    \b
    Examples:
      signprep verify aihub.zarr
      signprep verify aihub.zarr --deep
      signprep verify aihub.zarr --repair --data-root aihub
      signprep verify s3://team/aihub.zarr
    """
    if repair != bool(roots.by_split):
        raise click.UsageError("--repair goes with --data-root, or with --train-data-root and --val-data-root")
    if not repair:
        reject_unused(["fps", "video_root"], "--repair")
    if isinstance(cache, str) and (deep or repair):
        raise click.UsageError("--deep and --repair are for a cache in a folder; pull it first")
    if repair:
        from signprep.cache_builder.edit.verify import REPAIR
        from signprep.cache_builder.folder.transaction import end_stopped_change

        end_stopped_change(Path(cache), REPAIR)
    faults, num_objects = _faults(cache, deep=deep)
    for fault in faults:
        echo(fault.message)
    name = shown(cache)
    if not faults:
        decoded = ", and every clip decodes" if deep else ""
        echo(f"{name}: {num_objects} files are as they were written{decoded}")
        next_step("inspect", cache)
    elif repair:
        source = DatasetOptions(fps=fps, table=TableOptions(video_root=video_root))
        _repair(Path(cache), faults, roots, source)
    else:
        local = f"`signprep verify {name} --repair --data-root DATA` makes good what it can"
        how = "push it again from a whole copy" if isinstance(cache, str) else local
        raise CacheCorruptError(f"{name}: {counted(len(faults), 'fault')}; {how}")


def _faults(cache: Location, *, deep: bool) -> "tuple[list[Fault], int]":
    """Return what is wrong with a cache, and how many files it has."""
    from signprep.cache_builder.edit.verify import verify_cache, verify_published
    from signprep.cache_builder.format.layout import read_manifest
    from signprep.pipeline.runtime.progress import progress_bar

    if isinstance(cache, str):
        return verify_published(cache)
    num_objects = len(read_manifest(cache).objects) if cache.is_dir() else 0
    with progress_bar("Verifying", num_objects, "files") as progress:
        return verify_cache(cache, deep=deep, progress=progress), num_objects


def _repair(cache: Path, faults: "list[Fault]", roots: DataRootOptions, source: DatasetOptions) -> None:
    from signprep.cache_builder.edit.verify import repair_cache
    from signprep.pipeline.datasets.read import videos_of

    with told_if_stopped(cache):
        report = repair_cache(cache, faults, videos_of(roots, source))
    files, clips = counted(report.num_objects, "file"), counted(report.num_clips, "clip")
    echo(f"{cache}: {files} repaired, {clips} made again")
    for reason in report.unrepaired:
        echo(reason)
    if report.unrepaired:
        raise CacheCorruptError(f"{cache}: {counted(len(report.unrepaired), 'fault')} could not be repaired")
    next_step("verify", cache)


@command("compact", "Give back the bytes of clips that are gone.")
def compact(cache: Path = option(REQUIRED, "The folder of the cache.", **CACHE_ARGUMENT)) -> None:
    """Give back the bytes of clips that are gone from the data; only the shards concerned are written again.

    Positions change: open the cache again, and build on no position that was noted down before.

    \b
    Example:
      signprep compact aihub.zarr
    """
    from signprep.cache_builder.edit.compact import compact as compact_cache

    with told_if_stopped(cache):
        report = compact_cache(cache)
    echo(_compacted(cache, report))
    next_step("verify", cache)


@dataclass(frozen=True, kw_only=True)
class ForgottenClips(Options, group="Data"):
    """Whose clips are deleted, by the index columns that tell."""

    signer: tuple[str, ...] = option((), "Delete this signer's clips; repeat it for several.")
    take: tuple[str, ...] = option((), "Delete the clips of this take; repeat it for several.")
    video: tuple[str, ...] = option((), "Delete the clips of this video, as the index names it; repeat it for several.")
    segment_id: tuple[str, ...] = option((), "Delete this clip; repeat it for several.")


@command("forget", "Delete a person's clips from a cache for good.")
def forget(
    clips: ForgottenClips,
    cache: Path = option(REQUIRED, "The folder of the cache.", **CACHE_ARGUMENT),
    dry_run: bool = option(False, "Only say what would be deleted."),
    yes: bool = option(False, "Do not ask."),
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
    from signprep.cache_builder.edit.compact import compact as compact_cache
    from signprep.cache_builder.edit.compact import matching_positions

    chosen = {column: values for column, values in asdict(clips).items() if values}
    if not chosen:
        raise click.UsageError("say whose clips: --signer, --take, --video or --segment-id")
    who = ", ".join(f"{column.replace('_', ' ')} {value}" for column, values in chosen.items() for value in values)
    if dry_run:
        echo(f"{cache}: {counted(len(matching_positions(cache, chosen)), 'clip')} ({who}) would be deleted")
        next_step("forget", *as_typed(without=["dry_run"]))
        return

    def confirm(num_clips: int) -> None:
        question = f"Delete {counted(num_clips, 'clip')} ({who}) from {cache} for good?"
        if not sys.stdin.isatty():
            raise CacheError(f"{question} Nobody is there to ask; add --yes")
        click.confirm(printable(translated(question)), abort=True)

    with told_if_stopped(cache):
        report = compact_cache(cache, forgotten=chosen, confirm=None if yes else confirm)
    echo(_compacted(cache, report))
    next_step("verify", cache)


def _compacted(cache: Path, report: "CompactResult") -> str:
    return (
        f"{cache}: {counted(report.num_dropped, 'clip')} dropped, {byte_size(report.freed_bytes)} given back, "
        f"{counted(report.num_shards_written, 'shard')} written again"
    )


@command("diff", "Show how two caches differ, clip by clip.")
def diff(
    first: Path = option(REQUIRED, "The folder of one cache.", positional=True, metavar="A"),
    second: Path = option(REQUIRED, "The folder of the other one.", positional=True, metavar="B"),
    as_json: bool = json_option("Print all of it as JSON, for programs: every clip by its name."),
) -> None:
    """Show how two caches differ: clips of both, of only one, and labels, splits and names that differ.

    A clip is the same in both if the same bytes of video are labelled over the same span, whatever files are called
    and wherever the clip lies. Clips that are gone from a cache's data do not count. Nothing is decoded.

    Exit code: 0 if both have the same clips, cut in the same way, with the same labels, splits and names; 1 if they
    differ; 2 if they cannot be compared.

    \b
    Examples:
      signprep diff mine.zarr theirs.zarr
      signprep diff mine.zarr theirs.zarr --json > differences.json
    """
    from signprep.cache_builder.edit.diff import diff as diff_caches
    from signprep.cache_builder.edit.diff import diff_summary

    try:
        found = diff_caches(first, second)
    except CacheError as error:
        echo(f"signprep: error: {printable(str(error))}", err=True)
        sys.exit(TROUBLE)
    if as_json:
        echo_data(json_text(found.to_dict()))
    else:
        echo(diff_summary(found))
        if found.equal or found.incompatible:
            next_step("inspect", second)
        else:
            both = free_path(Path(f"{first.resolve().stem}+{second.resolve().stem}.zarr"))
            next_step("merge", first, second, "--out", both)
    sys.exit(0 if found.equal else 1)


@command("merge", "Write one cache of the clips of several.")
def merge(
    options: MergeOptions,
    caches: tuple[Path, ...] = option(REQUIRED, "The folders of two caches or more.", positional=True, metavar="CACHE"),
    out: Path = option(REQUIRED, "Write this cache.", metavar="NAME.zarr"),
    split_by: str | None = option(
        None,
        "Split all clips anew, as build-cache does, instead of leaving them in their splits.",
        choices=tuple(by for by in SPLIT_BY if by != "column"),
        group="Data",
    ),
    validation_fraction: float = option(
        SplitOptions.validation_fraction,
        "Validate on this fraction of each gloss's clips, with --split-by.",
        above=0,
        below=1,
        group="Data",
    ),
    overwrite: bool = option(False, "Replace the cache that is at --out."),
) -> None:
    """Write a new cache of the clips of several, each once; nothing is decoded.

    A clip is the same in two caches if the same bytes of video are labelled over the same span; it is taken from the
    first cache that has it whole, with the gloss, split and names that it has there. Glosses keep the first cache's
    order, new ones follow. All caches must be cut in the same way: `signprep diff` names what differs. Stopped, the
    same command goes on.

    \b
    Examples:
      signprep merge mine.zarr theirs.zarr --out both.zarr
      signprep merge old.zarr corrected.zarr --out new.zarr --on-conflict last
      signprep merge a.zarr b.zarr c.zarr --out abc.zarr --split-by signer
    """
    from signprep.cache_builder.edit.merge import merge as merge_caches
    from signprep.cache_builder.edit.merge import merge_summary

    if len(caches) < 2:
        raise click.UsageError("give two caches or more")
    if split_by is None:
        reject_unused(["validation_fraction"], "--split-by")
    else:
        splits = SplitOptions(by=split_by, validation_fraction=validation_fraction)
        options = replace(options, splits=splits)
    with told_if_stopped(out):
        report = merge_caches(caches, out, options, overwrite=overwrite)
    echo(merge_summary(report, caches, out, options))
    next_step("inspect", out)
