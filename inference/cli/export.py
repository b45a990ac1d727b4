"""The command `export`."""

from pathlib import Path

import click

from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.remote.location import Location
from signprep.cache_builder.remote.stream_options import LOCATION, stream_options
from signprep.pipeline.runtime.machine import require_extra
from signprep.pipeline.runtime.text import json_text
from signprep.training.model.export_format import FORMATS


@click.command("export")
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help="best.ckpt of a training run.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="By default as FILE ends: .onnx, .pte (executorch), .pt and the like (torchscript).",
)
@click.option(
    "--output-path", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write, FILE."
)
@click.option("--int8", is_flag=True, help="Quantize; needs --cache.")
@click.option(
    "--cache",
    "--calibration-cache",
    "cache_path",
    type=LOCATION,
    help="The cache trained on, or its URL: its clips calibrate int8 and prove the file.",
)
@stream_options
@click.option("--with-preprocessing", is_flag=True, help="Take uint8 RGB frames [1, T, H, W, 3]; normalise inside.")
@click.option(
    "--max-drop",
    type=click.FloatRange(min=0),
    help="Bound of the accuracy lost by int8 [default: 0.016], of a probability's change in fp32 [1e-4].",
)
@click.option(
    "--max-clips", default=1000, show_default=True, type=click.IntRange(min=1), help="To compare; drawn from more."
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON on stdout, in place of the table.")
@click.option("--model-name", metavar="package.module:factory", help="For the checkpoint of a model of your own.")
def export(
    checkpoint: Path,
    format_: str | None,
    output_path: Path,
    int8: bool,
    cache_path: Location | None,
    stream: StreamOptions,
    with_preprocessing: bool,
    max_drop: float | None,
    max_clips: int,
    as_json: bool,
    model_name: str | None,
) -> None:
    """Write a model as one file that answers without signprep.

    It takes float clips [B, 3, T, H, W], normalised as in training, and gives logits. Glosses, frames, crop and
    normalisation are in the file, as signprep.json. What it is worth beside its checkpoint is printed, and written to
    FILE.report.json.

    \b
    Examples:
      signprep export --checkpoint best.ckpt --output-path sign.pt --cache NAME.zarr
      signprep export --checkpoint best.ckpt --output-path sign_int8.onnx --int8 --cache NAME.zarr
      signprep export --checkpoint best.ckpt --output-path sign.onnx --cache NAME.zarr --with-preprocessing
      signprep export --checkpoint best.ckpt --output-path sign.pte --cache s3://team/NAME.zarr
    """
    if int8 and cache_path is None:
        raise click.UsageError("--int8 needs --cache: the cache that the model was trained on")
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.cache_builder import open_cache
    from signprep.inference.export.run import ExportOptions, export_model
    from signprep.training.model.export_format import format_of

    options = ExportOptions(
        format=format_of(output_path, format_),
        int8=int8,
        with_preprocessing=with_preprocessing,
        max_drop=max_drop,
        max_clips=max_clips,
        own_model=model_name,
    )
    cache = open_cache(cache_path, stream=stream) if cache_path is not None else None
    report = export_model(checkpoint, output_path, options, cache)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(json_text(report.to_dict()) if as_json else report)
