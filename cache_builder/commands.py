"""Commands of this floor: `build-cache`."""

from pathlib import Path

import click

from signprep.pipeline.errors import DecodeError


@click.command("build-cache")
@click.option("--data-root", required=True, type=click.Path(path_type=Path), help="Folder with video/ and label/.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The cache to build, NAME.zarr.")
@click.option("--frames", "num_frames", default=16, show_default=True, help="Frames a clip.")
@click.option("--size", default=256, show_default=True, help="Height and width of the clips in pixels.")
@click.option("--crop", default="center", show_default=True, help="center, full, or x0,y0,x1,y1 in fractions.")
@click.option("--pixels", default="yuv420p", show_default=True, type=click.Choice(["yuv420p", "rgb24"]))
@click.option("--margin-seconds", default=0.0, show_default=True, help="Added to both ends of a segment.")
@click.option(
    "--clip-duration",
    type=float,
    help="A window of so many seconds centred on each segment, not the segment.",
)
@click.option("--codec", default="lz4hc", show_default=True, type=click.Choice(["lz4hc", "zstd", "none", "plain"]))
@click.option(
    "--validation-fraction",
    default=0.2,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of the signers (or takes) where AIHub's signers 17 and 18 are not there.",
)
@click.option("--workers", default=-1, show_default=True, help="Parallel processes; -1 for all cores.")
@click.option("--strict", is_flag=True, help="Stop at the first problem instead of reporting all at the end.")
@click.option("--overwrite", is_flag=True, help="Replace a cache of other data or options at --out.")
def build_cache(
    data_root: Path,
    out: Path,
    num_frames: int,
    size: int,
    crop: str,
    pixels: str,
    margin_seconds: float,
    clip_duration: float | None,
    codec: str,
    validation_fraction: float,
    workers: int,
    strict: bool,
    overwrite: bool,
) -> None:
    """Cut the labelled segments out of the videos and store them as clips in a cache.

    Running the same command again continues a build that was stopped.

    \b
    Examples:
      signprep build-cache --data-root aihub --out aihub.zarr
      signprep build-cache --data-root aihub --out small.zarr --frames 4 --size 112
    """
    from signprep.cache_builder.from_data_root import build_from_data_root
    from signprep.cache_builder.plan import BuildOptions
    from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec

    try:
        spec = ClipSpec(
            num_frames=num_frames,
            size=size,
            crop=crop,
            pixels=pixels,
            margin_seconds=margin_seconds,
            span=clip_duration if clip_duration is not None else SEGMENT_SPAN,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        summary = build_from_data_root(
            data_root,
            out,
            BuildOptions(clip_spec=spec, codec=codec),
            validation_fraction=validation_fraction,
            workers=workers,
            strict=strict,
            overwrite=overwrite,
        )
    except DecodeError as error:
        raise DecodeError(f"{error} (stopped by --strict)") from error
    click.echo(summary)
