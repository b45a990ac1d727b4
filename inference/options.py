"""The options of `infer`, `evaluate` and `export`, as dataclasses that the command line is made from.

Nothing heavy is imported here, so that `--help` can be written from them at once. Values are checked where they are
made: a ValueError names the field, what came and what was expected.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signprep.pipeline.options import FRACTION, REQUIRED, Options, machine_option, option
from signprep.training.config import TORCHSCRIPT

INT8_DROP, FP32_DIFFERENCE = 0.016, 1e-4
"""Defaults of `ExportOptions.max_drop`."""
CLIP_SECONDS, STRIDE_SECONDS = 2.0, 1.0
"""Windows of `infer` by default: those of the old scripts."""
WEIGHTS_SUFFIX = ".json"
"""Of a file that names several checkpoints and their weights, and is given as a checkpoint."""
PER_CLIP, PER_VIDEO = "clip", "video"
"""Values of `WindowOptions.landmark_tracking`."""
TIMELINE_CLIP_SECONDS, TIMELINE_STRIDE_SECONDS = 0.8, 0.1
"""Windows of a timeline by default: about as long as a sign, and close enough for its boundaries."""
SUBTITLE_SUFFIXES = (".eaf", ".srt", ".vtt")
"""Of ELAN, SubRip and WebVTT."""


def custom_model_option() -> Any:
    """Return the field of a custom model's factory."""
    return option(
        None,
        "Build the checkpoint of a custom model with this function.",
        name="--model-name",
        metavar="package.module:factory",
        group="Model",
    )


def _workers_option(help_: str) -> Any:
    return machine_option(2, help_, name="--workers", aliases=("--num-workers",), minimum=1)


def _weights(typed: str) -> tuple[float, ...]:
    weights = tuple(map(float, typed.split(",")))
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise ValueError(f"{typed} has to be numbers of 0 or more, not all 0, as in 1,2")
    return weights


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Choose the model that predicts, and what it runs on."""

    checkpoints: tuple[Path, ...] = option(
        REQUIRED,
        "Use best.ckpt of a training run, or an exported file; several, of the same glosses, answer together, and so "
        "do those that a .json file of evaluate --fit-weights names.",
        name="--checkpoint",
    )
    weights: tuple[float, ...] = option(
        (),
        "Let the checkpoints count so much beside each other, by default equally.",
        type=str,
        read=_weights,
        show=lambda weights: ",".join(map(str, weights)) or None,
        metavar="N,N",
        group="Model",
    )
    own_model: str | None = custom_model_option()
    clip_views: int = option(
        1,
        "Average the probabilities of so many views of each clip, other frames and crops of it.",
        name="--views",
        minimum=1,
        group="Model",
    )
    device: str = machine_option(
        "auto",
        "Run on this device (cpu, cuda, cuda:1); auto takes a GPU if there is one.",
        suggested=("auto", "cpu", "cuda"),
    )

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.checkpoints):
            raise ValueError(
                f"weights are {len(self.weights)} numbers; --checkpoint is given {len(self.checkpoints)} times"
            )

    @property
    def shown(self) -> str:
        """The checkpoints, as results name them."""
        return ", ".join(map(str, self.checkpoints))


@dataclass(frozen=True, kw_only=True)
class WindowOptions(Options):
    """Choose the window, or the windows, of a video that predictions are made for."""

    clip_duration: float = option(CLIP_SECONDS, above=0)
    """Length of a window, in seconds."""
    start_seconds: float = 0.0
    """Start of the first window."""
    stride: float | None = option(None, above=0)
    """Seconds from one window's start to the next one's; None for the first window alone."""
    pad: bool = False
    """Hold the last frame of a video that is shorter than a window, instead of raising an error."""
    landmark_tracking: str = option(PER_CLIP, choices=(PER_CLIP, PER_VIDEO))
    """Find landmarks in each window's frames anew, as a cache has them, or follow them through the whole video."""


