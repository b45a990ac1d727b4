"""Commands of this floor: `make-sample`."""

from pathlib import Path

import click


def parse_frame_size(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, int]:
    """Parse `WIDTHxHEIGHT` into two even numbers of pixels."""
    width, _, height = value.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT, as in 1920x1080")
    size = int(width), int(height)
    if any(side % 2 or not 64 <= side <= 4096 for side in size):
        raise click.BadParameter(f"{value!r}: both sides must be even and between 64 and 4096")
    return size


def parse_workers(ctx: click.Context, param: click.Parameter, value: int) -> int:
    """Accept -1 and positive numbers of processes."""
    if value < 1 and value != -1:
        raise click.BadParameter(f"{value} is neither -1, for all cores, nor at least 1")
    return value


@click.command("make-sample")
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--words", default=5, show_default=True, type=click.IntRange(1, 200), help="Different signs.")
@click.option(
    "--signers",
    default=6,
    show_default=True,
    type=click.IntRange(1, 18),
    help="Signers; the last two are REAL17 and REAL18, AIHub's validation signers.",
)
@click.option("--views", default="F", show_default=True, help="Camera views, of F, U, D, L and R: `FUDLR` for all.")
@click.option(
    "--takes",
    default=1,
    show_default=True,
    type=click.IntRange(1, 50),
    help="Performances of each sign by each signer, each under a word id of its own.",
)
@click.option(
    "--sentences",
    default=0,
    show_default=True,
    type=click.IntRange(0, 500),
    help="SEN videos a signer, each with several signs.",
)
@click.option(
    "--size",
    "frame_size",
    default="1920x1080",
    show_default=True,
    callback=parse_frame_size,
    help="Width and height of the videos in pixels.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same videos.")
@click.option(
    "--workers",
    default=-1,
    show_default=True,
    callback=parse_workers,
    help="Parallel processes; -1 for all cores.",
)
def make_sample(
    out: Path,
    words: int,
    signers: int,
    views: str,
    takes: int,
    sentences: int,
    frame_size: tuple[int, int],
    seed: int,
    workers: int,
) -> None:
    """Render signing figures with known motion to OUT/video and OUT/label, in AIHub's shape.

    \b
    Examples:
      signprep make-sample sample --size 640x360
      signprep make-sample sample --words 60 --views FUDLR --takes 2 --sentences 4
    """
    from signprep.pipeline.sample.dataset import SampleSpec, render_dataset

    try:
        spec = SampleSpec(
            words=words,
            signers=signers,
            views=views,
            takes=takes,
            sentences=sentences,
            frame_size=frame_size,
            seed=seed,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    written = render_dataset(spec, out, workers=workers)
    click.echo(f"{written.num_videos} videos and labels, {written.num_bytes / 1e6:.1f} MB, in {out}")
