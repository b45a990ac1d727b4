"""The command `train`."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signprep.cache_builder.options import CACHE_ARGUMENT, BuildOptions, Location, StreamOptions, location_option
from signprep.pipeline.cli import cli
from signprep.pipeline.cli.config_file import FROM_FILE, typed_options
from signprep.pipeline.cli.next_step import as_typed, next_step
from signprep.pipeline.cli.options import command, given, reject_unused, told_if_stopped
from signprep.pipeline.cli.printing import echo
from signprep.pipeline.clip_spec import DEFAULT_ORIGIN, ORIGINS, SEGMENT_SPAN, ClipSpec
from signprep.pipeline.datasets.annotations import DataRootOptions, DatasetOptions
from signprep.pipeline.datasets.splits import SplitOptions
from signprep.pipeline.errors import TrainingError
from signprep.pipeline.options import Options, option
from signprep.pipeline.runtime.atomic_files import require_writable
from signprep.pipeline.runtime.installation import require_extra
from signprep.pipeline.runtime.text import counted
from signprep.training.config import (
    NO_AUGMENTATION,
    Augmentation,
    Devices,
    Recipe,
    TrainConfig,
    format_of,
    recipe_option,
    require_installed,
)
from signprep.training.runtime.launch import Launch
from signprep.training.runtime.run_folder import Log, RunOptions

if TYPE_CHECKING:
    from signprep.training.model_spec import ModelSpec

DEFAULT_MODEL, DEFAULT_LANDMARK_MODEL = "efficient_x3d_xs", "landmark_transformer"
OTHER_MODELS = (
    "efficient_x3d_s", "x3d_xs", "x3d_s", "x3d_m", "slow_r50", "mvit_base_16x4", "mvit_base_32x3", "landmark_conv",
)  # fmt: skip
SECONDS_BETWEEN_TRIES = 2.0
"""Time between two looks whether another process of the run has built the cache."""
FLIP_MAP_PROBABILITY = 0.5
"""The fraction of clips that --flip-map mirrors, unless --flip-probability says otherwise."""


@dataclass(frozen=True, kw_only=True)
class TrainingData(Options, group="Data"):
    """The clips that are trained on: of a cache, or of data roots whose cache is built first."""

    cache: Location | None = location_option(None, "Train on this cache, a folder or a URL.", **CACHE_ARGUMENT)
    roots: DataRootOptions
    source: DatasetOptions
    splits: SplitOptions
    stream: StreamOptions
    clip_duration: float | None = option(
        None, "Build a cache with clips of this many seconds around segments' middles.", above=0, group="Clips"
    )
    landmarks: str | None = option(
        None,
        "Build a cache of the signer's landmarks: AIHub's keypoints (aihub), by default for a model of landmarks, "
        "those that MediaPipe's models find (mediapipe), or of landmark files (files).",
        choices=ORIGINS,
        group="Clips",
    )
    keypoint_size: str = option(
        ClipSpec.keypoint_size,
        "Take keypoints, and files that do not say it, for those of pictures of this size in pixels.",
        metavar="WIDTHxHEIGHT",
        group="Clips",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        ClipSpec(keypoint_size=self.keypoint_size)  # raises
        if self.cache is None and not self.roots.by_split:
            raise ValueError("give CACHE, or --data-root, or --train-data-root and --val-data-root")
        if self.cache is not None and self.roots.by_split:
            raise ValueError("give CACHE or --data-root, not both")
        if self.cache is not None and self.landmarks is not None:
            raise ValueError("--landmarks says what a cache is built of; it goes with --data-root, not with CACHE")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options, group="Model"):
    """The model, and what it sees."""

    model_name: str | None = option(
        None,
        f"Train this model, by default {DEFAULT_MODEL}, or {DEFAULT_LANDMARK_MODEL} on a cache of landmarks; others "
        f"are {', '.join(OTHER_MODELS)}, and package.module:factory.",
        suggested=(DEFAULT_MODEL, DEFAULT_LANDMARK_MODEL, *OTHER_MODELS),
    )
    model_variant: str | None = option(None, "Train efficient_x3d_xs or efficient_x3d_s.", choices=("XS", "S"))
    num_frames: int | None = option(
        None, "Show this many frames to the model, by default those it was designed for.", aliases=("--frames",)
    )
    size: int | None = option(
        None, "Show frames of this height and width, by default those it was designed for.", aliases=("--crop-size",)
    )
    dropout_rate: float | None = recipe_option(
        None, "Drop this fraction of the features before the last layer.", minimum=0, below=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model_variant and self.model_name:
            raise ValueError("give --model-name or --model-variant, not both")

    def name(self, content: str) -> str:
        """Return the name of the model, by default one of clips with this content, `pixels` or `landmarks`."""
        default = DEFAULT_LANDMARK_MODEL if content == "landmarks" else DEFAULT_MODEL
        return f"efficient_x3d_{self.model_variant.lower()}" if self.model_variant else self.model_name or default


@dataclass(frozen=True, kw_only=True)
class ExportRequest(Options, group="Export"):
    """The export at the end of a run."""

    export_mobile_model: bool = option(False, "Write the best model for phones at the end.")
    enable_efficient_deployment: bool = option(False, "Write the best EfficientX3D model for phones at the end.")
    quantize_model: bool = option(False, "Write it in INT8; this is for EfficientX3D only.")
    mobile_model_path: Path | None = option(None, "Write it to this file instead of mobile.pt in the run's folder.")

    @property
    def wanted(self) -> bool:
        """Tell if anything is exported."""
        asked = self.export_mobile_model or self.enable_efficient_deployment or self.quantize_model
        return asked or self.mobile_model_path is not None

    def require_possible(self, model_name: str, output_dir: Path) -> None:
        """Raise UsageError or SignprepError for what would fail after the training."""
        if (self.enable_efficient_deployment or self.quantize_model) and not model_name.startswith("efficient_x3d"):
            raise click.UsageError(
                f"--enable-efficient-deployment and --quantize-model are for efficient_x3d_xs and _s, not {model_name}"
            )
        if self.mobile_model_path is not None:
            require_installed(format_of(self.mobile_model_path))
            if not self.mobile_model_path.resolve().is_relative_to(output_dir.resolve()):  # which training makes
                require_writable(self.mobile_model_path)


@command("train", "Train a model and keep the checkpoint that validates best.", config=True)
def train(
    *,
    data: TrainingData,
    model: ModelOptions,
    recipe: Recipe,
    no_augment: bool = option(False, "Change clips by nothing but the jitter of frames.", group="Augmentation"),
    config: TrainConfig,
    run: RunOptions,
    exported: ExportRequest,
) -> None:
    """Train a model and keep the checkpoint that validates best.

    Clips come from a cache; with --data-root (and the options that choose segments, as of build-cache) the cache is
    built, or brought up to date, first. The report, checkpoints, TensorBoard logs and run.json go to
    OUTPUT_DIR/EXPERIMENT_NAME. Ctrl-C saves and says how to go on.

    \b
    Examples:
      signprep train aihub.zarr --model-name x3d_s --batch-size 8 --epochs 50
      signprep train s3://team/aihub.zarr --stream-dir /scratch/kim --stream-gb 50
      signprep train --data-root aihub --model-name slow_r50 --pretrained k400 --precision 16-mixed
      signprep train --data-root videos --landmarks mediapipe
      signprep train aihub.zarr --optimizer adamw --learning-rate 2e-3 --label-smoothing 0.1 --ema-decay 0.99
      signprep train aihub.zarr --model-name mymodels:small --num-frames 8 --size 112
      signprep train aihub.zarr --model-name x3d_s --batch-size 8 --epochs 50 --resume
      signprep train aihub.zarr --logger tensorboard --logger wandb
      signprep train --data-root aihub --model-variant XS --export-mobile-model --quantize-model
    """
    require_extra("train", "torch", "lightning", "pytorchvideo")
    run.require_loggers()
    from signprep.cache_builder import open_cache
    from signprep.training.callbacks.record import ending
    from signprep.training.model_spec import model_spec
    from signprep.training.run import train as train_model

    if data.cache is not None:
        reject_unused(SplitOptions, "--data-root: a cache has its splits")
        reject_unused(DatasetOptions, "--data-root: a cache has its clips")
        reject_unused(["keypoint_size"], "--data-root: a cache has its clips")
    else:
        reject_unused(StreamOptions, "CACHE")
    launch = Launch.of_environment()
    log = _log(launch)
    options = typed_options(click.get_current_context())
    typed = _of_training(options)
    is_typed = "experiment_name" in options.keys() - click.get_current_context().meta.get(FROM_FILE, set())
    run = run.numbered(launch, is_typed=is_typed, is_same=lambda recorded: _of_training(recorded) == typed)
    devices = run.available_devices(launch, log)
    config = _train_config(config, devices, log, no_augment=no_augment)
    asked = "pixels" if data.landmarks is None else "landmarks"
    exported.require_possible(model.name(asked), run.output_dir)  # before a cache is opened, which may be far away
    cache = None if data.cache is None else open_cache(data.cache, stream=data.stream)
    name = model.name(asked if cache is None else cache.clip_spec.content)
    exported.require_possible(name, run.output_dir)
    spec = model_spec(
        name,
        num_frames=model.num_frames,
        crop_size=model.size,
        dropout_rate=model.dropout_rate,
        pretrained=config.pretrained == "k400",
    )
    location = (
        data.cache
        if data.cache is not None
        else _built_cache(data, spec, run.output_dir, launch, waits=launch.by is not None or devices.num_nodes > 1)
    )
    cache = open_cache(location) if cache is None else cache
    if data.clip_duration is not None and cache.clip_spec.span != data.clip_duration:
        raise TrainingError(f"{cache}: its clips are of {cache.clip_spec.span}, not of {data.clip_duration} s")
    checkpoint = run.checkpoint()
    result = train_model(
        cache,
        spec,
        config,
        run.folder,
        devices=devices,
        resume=checkpoint,
        overwrite=run.overwrite,
        more_follows=exported.wanted,
        profile=run.profile,
        recipe=_with_given(recipe, no_augment=no_augment),
        command=options,
        loggers=run.logger_names,
        log=log,
    )
    if not launch.is_first:
        return
    if checkpoint is not None and not result.clips_per_second:
        log(f"nothing was left to do: {counted(result.epochs, 'epoch')} are done; give more --epochs")
    echo(
        f"best validation accuracy {result.best_val_accuracy:.3f} after {counted(result.epochs, 'epoch')} in "
        f"{result.seconds:.0f} s, {result.clips_per_second:.1f} clips/s, {result.data_wait_percent:.1f} % of it "
        f"waiting for data\n{result.best_checkpoint}"
    )
    if exported.wanted:
        out = exported.mobile_model_path or run.folder / "mobile.pt"
        words = ["--checkpoint", result.best_checkpoint, "--out", out, "--cache", location, "--model-name", name]
        words += [] if data.stream.folder is None else ["--stream-dir", data.stream.folder]
        words += ["--stream-gb", data.stream.max_bytes / 1e9, *(["--int8"] if exported.quantize_model else [])]
        with ending(run.folder):
            # The root command finds `export`, which is of the floor above.
            cli.main(["export", *map(str, words)], prog_name="signprep", standalone_mode=False)
    else:
        own = ["--model-name", name] if ":" in name else []
        next_step("evaluate", location, *as_typed(StreamOptions), "--checkpoint", result.best_checkpoint, *own)


def _of_training(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that make the run what it is: an export behind it is not part of it."""
    behind = {field.name for field in fields(ExportRequest)}
    return {name: value for name, value in options.items() if name not in behind}


