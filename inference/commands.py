"""Commands of this floor: `export` and `demo`; `infer` and `evaluate` have files of their own."""

from pathlib import Path

import click

from signprep.pipeline.extras import require_extra


@click.command("export")
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help="best.ckpt of a training run.")
@click.option("--format", "format_", default="torchscript", show_default=True, type=click.Choice(["torchscript"]))
@click.option(
    "--output-path", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write, FILE.pt."
)
@click.option("--int8", is_flag=True, help="Quantize; for efficient_x3d models, with --calibration-cache.")
@click.option(
    "--calibration-cache",
    type=click.Path(path_type=Path),
    help="The cache trained on: its clips calibrate int8, and the file is compared with the checkpoint on them.",
)
@click.option("--model-name", metavar="package.module:factory", help="For the checkpoint of a model of your own.")
def export(
    checkpoint: Path,
    format_: str,
    output_path: Path,
    int8: bool,
    calibration_cache: Path | None,
    model_name: str | None,
) -> None:
    """Write a model as one file that answers without signprep.

    It takes one float clip [1, 3, T, H, W], normalised as in training, and gives logits. Glosses, frames, crop and
    normalisation are in the file, as signprep.json among its extra files.

    \b
    Examples:
      signprep export --checkpoint best.ckpt --output-path sign.pt
      signprep export --checkpoint best.ckpt --output-path sign_int8.pt --int8 --calibration-cache NAME.zarr
    """
    if int8 and calibration_cache is None:
        raise click.UsageError("--int8 needs --calibration-cache: the cache that the model was trained on")
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.cache_builder import open_cache
    from signprep.inference.export import export_torchscript

    assert format_ == "torchscript"
    cache = open_cache(calibration_cache) if calibration_cache is not None else None
    report = export_torchscript(checkpoint, output_path, int8=int8, calibration=cache, own_model=model_name)
    click.echo(report)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)


@click.command("demo")
@click.option(
    "--out",
    default="outputs/demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for the demo's videos, cache and model.",
)
def demo(out: Path) -> None:
    """Show the whole way on generated videos: cache, training, a prediction for a signer never seen.

    \b
    Example:
      signprep demo
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.inference.demo import run_demo

    run_demo(out)