@dataclass(frozen=True, kw_only=True)
class WindowArguments(Options, group="Windows"):
    """Choose windows on the command line, where their defaults depend on what is made of them."""

    start_seconds: float = option(0.0, "Begin the first window at this second.", name="--start-time", minimum=0)
    clip_duration: float | None = option(
        None,
        f"Make windows of so many seconds, by default {CLIP_SECONDS:g}, {TIMELINE_CLIP_SECONDS:g} for timelines.",
        above=0,
    )
    stride: float | None = option(
        None,
        f"Move windows by so many seconds, by default {STRIDE_SECONDS:g}, {TIMELINE_STRIDE_SECONDS:g} for timelines.",
        above=0,
    )
    pad: bool = option(False, "Hold the last frame of a video that is shorter than a window.")
    landmark_tracking: str | None = option(
        None,
        "Find landmarks in each window anew, as a cache has them (clip), or follow them through the whole video, each "
        "frame once (video); by default clip, video for timelines.",
        choices=(PER_CLIP, PER_VIDEO),
    )

    def windows(self, *, several: bool, timeline: bool) -> WindowOptions:
        """Return the windows of a timeline, of several predictions, or the first window alone."""
        default_duration = TIMELINE_CLIP_SECONDS if timeline else CLIP_SECONDS
        default_stride = TIMELINE_STRIDE_SECONDS if timeline else STRIDE_SECONDS
        return WindowOptions(
            clip_duration=default_duration if self.clip_duration is None else self.clip_duration,
            start_seconds=self.start_seconds,
            stride=(default_stride if self.stride is None else self.stride) if several or timeline else None,
            pad=self.pad,
            landmark_tracking=self.landmark_tracking or (PER_VIDEO if timeline else PER_CLIP),
        )


@dataclass(frozen=True, kw_only=True)
class TimelineOptions(Options, group="Timeline"):
    """Choose how the windows' probabilities become the signs of a timeline."""

    switch_cost: float = option(
        0.25, "Change to another sign only if that gains so much log probability times seconds.", minimum=0
    )
    """With 0 the best gloss of each step counts."""
    smoothing_seconds: float = option(0.0, "Let windows share scores whose middles are nearer than this.", minimum=0)
    """The nearer share the more; with 0 none do."""
    min_confidence: float = option(0.4, "Drop signs of less confidence than this.", **FRACTION)
    """Without an idle gloss it is also what silence scores in each step."""
    min_duration_seconds: float = option(0.3, "Drop signs that are shorter than this.", minimum=0)
    merge_gap_seconds: float = option(0.3, "Join two signs of one gloss with no longer gap between them.", minimum=0)
    idle_gloss: str | None = option(None, "Take this gloss to mean that no sign is made; it never becomes a sign.")
    idle_weight: float = option(3.0, "Multiply the idle gloss's scores by this; the larger, the fewer signs.", above=0)


def _subtitle_suffixes(typed: str) -> tuple[str, ...]:
    suffixes = tuple(dict.fromkeys(f".{word.strip().lower().removeprefix('.')}" for word in typed.split(",")))
    if unknown := [suffix for suffix in suffixes if suffix not in SUBTITLE_SUFFIXES]:
        raise ValueError(f"{unknown[0]} is not one of {', '.join(SUBTITLE_SUFFIXES)}, as in eaf,srt")
    return suffixes