def _built_cache(data: TrainingData, spec: "ModelSpec", output_dir: Path, launch: Launch, *, waits: bool) -> Location:
    """Build the cache of data roots, or bring it up to date, and return it; for a model of landmarks from keypoints.

    With `waits`, several processes were started at once: one of them builds, the others wait and then find it done.
    Raises TrainingError if landmarks are asked for that the model does not read, or if segments are sentences.
    """
    from signprep.cache_builder.building.run import build_from_annotations
    from signprep.cache_builder.building.workers import RunOptions as BuildRun
    from signprep.cache_builder.folder.transaction import AnotherBuilderError
    from signprep.pipeline.datasets.presets.spec import find_preset
    from signprep.pipeline.datasets.read import read_roots

    if data.landmarks is not None and spec.content != "landmarks":
        raise TrainingError(
            f"{spec.name} reads pixels, not the landmarks that --landmarks {data.landmarks} makes; leave out "
            "--landmarks, or train landmark_transformer or landmark_conv"
        )
    if data.source.preset is not None and find_preset(data.source.preset).sentences:
        raise TrainingError(
            f"--preset {data.source.preset}: its segments are sentences without the times of their words, in which a "
            "classifier finds nothing to learn"
        )
    clips = ClipSpec(  # the default clips, with more frames or pixels where the model needs them
        num_frames=max(ClipSpec.num_frames, spec.num_frames),
        size=max(ClipSpec.size, -(-spec.crop_size // 4) * 4),
        span=SEGMENT_SPAN if data.clip_duration is None else data.clip_duration,
        landmarks=(data.landmarks or DEFAULT_ORIGIN) if spec.content == "landmarks" else None,
        keypoint_size=data.keypoint_size,
    )
    out = _cache_folder(data.roots, clips, output_dir)
    if launch.by is None and launch.local_rank:  # the process that started this one has built it before
        return out
    splits = data.splits if "" in data.roots.by_split else replace(data.splits, by="column")
    with told_if_stopped(out):
        annotations = read_roots(data.roots, replace(data.source, landmarks=clips.landmarks))
        for note in annotations.notes:
            _log(launch)(note)
        out.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                workers, options = BuildRun(command="train"), BuildOptions(clip_spec=clips)
                _log(launch)(build_from_annotations(annotations, out, options, splits=splits, run=workers))
                return out
            except AnotherBuilderError:
                if not waits:
                    raise
            time.sleep(SECONDS_BETWEEN_TRIES)


def _cache_folder(roots: DataRootOptions, clips: ClipSpec, output_dir: Path) -> Path:
    """Return OUTPUT_DIR/caches/NAMES-FRAMESxSIZE[-SECONDSs]-HASH.zarr; the hash is of the folders' paths.

    SIZE is that of frames in pixels, or the word `landmarks`, with what is not the default of their origin and size.
    """
    folders = [root.resolve() for root in roots.by_split.values()]
    names = "+".join(root.name for root in folders)
    seconds = "" if clips.span == SEGMENT_SPAN else f"-{clips.span:g}s"
    paths = hashlib.blake2b("\0".join(map(str, folders)).encode(), digest_size=4).hexdigest()
    size = str(clips.size)
    if clips.landmarks is not None:
        size = clips.content
        size += "" if clips.landmarks == DEFAULT_ORIGIN else f"-{clips.landmarks}"
        size += "" if clips.keypoint_size == ClipSpec.keypoint_size else f"-{clips.keypoint_size}"
    return output_dir / "caches" / f"{names}-{clips.num_frames}x{size}{seconds}-{paths}.zarr"


def _train_config(config: TrainConfig, devices: Devices, log: Log, *, no_augment: bool) -> TrainConfig:
    """Return what is trained with on these devices. Raises UsageError for options that exclude each other."""
    asked = given(Augmentation)
    if no_augment and asked:
        raise click.UsageError(f"--no-augment excludes {asked[0]}")
    augmentation = NO_AUGMENTATION if no_augment else config.augmentation
    if config.flip_map is not None and "--flip-probability" not in asked:
        augmentation = replace(augmentation, flip_probability=FLIP_MAP_PROBABILITY)
    if config.precision == "16-mixed" and not devices.gpus:
        log("16-mixed needs a GPU: training in 32 bits")
        config = replace(config, precision="32")
    return replace(config, augmentation=augmentation)


def _with_given(recipe: Recipe, *, no_augment: bool) -> Recipe:
    """Return the recipe that is asked for, with the names of its values that were given."""
    from signprep.training.model.recipe import AUGMENTATIONS, VALUES

    return replace(recipe, given=frozenset(AUGMENTATIONS if no_augment else ()) | {n for n in VALUES if given([n])})


def _log(launch: Launch) -> Log:
    """Return the function that shows a line to the user: one process of a run speaks."""
    return (lambda line: echo(line, err=True)) if launch.is_first else (lambda line: None)
