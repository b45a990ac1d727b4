"""Commands of this floor: `train`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.remote.location import Location
from signprep.pipeline.cli.source_options import source_options
from signprep.pipeline.errors import TrainingError
from signprep.pipeline.runtime.atomic_files import require_writable
from signprep.pipeline.runtime.machine import require_extra
from signprep.pipeline.runtime.text import counted
from signprep.training.options import (
    augmentation_options,
    data_options,
    export_options,
    model_options,
    optimizer_options,
    run_options,
)

if TYPE_CHECKING:
    from signprep.training.config import Devices, TrainConfig

_AUGMENTATION = (
    "tempo", "crop_scale", "rotation_degrees", "brightness", "contrast", "saturation", "erase_probability",
    "flip_probability",
)  # fmt: skip


@click.command("train")
@data_options
@model_options
@optimizer_options
@augmentation_options
@run_options
@export_options
@source_options
@click.pass_context
def train(
    context: click.Context,
    cache_path: Location | None,
    stream: StreamOptions,
    data_root: Path | None,
    train_data_root: Path | None,
    val_data_root: Path | None,
    source: dict[str, Any],
    clip_duration: float | None,
    model_name: str | None,
    model_variant: str | None,
    num_frames: int | None,
    crop_size: int | None,
    dropout_rate: float,
    gpus: int | None,
    devices: int | None,
    num_nodes: int,
    output_dir: Path,
    experiment_name: str,
    overwrite: bool,
    resume: str | None,
    export_mobile_model: bool,
    enable_efficient_deployment: bool,
    quantize_model: bool,
    mobile_model_path: Path | None,
    **options: Any,
) -> None:
    """Train a model and keep the checkpoint that validates best.

    Clips come from a cache; with --data-root (and the options that choose segments, as of build-cache) the cache is
    built, or brought up to date, first. Checkpoints, TensorBoard logs, metrics.csv and run.json go to
    OUTPUT_DIR/EXPERIMENT_NAME. Ctrl-C saves and says how to go on.

    \b
    Examples:
      signprep train --cache aihub.zarr --model-name x3d_s --batch-size 8 --epochs 50
      signprep train --cache s3://team/aihub.zarr --stream-dir /scratch/kim --stream-gb 50
      signprep train --data-root aihub --model-name slow_r50 --pretrained k400 --precision 16-mixed
      signprep train --cache aihub.zarr --optimizer adamw --learning-rate 2e-3 --label-smoothing 0.1 --ema-decay 0.99
      signprep train --cache aihub.zarr --model-name mymodels:small --num-frames 8 --crop-size 112
      signprep train --cache aihub.zarr --model-name x3d_s --batch-size 8 --epochs 50 --resume
      signprep train --data-root aihub --model-variant XS --export-mobile-model --quantize-model
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.cache_builder import open_cache
    from signprep.training.callbacks.checkpoints import CHECKPOINTS_FOLDER, LAST
    from signprep.training.data.from_data_root import Sources, refreshed_cache
    from signprep.training.model.export_format import format_of, require_installed
    from signprep.training.model_spec import model_spec
    from signprep.training.run import train as train_model

    if model_variant and model_name:
        raise click.UsageError("give --model-name or --model-variant, not both")
    name = f"efficient_x3d_{model_variant.lower()}" if model_variant else model_name or "efficient_x3d_xs"
    exports = export_mobile_model or enable_efficient_deployment or quantize_model or mobile_model_path is not None
    if (enable_efficient_deployment or quantize_model) and not name.startswith("efficient_x3d"):
        raise click.UsageError(
            f"--enable-efficient-deployment and --quantize-model are for efficient_x3d_xs and _s, not {name}"
        )
    if mobile_model_path is not None:
        require_installed(format_of(mobile_model_path))
        if not mobile_model_path.resolve().is_relative_to(output_dir.resolve()):  # which training makes
            require_writable(mobile_model_path)
    report = _reporter()
    used = _devices(gpus, devices, num_nodes, report)
    config = _config(options, report, on_gpu=used.gpus > 0)
    spec = model_spec(
        name,
        num_frames=num_frames,
        crop_size=crop_size,
        dropout_rate=dropout_rate,
        pretrained=config.pretrained == "k400",
    )
    if cache_path is None:
        sources = Sources(data_root, train_data_root, val_data_root, source, clip_duration)
        cache_path = refreshed_cache(sources, spec, output_dir)
    elif data_root or train_data_root or val_data_root:
        raise click.UsageError("give --cache or --data-root, not both")
    cache = open_cache(cache_path, stream=stream)
    if clip_duration is not None and cache.clip_spec.span != clip_duration:
        raise TrainingError(f"{cache}: its clips are of {cache.clip_spec.span}, not of {clip_duration} s")
    run_folder = output_dir / experiment_name
    checkpoint = run_folder / CHECKPOINTS_FOLDER / LAST if resume == "last" else Path(resume) if resume else None
    result = train_model(
        cache,
        spec,
        config,
        run_folder,
        devices=used,
        resume=checkpoint,
        overwrite=overwrite,
        log=report,
    )
    if not _is_first_process():
        return
    if checkpoint is not None and not result.clips_per_second:
        report(f"nothing was left to do: {counted(result.epochs, 'epoch')} are done; give more --epochs")
    click.echo(
        f"best validation accuracy {result.best_val_accuracy:.3f} after {counted(result.epochs, 'epoch')} in "
        f"{result.seconds:.0f} s, {result.clips_per_second:.1f} clips/s, {result.data_wait_percent:.1f} % of it "
        f"waiting for data\n{result.best_checkpoint}"
    )
    if exports:
        _export(
            context,
            checkpoint=result.best_checkpoint,
            output_path=mobile_model_path or run_folder / "mobile.pt",
            int8=quantize_model,
            cache_path=cache_path,
            stream_dir=stream.folder,
            stream_gb=stream.max_bytes / 1e9,
            model_name=name,
        )


