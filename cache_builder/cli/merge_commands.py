"""Commands for several caches at once: `diff` and `merge`."""

from pathlib import Path

import click

from signprep.pipeline.errors import CacheError, StoppedError
from signprep.pipeline.runtime.text import json_text

TROUBLE = 2
"""Exit code of `diff` where there is nothing to compare."""


@click.command("diff", short_help="Show how two caches differ, clip by clip.")
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="All of it as JSON, for programs: every clip by its name.")
@click.pass_context
def diff(ctx: click.Context, first: Path, second: Path, as_json: bool) -> None:
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
        click.echo(f"signprep: error: {error}", err=True)
        ctx.exit(TROUBLE)
    click.echo(json_text(found.to_dict()) if as_json else diff_summary(found))
    ctx.exit(0 if found.equal else 1)


@click.command("merge", short_help="Write one cache of the clips of several.")
@click.argument("roots", metavar="A B...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The cache to write, NAME.zarr.")
@click.option(
    "--on-conflict",
    default="refuse",
    show_default=True,
    type=click.Choice(["refuse", "first", "last", "drop"]),
    help="The same clip with several glosses: take it as the first or the last cache has it, or leave it out.",
)
@click.option(
    "--split-by",
    type=click.Choice(["auto", "official", "signer", "take"]),
    help="Split all clips anew, as build-cache does; without it they stay in their splits.",
)
@click.option("--validation-fraction", type=float, help="With --split-by: as for build-cache.  [default: 0.2]")
@click.option("--overwrite", is_flag=True, help="Replace the cache that is at --out.")
def merge(
    roots: tuple[Path, ...],
    out: Path,
    on_conflict: str,
    split_by: str | None,
    validation_fraction: float | None,
    overwrite: bool,
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
    from signprep.cache_builder.options import MergeOptions
    from signprep.pipeline.datasets.splits import SplitOptions

    if len(roots) < 2:
        raise click.UsageError("give two caches or more")
    if validation_fraction is not None and split_by is None:
        raise click.UsageError("--validation-fraction goes with --split-by")
    try:
        fraction = SplitOptions.validation_fraction if validation_fraction is None else validation_fraction
        splits = SplitOptions(by=split_by, validation_fraction=fraction) if split_by is not None else None
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    options = MergeOptions(on_conflict=on_conflict, splits=splits)
    try:
        report = merge_caches(roots, out, options, overwrite=overwrite)
    except KeyboardInterrupt:
        raise StoppedError(f"{out}: stopped; the same command goes on from here") from None
    click.echo(merge_summary(report, roots, out, options))
