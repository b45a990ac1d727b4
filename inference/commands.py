"""Commands of this floor: `infer` and `demo`."""

import json
from pathlib import Path

import click

from signprep.pipeline.errors import SignprepError
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
@click.option("--return-probabilities", is_flag=True, help="Add the probability of every gloss.")
@click.option("--output-path", type=click.Path(path_type=Path, dir_okay=False), help="JSON file; stdout without it.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
def infer(
    checkpoint: Path,
    video_path: Path,
    start_time: float,
    clip_duration: float,
    return_probabilities: bool,
    output_path: Path | None,
    device: str,
) -> None:
    """Say which sign a video shows, as JSON.

    \b
    Examples:
      signprep infer --checkpoint best.ckpt --video-path test.mp4 --clip-duration 2.0
      signprep infer --checkpoint best.ckpt --video-path test.mp4 --start-time 1.6 --clip-duration 1.1 \\
          --return-probabilities --output-path result.json
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.inference.checkpoint import load_checkpoint
    from signprep.inference.prediction import predict_window

    prediction = predict_window(
        load_checkpoint(checkpoint, device),
        video_path,
        start_seconds=start_time,
        clip_duration=clip_duration,
        return_probabilities=return_probabilities,
    )
    text = json.dumps(prediction.to_dict(), ensure_ascii=False, indent=2)
    if output_path is None:
        click.echo(text)
        return
    try:
        output_path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SignprepError(f"{output_path}: cannot be written ({error.strerror})") from error


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