def _is_first_process() -> bool:
    """Return whether this is the process that speaks: Lightning starts the others with the same command line."""
    return os.environ.get("LOCAL_RANK", "0") == os.environ.get("NODE_RANK", "0") == "0"


def _reporter() -> Callable[[str], None]:
    """Return what shows a line to the user."""
    return (lambda line: click.echo(line, err=True)) if _is_first_process() else (lambda line: None)


def _devices(gpus: int | None, devices: int | None, num_nodes: int, report: Callable[[str], None]) -> "Devices":
    import torch

    from signprep.training.config import Devices

    available = torch.cuda.device_count()
    asked = gpus if gpus is not None else devices
    if asked is not None and 0 < available < asked:
        raise click.UsageError(f"{asked} GPUs asked for, this machine has {available}")
    if gpus and not available:
        report("this machine has no GPU that torch can use: training on the CPU, slowly")
    if not available or gpus == 0:
        return Devices(processes=devices or 1, num_nodes=num_nodes)
    return Devices(gpus=asked or 1, num_nodes=num_nodes)


def _config(options: dict[str, Any], report: Callable[[str], None], *, on_gpu: bool) -> "TrainConfig":
    from signprep.training.config import NO_AUGMENTATION, Augmentation, TrainConfig, read_flip_map

    given = {name: value for name in _AUGMENTATION if (value := options.pop(name)) is not None}
    no_augment, flip_map = options.pop("no_augment"), options.pop("flip_map")
    if no_augment and given:
        raise click.UsageError(f"--no-augment excludes --{next(iter(given)).replace('_', '-')}")
    if flip_map is not None:
        options["flip_map"] = read_flip_map(flip_map)
        given.setdefault("flip_probability", 0.5)
    if options["precision"] == "16-mixed" and not on_gpu:
        report("16-mixed needs a GPU: training in 32 bits")
        options["precision"] = "32"
    try:
        return TrainConfig(augmentation=replace(NO_AUGMENTATION if no_augment else Augmentation(), **given), **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _export(context: click.Context, **options: Any) -> None:
    """Run `export`, which the root command finds: it is of the floor above."""
    root = context.find_root()
    assert isinstance(root.command, click.Group)
    command = root.command.get_command(root, "export")
    assert command is not None
    context.invoke(command, **options)