@dataclass(frozen=True, kw_only=True)
class Outputs(Options, group="Output"):
    """Name the files that are made of timelines, beside the results."""

    subtitles: Path | None = option(None, "Write the timeline of one video to this .srt, .vtt or .eaf (ELAN) file.")
    subtitles_dir: Path | None = option(
        None,
        "Write the timeline of each video into this folder, which may be that of the videos, as --subtitle-formats "
        "says; JSON then goes to --out alone.",
    )
    subtitle_suffixes: tuple[str, ...] = option(
        (".eaf",),
        "Write files of these formats there: eaf, srt, vtt, with commas between.",
        name="--subtitle-formats",
        type=str,
        read=_subtitle_suffixes,
        show=lambda suffixes: ",".join(suffix.removeprefix(".") for suffix in suffixes),
        metavar="FORMATS",
    )
    signs: Path | None = option(
        None,
        "Write the signs of all videos to this .csv file, which Excel opens, a row a sign; JSON then goes to --out "
        "alone.",
        metavar="FILE",
    )
    overwrite: bool = option(
        False, "Replace files of --subtitles-dir and --signs that are there, with what people have corrected in them."
    )
    render: Path | None = option(None, "Write one video with its timeline under the picture to this .mp4 file.")
    font: Path | None = option(None, "Write glosses into the picture of --render in this font, which has Hangul.")
    """None takes a Korean font of the system."""

    @property
    def of_one_video(self) -> bool:
        """Return whether there is a file to make that one video alone has."""
        return self.subtitles is not None or self.render is not None

    @property
    def of_all_videos(self) -> bool:
        """Return whether there are files to make of any number of videos."""
        return self.subtitles_dir is not None or self.signs is not None

    @property
    def wanted(self) -> bool:
        """Return whether there is any file to make."""
        return self.of_one_video or self.of_all_videos


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(Options, group="Output"):
    """Choose what is told of each window."""

    top_k: int = option(1, "Give this many glosses for each window, the most probable first.", minimum=1)
    with_probabilities: bool = option(False, "Add the probability of every gloss.", name="--return-probabilities")


@dataclass(frozen=True, kw_only=True)
class InferOptions(AnswerOptions, group="Output"):
    """Choose what `infer` predicts for its videos."""

    windows: WindowOptions = WindowOptions()
    timeline: TimelineOptions | None = None
    """Make segments of the windows, for continuous signing."""
    outputs: Outputs = Outputs()
    batch_size: int = machine_option(8, "Send this many clips through the model together.", minimum=1)
    num_workers: int = _workers_option("Decode this many videos at the same time, or read clips in so many threads.")


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Options, group="Run"):
    """Choose what `evaluate` measures on a split of a cache."""

    split: str = option("val", "Evaluate this split.", choices=("train", "val", "test"), group="Data")
    top_k: int = option(5, "Also count a prediction as correct among so many glosses.", minimum=2)
    calibrate: bool = option(False, "Fit a temperature on the split and write it into the checkpoint.")
    fit_weights: Path | None = option(
        None,
        "Fit weights of several checkpoints on the split, and write them to this .json file, which --checkpoint takes.",
        metavar="FILE",
    )
    batch_size: int = machine_option(32, "Send this many clips through the model together.", minimum=1)
    num_workers: int = _workers_option("Read clips in this many threads.")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options, group="Export"):
    """Choose what `export` writes, and how exact it must be."""

    format: str = TORCHSCRIPT
    int8: bool = option(False, "Quantize the model to 8 bits; this needs --cache.")
    with_preprocessing: bool = option(
        False,
        "Take clips as they are, uint8 RGB frames [1, T, H, W, 3] or float16 landmarks [1, T, 75, 3], and do in the "
        "file what comes before the model.",
    )
    max_drop: float | None = option(
        None,
        f"Refuse a file that loses more accuracy than this by int8, by default {INT8_DROP:g}, or changes a "
        f"probability by more than this in fp32, by default {FP32_DIFFERENCE:g}.",
        minimum=0,
    )
    max_clips: int = option(1000, "Compare file and checkpoint on at most this many clips.", minimum=1)
    own_model: str | None = custom_model_option()

    def bound(self, num_clips: int) -> float:
        """Return `max_drop`, or its default; for int8 it is one clip at least, where there are too few to tell less."""
        if self.max_drop is not None:
            return self.max_drop
        return max(INT8_DROP, 1 / num_clips) if self.int8 else FP32_DIFFERENCE
