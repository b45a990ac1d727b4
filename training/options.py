"""The options of `signprep train`, in groups, as decorators; nothing heavy is imported here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from signprep.cache_builder.remote.stream_options import LOCATION, stream_options

Command = Callable[..., Any]
PART = click.FloatRange(0, 1)
PATH = click.Path(path_type=Path)


def _all(options: list[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    def with_options(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return with_options


data_options = _all(
    [
        click.option(
            "--cache",
            "cache_path",
            type=LOCATION,
            help="From `build-cache`: its folder, or the URL it was pushed to.",
        ),
        stream_options,
        click.option("--train-data-root", type=PATH, help="In place of --data-root: data to train on,"),
        click.option("--val-data-root", type=PATH, help="and data to validate on."),
        click.option(
            "--clip-duration",
            type=click.FloatRange(min=0, min_open=True),
            help="Seconds around each sign's middle, in place of the labelled segment, when a cache is built.",
        ),
    ]
)

model_options = _all(
    [
        click.option(
            "--model-name",
            help="efficient_x3d_xs (default), efficient_x3d_s, x3d_xs, x3d_s, x3d_m, slow_r50, mvit_base_16x4, or "
            "package.module:factory.",
        ),
        click.option(
            "--model-variant",
            type=click.Choice(["XS", "S"], case_sensitive=False),
            help="Short for --model-name efficient_x3d_*.",
        ),
        click.option("--num-frames", type=int, help="Frames the model sees; by default those it was designed for."),
        click.option("--crop-size", type=int, help="Pixels the model sees; by default those it was designed for."),
        click.option("--dropout-rate", default=0.5, show_default=True, type=click.FloatRange(0, 1, max_open=True)),
        click.option("--pretrained", metavar="k400|PATH", help="Weights to begin with: Kinetics-400, or a checkpoint."),
        click.option("--freeze-backbone", is_flag=True, help="Train the last layer only."),
    ]
)

augmentation_options = _all(
    [
        click.option("--no-augment", is_flag=True, help="Only the jitter of frames; excludes the next eight."),
        click.option("--tempo", type=PART, help="Smallest part of a clip's time that is shown. [default: 0.8]"),
        click.option("--crop-scale", type=PART, help="Smallest crop, as a part of the side. [default: 0.8]"),
        click.option("--rotation-degrees", type=click.FloatRange(0, 45), help="To either side. [default: 5]"),
        click.option("--brightness", type=PART, help="Largest change. [default: 0.2]"),
        click.option("--contrast", type=PART, help="Largest change. [default: 0.2]"),
        click.option("--saturation", type=PART, help="Largest change. [default: 0.2]"),
        click.option("--erase-probability", type=PART, help="Of greying a rectangle. [default: 0.1]"),
        click.option(
            "--flip-probability",
            type=PART,
            help="Of mirroring, which makes another sign of many. [default: 0; 0.5 with --flip-map]",
        ),
        click.option("--flip-map", type=PATH, help="JSON of glosses that change places when mirrored."),
        click.option("--mixup", default=0.0, show_default=True, help="Parameter of its beta distribution; 0: off."),
        click.option("--cutmix", default=0.0, show_default=True, help="Parameter of its beta distribution; 0: off."),
        click.option("--augment", metavar="package.module:function", help="An augmentation of your own, after these."),
    ]
)

optimizer_options = _all(
    [
        click.option("--epochs", default=50, show_default=True),
        click.option("--batch-size", default=8, show_default=True, help="Clips a step on each device."),
        click.option("--learning-rate", default=1e-3, show_default=True),
        click.option("--optimizer", default="adam", show_default=True, type=click.Choice(["adam", "adamw", "sgd"])),
        click.option("--scheduler", default="cosine", show_default=True, type=click.Choice(["cosine", "step", "none"])),
        click.option("--warm-up", default=0.1, show_default=True, help="Part of all steps in which the rate rises."),
        click.option("--weight-decay", default=1e-4, show_default=True, help="Not of norms and biases."),
        click.option("--label-smoothing", default=0.0, show_default=True),
        click.option("--class-weights", default="none", show_default=True, type=click.Choice(["none", "balanced"])),
        click.option("--balanced-sampling", is_flag=True, help="Every class equally often in an epoch."),
        click.option("--gradient-clip", type=float, help="Largest norm of the gradient."),
        click.option("--accumulate-batches", default=1, show_default=True, help="Batches whose gradients make a step."),
        click.option("--ema-decay", type=float, help="Validate and keep a moving average of the weights, as 0.999."),
        click.option("--early-stopping", type=int, metavar="EPOCHS", help="End after so many without improvement."),
    ]
)

run_options = _all(
    [
        click.option(
            "--precision", default="32", show_default=True, type=click.Choice(["32", "16-mixed", "bf16-mixed"])
        ),
        click.option("--gpus", type=click.IntRange(min=0), help="On each machine; by default one if there is one."),
        click.option("--devices", type=click.IntRange(min=1), help="As --gpus; without GPUs, processes."),
        click.option("--num-nodes", default=1, show_default=True, type=click.IntRange(min=1), help="Machines."),
        click.option("--compile", is_flag=True, help="Compile the model with torch.compile."),
        click.option("--deterministic", is_flag=True, help="The same weights from the same seed on a GPU, too."),
        click.option("--num-workers", default=2, show_default=True, help="Threads that read clips."),
        click.option("--pin-memory", is_flag=True, help="Read into page-locked memory, for faster copies to a GPU."),
        click.option("--seed", default=0, show_default=True),
        click.option("--output-dir", default="outputs", show_default=True, type=PATH),
        click.option("--experiment-name", default="sign_language_classification", show_default=True),
        click.option("--save-top-k", default=1, show_default=True, help="Checkpoints of the best epochs to keep."),
        click.option("--save-minutes", default=30.0, show_default=True, help="Between two savings of last.ckpt."),
        click.option("--overwrite", is_flag=True, help="Replace a run of the same name."),
        click.option(
            "--resume",
            is_flag=False,
            flag_value="last",
            metavar="[CHECKPOINT]",
            help="Go on with a stopped run, from its last.ckpt.",
        ),
    ]
)

export_options = _all(
    [
        click.option("--export-mobile-model", is_flag=True, help="At the end, write the best model for phones."),
        click.option("--enable-efficient-deployment", is_flag=True, help="The same; EfficientX3D only."),
        click.option("--quantize-model", is_flag=True, help="The same in INT8; EfficientX3D only."),
        click.option("--mobile-model-path", type=PATH, help="Where to; mobile.pt in the run's folder without it."),
    ]
)
