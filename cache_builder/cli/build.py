"""The command `build-cache`."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import click

from signprep.cache_builder.options import BuildOptions, Location, location_option, shown
from signprep.pipeline.cli.next_step import as_typed, next_step
from signprep.pipeline.cli.options import command, told_if_stopped
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.datasets.annotations import DataRootOptions, DatasetOptions
from signprep.pipeline.datasets.splits import SplitOptions
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.options import REQUIRED, machine_option, option, workers_option


@dataclass(frozen=True, kw_only=True)
class BuildRun:
    """Where the cache goes, who builds it, and what happens on the way."""

    out: Location = location_option(REQUIRED, "Build this cache, a folder or a URL as for `push`.", metavar="NAME.zarr")
    idle_class: str | None = option(
        None,
        "Also store clips without a sign, from unlabelled time, as a class of this name; without a name it is (쉼).",
        value_if_bare="(쉼)",
        metavar="[GLOSS]",
        group="Data",
    )
    workers: int = workers_option()
    backend: str = machine_option(
        "local",
        "Build in processes of this machine, or on a cluster of Dask or Ray.",
        choices=("local", "dask", "ray"),
        old_choices=(("loky", "local"),),
    )
    scheduler: str | None = machine_option(
        None, "Find the cluster at this address, such as tcp://HOST:8786 or ray://HOST:10001.", metavar="ADDRESS"
    )
    clip_pool: Location | None = location_option(
        None,
        "Share clips with others through this folder or URL: take what they have cut, and add what is cut here.",
        metavar="DIR",
        aliases=("--shelf",),
        group="Data",
    )
    also_landmarks: Path | None = option(
        None,
        "Also build this cache, of the same clips' landmarks by MediaPipe's models, from the same decoding.",
        metavar="NAME.zarr",
        group="Clips",
    )
    strict: bool = option(False, "Stop at the first problem instead of reporting all of them at the end.")
    dry_run: bool = option(False, "Only say what the build would give and take; a few clips are tried.")
    overwrite: bool = option(False, "Build the cache anew if there is one, whatever its options.")
    yes: bool = option(False, "Write to a URL without asking; all who can read it there are approved.")

    def __post_init__(self) -> None:
        if self.backend == "local":
            if self.scheduler is not None:
                raise ValueError("--scheduler goes with --backend dask or --backend ray")
        elif self.scheduler is None:
            raise ValueError(f"--backend {self.backend} needs --scheduler ADDRESS")
        elif self.workers != -1:
            raise ValueError("--workers are processes of this machine; a cluster has its own")
        elif self.clip_pool is not None and isinstance(self.out, str):
            raise ValueError("--clip-pool on a cluster goes with an --out that is a folder, which all machines see")


@command("build-cache", "Cut labelled segments and store them as a cache.", config=True)
def build_cache(
    roots: DataRootOptions, source: DatasetOptions, splits: SplitOptions, options: BuildOptions, run: BuildRun
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
      signprep build-cache --train-data-root a --val-data-root b --out ab.zarr --num-frames 4 --size 112
      signprep build-cache --data-root aihub --out timeline.zarr --idle-class
      signprep build-cache --data-root /nfs/aihub --out /nfs/aihub.zarr --backend dask --scheduler tcp://head:8786
      signprep build-cache --data-root aihub --out s3://team/aihub.zarr
      signprep build-cache --data-root aihub --out aihub.zarr --clip-pool /nfs/team/clips
    """
    from signprep.cache_builder.building import run as building
    from signprep.cache_builder.building.cluster import Cluster
    from signprep.cache_builder.building.workers import PoolUse, RunOptions
    from signprep.cache_builder.cli.transfer import confirm_visibility
    from signprep.pipeline.datasets.read import read_roots

    if not roots.by_split:
        raise click.UsageError("give --data-root, or --train-data-root and --val-data-root")
    cluster = None if run.scheduler is None else Cluster(backend=run.backend, scheduler=run.scheduler)
    if cluster is not None:
        cluster.check()  # before the work begins
    if run.also_landmarks is not None and options.clip_spec.landmarks is not None:
        raise click.UsageError("--also-landmarks goes with a cache of pixels, without --landmarks")
    source = replace(source, landmarks=options.clip_spec.landmarks)
    annotations = read_roots(roots, source, idle_class=run.idle_class)
    for note in annotations.notes:
        echo(note, err=True)
    if "" not in roots.by_split:
        splits = replace(splits, by="column")
    pool = PoolUse(location=run.clip_pool) if run.clip_pool is not None else None
    if run.dry_run:
        echo(building.dry_run(annotations, run.out, options, splits, workers=run.workers))
        next_step("build-cache", *as_typed(without=["dry_run"]))
        return
    try:
        with told_if_stopped(shown(run.out)):
            build = building.build_from_annotations
            if run.also_landmarks is not None:
                build = partial(building.build_both, landmarks_out=run.also_landmarks)
            summary = build(
                annotations,
                run.out,
                options=options,
                splits=splits,
                run=RunOptions(workers=run.workers, strict=run.strict, cluster=cluster, pool=pool),
                overwrite=run.overwrite,
                confirm=None if run.yes else confirm_visibility,
            )
    except DecodeError as error:
        raise DecodeError(f"{error} (stopped by --strict)") from error
    echo(summary)
    next_step("inspect", run.out)
