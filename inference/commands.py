"""Commands of this floor: `infer`, `export` and `demo`."""

import json
from pathlib import Path
from typing import Any

import click

from signprep.pipeline.extras import require_extra


@click.command("infer")
@click.option("--checkpoint", required=True, type=click.Path(path_type=Path), help="best.ckpt of a training run.")
@click.option("--video-path", required=True, type=click.Path(path_type=Path))
@click.option("--start-time", default=0.0, show_default=True, type=click.FloatRange(min=0), help="In seconds.")
@click.option(
    "--clip-duration",
    default=2.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds of video that the answer is about.",
)
@click.option("--multiple-clips", is_flag=True, help="Answer for windows over the whole video; gives a list.")
@click.option(
    "--stride",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds from one window's start to the next one's.",
)
@click.option(
    "--batch-size",
    default=8,
    show_default=True,
    type=click.IntRange(min=1),
    help="Windows that go through the model together.",
)
@click.option("--return-probabilities", is_flag=True, help="Add the probability of every gloss.")
@click.option("--output-path", type=click.Path(path_type=Path, dir_okay=False), help="JSON file; stdout without it.")
@click.option("--model-name", metavar="package.module:factory", help="For the checkpoint of a model of your own.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
def infer(
    checkpoint: Path,
    video_path: Path,
    start_time: float,
    clip_duration: float,
    multiple_clips: bool,
    stride: float,
    batch_size: int,
    return_probabilities: bool,
    output_path: Path | None,
    model_name: str | None,
    device: str,
) -> None:
    """Say which sign a video shows, as JSON.

    \b
    Examples:
      signprep infer --checkpoint best.ckpt --video-path test.mp4 --clip-duration 2.0
      signprep infer --checkpoint best.ckpt --video-path test.mp4 --start-time 1.6 --clip-duration 1.1 \\
          --return-probabilities --output-path result.json
      signprep infer --checkpoint best.ckpt --video-path test.mp4 --multiple-clips --stride 1.0
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.inference.checkpoint import load_checkpoint
    from signprep.inference.output import require_writable, written_whole
    from signprep.inference.prediction import predict_window, predict_windows

    if output_path is not None:
        require_writable(output_path)
    recognizer = load_checkpoint(checkpoint, device, own_model=model_name)
    window: dict[str, Any] = {
        "start_seconds": start_time,
        "clip_duration": clip_duration,
        "return_probabilities": return_probabilities,
    }
    document: object
    if multiple_clips:
        predictions = predict_windows(recognizer, video_path, stride=stride, batch_size=batch_size, **window)
        document = [prediction.to_dict() for prediction in predictions]
    else:
        document = predict_window(recognizer, video_path, **window).to_dict()
    text = json.dumps(document, ensure_ascii=False, indent=2)
    if output_path is None:
        click.echo(text)
        return
    with written_whole(output_path) as path:
        path.write_text(text + "\n", encoding="utf-8")


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
