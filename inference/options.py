"""The options of `infer`, `evaluate` and `export`, as dataclasses that the command line is made from.

Nothing heavy is imported here, so that `--help` can be written from them at once. Values are checked where they are
made: a ValueError names the field, what came and what was expected.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from signprep.training.model.export_format import TORCHSCRIPT

INT8_DROP, FP32_DIFFERENCE = 0.016, 1e-4
"""Defaults of `ExportOptions.max_drop`."""


@dataclass(frozen=True, kw_only=True)
class WindowOptions:
    """Choose the window, or the windows, of a video that predictions are made for."""

    clip_duration: float = 2.0
    """Length of a window, in seconds."""
    start_seconds: float = 0.0
    """Start of the first window."""
    stride: float | None = None
    """Seconds from one window's start to the next one's; None for the first window alone."""
    pad: bool = False
    """Hold the last frame of a video that is shorter than a window, instead of raising an error."""

    def __post_init__(self) -> None:
        for name in ("clip_duration", "stride"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; it must be a positive number of seconds")


@dataclass(frozen=True, kw_only=True)
class TimelineOptions:
    """Choose how the windows' probabilities become the signs of a timeline."""

    switch_cost: float = 0.25
    """Log probability times seconds that each change of sign has to gain; 0: the best gloss of each step counts."""
    smoothing_seconds: float = 0.0
    """Windows whose middles are less than this apart share their scores, the nearer the more; 0: none do."""
    min_confidence: float = 0.4
    """Segments of less are dropped, 0 to 1; without an idle gloss it is also what silence scores in each step."""
    min_duration_seconds: float = 0.3
    """Shorter segments are dropped."""
    merge_gap_seconds: float = 0.3
    """Two segments of one gloss with nothing but such a gap between them are one."""
    idle_gloss: str | None = None
    """The class that was trained to mean that no sign is made, if there is one. It never becomes a segment."""
    idle_weight: float = 3.0
    """Factor on the scores of the idle gloss: the larger, the fewer signs."""

    def __post_init__(self) -> None:
        for name in ("switch_cost", "smoothing_seconds", "min_duration_seconds", "merge_gap_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a number of seconds, 0 or more")
        if not 0 <= self.min_confidence <= 1:
            raise ValueError(f"min_confidence is {self.min_confidence}; it must be from 0 to 1")
        if not 0 < self.idle_weight < math.inf:
            raise ValueError(f"idle_weight is {self.idle_weight}; it must be positive")


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Name the files that are made of a single video's timeline, beside the results."""

    subtitles: Path | None = None
    render: Path | None = None
    font: Path | None = None
    """Font file for `render`; None for a Korean font of the system."""

    @property
    def wanted(self) -> bool:
        """Return whether there is any file to make."""
        return self.subtitles is not None or self.render is not None


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """Choose what `infer` predicts for its videos."""

    windows: WindowOptions = WindowOptions()
    top_k: int = 1
    """Number of glosses to give for each window, the most probable first."""
    with_probabilities: bool = False
    """Add the probability of every gloss."""
    timeline: TimelineOptions | None = None
    """Make segments of the windows, for continuous signing."""
    outputs: Outputs = Outputs()
    batch_size: int = 8
    """Windows that go through the model together."""
    num_workers: int = 1
    """Videos that are decoded at the same time, or threads that read clips of a cache."""


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Choose what `evaluate` measures on a split of a cache."""

    split: str = "val"
    top_k: int = 5
    """A prediction also counts as correct among so many glosses."""
    calibrate: bool = False
    """Fit a temperature and write it into the checkpoint."""
    batch_size: int = 32
    num_workers: int = 2
    """Threads that read clips."""
    device: str = "cpu"
    own_model: str | None = None
    """package.module:factory, for the checkpoint of a custom model."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Choose what `export` writes, and how exact it must be."""

    format: str = TORCHSCRIPT
    int8: bool = False
    with_preprocessing: bool = False
    """Let the file take uint8 RGB frames in place of normalised floats."""
    max_drop: float | None = None
    """Bound on the accuracy that int8 may lose, or on the change of a probability in fp32; None for the defaults."""
    max_clips: int = 1000
    """Largest number of clips to compare."""
    own_model: str | None = None
    """package.module:factory, for the checkpoint of a custom model."""

    def bound(self, num_clips: int) -> float:
        """Return `max_drop`, or its default; for int8 it is one clip at least, where there are too few to tell less."""
        if self.max_drop is not None:
            return self.max_drop
        return max(INT8_DROP, 1 / num_clips) if self.int8 else FP32_DIFFERENCE
