"""The command `export`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from signprep.cache_builder.options import Location, StreamOptions, location_of, location_option
from signprep.inference.options import WEIGHTS_SUFFIX, ExportOptions
from signprep.pipeline.cli.next_step import as_typed, free_path, next_step
from signprep.pipeline.cli.options import command
from signprep.pipeline.cli.printing import echo, echo_data
from signprep.pipeline.options import REQUIRED, Options, option, out_option, output_option
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.text import json_text
from signprep.training.config import EXPORT_FORMATS

if TYPE_CHECKING:
    from signprep.inference.recognizer import Recognizer


@dataclass(frozen=True, kw_only=True)
class ExportArguments(Options, group="Export"):
    """The checkpoint, the file that is made of it, and the clips that both are compared on."""

    checkpoint: Path = option(REQUIRED, "Export best.ckpt of a training run.")
    out: Path = out_option("Write this file.", REQUIRED)
    format_: str | None = option(
        None,
        "Write this format, by default that of the ending: .onnx, .pte (executorch), .pt and the like (torchscript).",
        name="--format",
        choices=EXPORT_FORMATS,
    )
    cache: Location | None = location_option(
        None,
        "Calibrate int8 and compare the file with the checkpoint on clips of this cache, the one trained on.",
        aliases=("--calibration-cache",),
        metavar="NAME.zarr",
        group="Data",
    )
    stream: StreamOptions
    as_json: bool = output_option(False, "Print the report as JSON instead of a table.", name="--json")


@command("export", "Write a model as one file that answers without signprep.")
def export(arguments: ExportArguments, options: ExportOptions) -> None:
    """Write a model as one file that answers without signprep.

    It takes float clips [B, 3, T, H, W], normalised as in training, or landmarks [B, T, 75, 3], and gives logits.
    Glosses, frames, crop and normalisation are in the file, as signprep.json. What it is worth beside its
    checkpoint is printed, and written to FILE.report.json.

    \b
    Examples:
      signprep export --checkpoint best.ckpt --out sign.pt --cache NAME.zarr
      signprep export --checkpoint best.ckpt --out sign_int8.onnx --int8 --cache NAME.zarr
      signprep export --checkpoint best.ckpt --out sign.onnx --cache NAME.zarr --with-preprocessing
      signprep export --checkpoint best.ckpt --out sign.pte --cache s3://team/NAME.zarr
      signprep export --checkpoint landmarks.ckpt --out landmarks.onnx --int8 --cache LANDMARKS.zarr
    """
    if options.int8 and arguments.cache is None:
        raise click.UsageError("--int8 needs --cache: the cache that the model was trained on")
    require_extra("train", "torch", "lightning", "pytorchvideo")
    from signprep.cache_builder import open_cache
    from signprep.inference.export.run import export_model
    from signprep.training.config import format_of

    options = replace(options, format=format_of(arguments.out, arguments.format_))
    cache = open_cache(arguments.cache, stream=arguments.stream) if arguments.cache is not None else None
    report = export_model(arguments.checkpoint, arguments.out, options, cache)
    for note in report.notes:
        echo(f"note: {note}", err=True)
    if arguments.as_json:
        echo_data(json_text(report.to_dict()))
        return
    echo(report)
    if arguments.cache is None:
        next_step("infer", "--help")
    else:
        next_step("evaluate", arguments.cache, *as_typed(StreamOptions), "--checkpoint", arguments.out)


def propose_export(checkpoints: Sequence[Path], recognizer: "Recognizer", caches: Sequence[str] = ()) -> None:
    """Tell how the model that answered is exported; where it is no checkpoint of one model, what `infer` can do."""
    first = checkpoints[0]
    if len(checkpoints) > 1 or recognizer.is_exported or first.suffix.lower() == WEIGHTS_SUFFIX:
        next_step("infer", "--help")
        return
    compared = ["--cache", location_of(caches[0]), *as_typed(StreamOptions)] if caches else []
    out = free_path(first.with_suffix(".pt"))
    next_step("export", "--checkpoint", first, *as_typed(["own_model"]), "--out", out, *compared)
