"""Commands for caches that travel: `push` and `pull`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signprep.cache_builder.options import CACHE_ARGUMENT, Location, Selection, location_option, shown
from signprep.pipeline.cli.next_step import as_typed, next_step
from signprep.pipeline.cli.options import command, told_if_stopped
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.errors import CacheError
from signprep.pipeline.options import REQUIRED, option
from signprep.pipeline.runtime.language import translated
from signprep.pipeline.runtime.text import byte_size, counted

if TYPE_CHECKING:
    from signprep.cache_builder.remote.transfer import TransferResult


@command("push", "Bring a cache to where the team finds it.")
def push(
    cache: Path = option(REQUIRED, "The folder of the cache.", **CACHE_ARGUMENT),
    url: Location = location_option(REQUIRED, "The place where the team finds it.", positional=True),
    dry_run: bool = option(False, "Only say what would travel."),
    prune: bool = option(False, "Delete there what older versions left and this one does not need."),
    overwrite: bool = option(False, "Replace what somebody else has pushed there meanwhile."),
    yes: bool = option(False, "Do not ask, wherever it goes; all who can read it there are approved."),
) -> None:
    """Bring a cache to where the team finds it; only what differs travels.

    URL is a folder (a share, NFS), s3://, gs://, sftp:// or hf://; each needs its driver, which
    `signprep doctor` says how to install.
    Keys are the driver's own: its environment variables, profiles, agents. Readers there see the cache of before or
    this one, never a mixture. Stopped, the same command goes on.

    \b
    Examples:
      signprep push aihub.zarr s3://team/aihub.zarr --dry-run
      signprep push aihub.zarr s3://team/aihub.zarr
      signprep push aihub.zarr sftp://kim@server/data/aihub.zarr
      signprep push aihub.zarr /nfs/team/aihub.zarr
    """
    from signprep.cache_builder.remote.push import push as push_cache

    confirm = None if yes else confirm_visibility
    with told_if_stopped(shown(url)):
        report = push_cache(cache, url, prune=prune, overwrite=overwrite, dry_run=dry_run, confirm=confirm)
    done = "would be sent" if dry_run else "sent" if report.num_sent else "sent: it is up to date"
    pruned = f"; {counted(report.num_pruned, 'old object')} deleted" if report.num_pruned else ""
    echo(f"{shown(url)}: {_moved(report)} {done}{pruned}")
    next_step("push", *as_typed(without=["dry_run"])) if dry_run else next_step("verify", url)


def confirm_visibility(readers: str) -> None:
    """Ask whether data may go where others may read them."""
    warning = (
        f"{readers}. AIHub's terms, like those of most sign-language data, forbid passing data on to people who are "
        "not approved"
    )
    if not sys.stdin.isatty():
        raise CacheError(f"{warning}; add --yes if every reader is approved")
    click.confirm(translated(f"{warning}. Go on all the same?"), abort=True, err=True)


@command("pull", "Fetch a cache, or a part of it; only what differs travels.")
def pull(
    selection: Selection,
    url: Location = location_option(REQUIRED, "The place that the cache was pushed to.", positional=True),
    cache: Path = option(REQUIRED, "The folder to write, NAME.zarr.", positional=True, aliases=("--out", "--cache")),
    check: bool = option(False, "Also hash what is here already, and fetch what is damaged again."),
    dry_run: bool = option(False, "Only say what would travel."),
    overwrite: bool = option(False, "Replace a cache that was built or changed here."),
) -> None:
    """Fetch a cache, or a part of it; only what differs travels.

    URL is what `push` was given, or any folder or web address of a NAME.zarr: a path, s3://, gs://, sftp://, hf://,
    https://. Every byte is compared with the manifest's hashes before the cache takes its place. Stopped, the same
    command goes on. --split, --gloss-file and --signer keep only the clips that match all of them.

    \b
    Examples:
      signprep pull s3://team/aihub.zarr aihub.zarr
      signprep pull s3://team/aihub.zarr val.zarr --split val
      signprep pull https://server/aihub.zarr words.zarr --gloss-file words.txt --signer REAL01 --signer REAL02
    """
    from signprep.cache_builder.remote.partial_pull import pull_selection
    from signprep.cache_builder.remote.pull import pull as pull_cache

    if selection and check:
        raise click.UsageError("--check is for whole caches; `signprep verify` checks this one")
    with told_if_stopped(cache):
        if selection:
            report = pull_selection(url, cache, selection, overwrite=overwrite, dry_run=dry_run)
        else:
            report = pull_cache(url, cache, check=check, overwrite=overwrite, dry_run=dry_run)
    done = "would be fetched" if dry_run else "fetched"
    current = "" if dry_run or report.num_sent else ": it is up to date"
    echo(f"{cache}: {_moved(report)} {done} from {shown(url)}{current}")
    next_step("pull", *as_typed(without=["dry_run"])) if dry_run else next_step("inspect", cache)


def _moved(report: "TransferResult") -> str:
    return (
        f"{report.num_sent:,} of {counted(report.num_objects, 'object')}, {byte_size(report.sent_bytes)} of "
        f"{byte_size(report.num_bytes)}"
    )
