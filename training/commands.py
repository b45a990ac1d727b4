"""Commands of this floor: `train`."""

from pathlib import Path

import click

from signprep.pipeline.extras import require_extra


@click.command("train")
@click.option("--cache", "cache_path", required=True, type=click.Path(path_type=Path), help="From `build-cache`.")
@click.option(
    "--model-name", default="efficient_x3d_xs", show_default=True, help="efficient_x3d_xs or _s, x3d_xs or _s."
)
@click.option("--epochs", default=50, show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--learning-rate", default=1e-3, show_default=True)
@click.option("--optimizer", default="adam", show_default=True, type=click.Choice(["adam", "adamw", "sgd"]))
@click.option("--scheduler", default="cosine", show_default=True, type=click.Choice(["cosine", "step", "none"]))
@click.option("--weight-decay", default=1e-4, show_default=True)
@click.option("--dropout-rate", default=0.5, show_default=True, type=click.FloatRange(0, 1, max_open=True))
@click.option("--label-smoothing", default=0.0, show_default=True)
@click.option("--num-frames", type=int, help="Frames the model sees; by default those it was designed for.")
@click.option("--crop-size", type=int, help="Pixels the model sees; by default those it was designed for.")
@click.option("--precision", default="32", show_default=True, type=click.Choice(["32", "16-mixed", "bf16-mixed"]))
@click.option("--gpus", default=None, type=int, help="GPUs to use; by default one if there is one.")
@click.option("--num-workers", default=2, show_default=True, help="Threads that read clips.")
@click.option("--pin-memory", is_flag=True, help="Read into page-locked memory, for faster copies to a GPU.")
@click.option("--seed", default=0, show_default=True)
@click.option("--output-dir", default="outputs", show_default=True, type=click.Path(path_type=Path))
@click.option("--experiment-name", default="sign_language_classification", show_default=True)
def train(
    cache_path: Path,
    model_name: str,
    dropout_rate: float,
    num_frames: int | None,
    crop_size: int | None,
    gpus: int | None,
    output_dir: Path,
    experiment_name: str,
    **options: object,
) -> None:
    """Train a model on a cache and keep the checkpoint that validates best.

    Checkpoints and TensorBoard logs go to OUTPUT_DIR/EXPERIMENT_NAME.

    \b
    Examples:
      signprep train --cache aihub.zarr --model-name x3d_s --batch-size 8 --epochs 50
      signprep train --cache aihub.zarr --optimizer adamw --learning-rate 2e-3 --label-smoothing 0.1
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    import torch

    from signprep.cache_builder import open_cache
    from signprep.training.config import TrainConfig
    from signprep.training.model_spec import model_spec
    from signprep.training.run import train as train_model

    try:
        config = TrainConfig(**options)  # type: ignore[arg-type]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    available = torch.cuda.device_count()
    if gpus is not None and gpus > available:
        raise click.UsageError(f"--gpus {gpus}: this machine has {available}")
    spec = model_spec(model_name, num_frames=num_frames, crop_size=crop_size, dropout_rate=dropout_rate)
    result = train_model(
        open_cache(cache_path),
        spec,
        config,
        output_dir / experiment_name,
        gpus=min(1, available) if gpus is None else gpus,
        report=lambda line: click.echo(line, err=True),
    )
    click.echo(
        f"best validation accuracy {result.best_val_accuracy:.3f} after {result.epochs} epochs in "
        f"{result.seconds:.0f} s\n{result.best_checkpoint}"
    )
