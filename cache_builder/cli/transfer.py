"""Commands for caches that travel: `push` and `pull`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signprep.cache_builder.remote.location import LOCATION, Location, shown
from signprep.pipeline.errors import CacheError, StoppedError
from signprep.pipeline.runtime.text import byte_size, counted

if TYPE_CHECKING:
    from signprep.cache_builder.remote.transfer import TransferReport


@click.command("push", short_help="Bring a cache to where the team finds it.")
@click.argument("cache_path", metavar="CACHE", type=click.Path(path_type=Path))
@click.argument("destination", metavar="URL", type=LOCATION)
@click.option("--dry-run", is_flag=True, help="Only say what would travel.")
@click.option("--prune", is_flag=True, help="Delete there what older versions left and this one does not need.")
@click.option("--overwrite", is_flag=True, help="Replace what somebody else has pushed there meanwhile.")
@click.option("--yes", is_flag=True, help="Do not ask, wherever it goes: all who can read it there are approved.")
def push(cache_path: Path, destination: Location, dry_run: bool, prune: bool, overwrite: bool, yes: bool) -> None:
    """Bring a cache to where the team finds it; only what differs travels.

    URL is a folder (a share, NFS), s3://, gs://, sftp:// or hf://; each needs its driver: pip install 'signprep[s3]'.
    Keys are the driver's own: its environment variables, profiles, agents. Readers there see the cache of before or
    this one, never anything between. Stopped, the same command goes on.

    \b
    Examples:
      signprep push aihub.zarr s3://team/aihub.zarr --dry-run
      signprep push aihub.zarr s3://team/aihub.zarr
      signprep push aihub.zarr sftp://kim@server/data/aihub.zarr
      signprep push aihub.zarr /nfs/team/aihub.zarr
    """
    from signprep.cache_builder.remote.push import push as push_cache

    try:
        report = push_cache(
            cache_path,
            destination,
            prune=prune,
            overwrite=overwrite,
            dry_run=dry_run,
            confirm=None if yes else confirm_readers,
        )
    except KeyboardInterrupt:
        raise StoppedError(f"{shown(destination)}: stopped; the same command goes on from here") from None
    done = "would be sent" if dry_run else "sent" if report.num_sent else "sent: it is up to date"
    pruned = f"; {counted(report.num_pruned, 'old object')} deleted" if report.num_pruned else ""
    click.echo(f"{shown(destination)}: {_moved(report)} {done}{pruned}")


def confirm_readers(readers: str) -> None:
    """Ask whether data may go where others may read them."""
    warning = (
        f"{readers}. AIHub's terms, like those of most sign-language data, forbid passing data on to people who are "
        "not approved"
    )
    if not sys.stdin.isatty():
        raise CacheError(f"{warning}; add --yes if every reader is approved")
    click.confirm(f"{warning}. Go on all the same?", abort=True, err=True)


@click.command("pull")
@click.argument("source", metavar="URL", type=LOCATION)
@click.argument("out", metavar="CACHE", type=click.Path(path_type=Path))
@click.option("--split", "splits", multiple=True, help="Only clips of this split; repeatable.")
@click.option("--gloss-file", type=click.Path(path_type=Path), help="Only the glosses of a text file, one a line.")
@click.option("--signer", "signers", multiple=True, help="Only this signer's clips; repeatable.")
@click.option("--check", is_flag=True, help="Also hash what is here already, and fetch what is damaged again.")
@click.option("--dry-run", is_flag=True, help="Only say what would travel.")
@click.option("--overwrite", is_flag=True, help="Replace a cache that was built or changed here.")
def pull(
    source: Location,
    out: Path,
    splits: tuple[str, ...],
    gloss_file: Path | None,
    signers: tuple[str, ...],
    check: bool,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Fetch a cache, or a part of it; only what differs travels.

    URL is what `push` was given, or any folder or web address of a NAME.zarr: a path, s3://, gs://, sftp://, hf://,
    https://. Every byte is compared with the manifest's hashes before the cache takes its place. Stopped, the same
    command goes on. --split, --gloss-file and --signer give a smaller cache of the clips that are of all that is asked.

    \b
    Examples:
      signprep pull s3://team/aihub.zarr aihub.zarr
      signprep pull s3://team/aihub.zarr val.zarr --split val
      signprep pull https://server/aihub.zarr words.zarr --gloss-file words.txt --signer REAL01 --signer REAL02
    """
    from signprep.cache_builder.remote.partial_pull import Selection, pull_selection
    from signprep.cache_builder.remote.pull import pull as pull_cache
    from signprep.pipeline.datasets.annotations import read_gloss_file

    glosses = read_gloss_file(gloss_file) if gloss_file is not None else frozenset()
    selection = Selection(splits=splits, glosses=glosses, signers=signers)
    if selection and check:
        raise click.UsageError("--check is for whole caches; `signprep verify` checks this one")
    try:
        if selection:
            report = pull_selection(source, out, selection, overwrite=overwrite, dry_run=dry_run)
        else:
            report = pull_cache(source, out, check=check, overwrite=overwrite, dry_run=dry_run)
    except KeyboardInterrupt:
        raise StoppedError(f"{out}: stopped; the same command goes on from here") from None
    done = "would be fetched" if dry_run else "fetched"
    current = "" if dry_run or report.num_sent else ": it is up to date"
    click.echo(f"{out}: {_moved(report)} {done} from {shown(source)}{current}")


def _moved(report: "TransferReport") -> str:
    return (
        f"{report.num_sent:,} of {counted(report.num_objects, 'object')}, {byte_size(report.sent_bytes)} of "
        f"{byte_size(report.num_bytes)}"
    )
