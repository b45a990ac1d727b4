"""Compare a written file with its checkpoint before it is left: predictions, accuracy, and time for a clip.

In: the file, its checkpoint's recognizer, clips. Out: the largest and the mean difference of a probability, how often
the first predictions are the same, on stored clips the accuracy of both, and milliseconds a clip. Probabilities are
those that `infer` gives: the checkpoint's temperature is applied. Times are medians of a few runs at a time in turns,
so that other work of the machine strikes both; they are of this machine, never of a phone.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from signprep.cache_builder.reader import Cache
from signprep.inference.evaluation.logits import predict_logits, split_clips
from signprep.inference.evaluation.metrics import probabilities
from signprep.inference.export.deployable import file_frames, preprocessing, sample_positions
from signprep.inference.export.metadata import ExportMetadata
from signprep.inference.export.runtime import open_exported
from signprep.inference.recognizer import Recognizer, torch_threads
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.machine import usable_cores
from signprep.pipeline.runtime.progress import progress_bar

SPLITS = ("val", "test", "train")
"""The first of them that a cache has is compared on."""
NUM_SYNTHETIC = 4
"""Synthetic inputs that are compared on where there is no cache."""

CHECKPOINT, FILE = "checkpoint", "file"
"""Names of what is timed; a file that is run with several engines has theirs."""
MOST_TURNS, RUNS_A_TURN, WARM_UPS = 6, 4, 2
"""A turn's first runs are not counted: threads of the run before still spin, and TorchScript plans its work."""
MOST_SECONDS = 3.0
"""No turn begins after so long."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The predictions of a file beside those of its checkpoint."""

    engine: str | None
    """Engine that ran the file, for int8 TorchScript."""
    largest_difference: float
    """Largest difference of a probability."""
    mean_difference: float
    num_agreeing: int
    """Clips with the same first prediction."""
    accuracy: float | None
    """The file's accuracy; None on synthetic inputs."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """All that was measured of a file."""

    checkpoint_accuracy: float | None
    """None on synthetic inputs."""
    comparisons: tuple[Comparison, ...]
    """One, or for int8 TorchScript one an engine: the first is the one that a fresh process uses."""
    latencies: dict[int, dict[str, float]]
    """Milliseconds for one clip, by number of threads and by name."""


class ComparisonClips:
    """The clips that a file and its checkpoint both predict for: stored ones of a split, or synthetic inputs."""

    def __init__(self, cache: Cache | None, recognizer: Recognizer, metadata: ExportMetadata, at_most: int) -> None:
        """Choose `at_most` stored clips, at random where there are more; without a cache, inputs for the file.

        Raises:
            CheckpointError: the cache stores other clips than the model was trained on, or none of its glosses.
            CacheError: it has no clips.
        """
        self._cache = cache
        self.split: str | None = None
        self.num_in_split = self.num_unknown = 0
        self.labels: NDArray[np.int64] | None = None
        """The correct classes, [N]; None for synthetic inputs."""
        if cache is not None:
            self.split = next((split for split in SPLITS if len(cache.positions(split))), SPLITS[0])
            clips = split_clips(cache, self.split, recognizer)
            self.num_in_split, self.num_unknown = len(clips.positions), sum(clips.unknown_glosses.values())
            chosen = sample_positions(np.arange(len(clips.positions)), at_most)
            self.labels = clips.labels[chosen]
            self._stored = replace(clips, positions=clips.positions[chosen], labels=self.labels)
        self._synthetic = _synthetic_inputs(metadata)

    def __len__(self) -> int:
        return len(self._synthetic) if self._cache is None else len(self._stored.positions)

    def one_input(self, recognizer: Recognizer) -> Tensor:
        """Return the first clip as the input of a recognizer's model."""
        if self._cache is None:
            return self._synthetic[:1]
        return recognizer.transform(torch.from_numpy(self._cache.read([int(self._stored.positions[0])])))

    def logits(self, recognizer: Recognizer, advance: Callable[[int], None]) -> NDArray[np.float32]:
        """Return the logits of a recognizer, float32 [N, classes]."""
        if self._cache is not None:
            return predict_logits(recognizer, self._cache, self._stored, batch_size=8, num_workers=1, advance=advance)
        logits = torch.cat([recognizer.logits_of_inputs(one) for one in self._synthetic.split(1)])
        advance(len(logits))
        return np.asarray(logits, np.float32)


def _synthetic_inputs(metadata: ExportMetadata) -> Tensor:
    """Return inputs of a file's kind, [NUM_SYNTHETIC, ...]."""
    spec = metadata.model.model_spec
    if spec.content == "landmarks":
        return _synthetic_landmarks(spec.input_shape).to(getattr(torch, metadata.dtype))
    frames, side = spec.num_frames, spec.crop_size
    # Patches of colour: on noise a model is sure of anything.
    patches = torch.randn([NUM_SYNTHETIC, 3, frames, 5, 5], generator=torch.Generator().manual_seed(0))
    clips = functional.interpolate(patches, size=(frames, side, side))
    if not metadata.with_preprocessing:
        return clips
    rgb = (clips * spec.std + spec.mean).mul(255).clamp(0, 255)
    return rgb.to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous()


def _synthetic_landmarks(shape: tuple[int, ...]) -> Tensor:
    """Return landmarks [NUM_SYNTHETIC, T, 75, 3] of points that wander, of which one in four is not seen."""
    drawn = torch.rand((NUM_SYNTHETIC, *shape), generator=torch.Generator().manual_seed(0))
    places = (0.5 + (drawn[..., :2] - 0.5).cumsum(dim=1) / shape[0]).clamp(0, 1)
    is_seen = drawn[..., 2:] > 0.25
    return torch.cat([places.masked_fill(~is_seen, torch.nan), drawn[..., 2:] * is_seen], dim=-1)


def compare_with_checkpoint(
    file: Path,
    recognizer: Recognizer,
    clips: ComparisonClips,
    metadata: ExportMetadata,
    *,
    engines: tuple[str | None, ...],
    check: Callable[[Comparison, float | None], None],
) -> Verification:
    """Open a written file again, compare it with its checkpoint's recognizer, and time both.

    Each of the `engines` runs int8 TorchScript; they are (None,) for anything else. `check` takes a comparison and the
    checkpoint's accuracy, and raises if the file is not as good as it must be. Raises CheckpointError if the file does
    not open, or gives no predictions.
    """
    reference = _reference(recognizer, with_preprocessing=metadata.with_preprocessing)
    # A checkpoint's accuracy is that on the inputs that it was trained for, not on rounded ones.
    usual = recognizer if reference is not recognizer and clips.labels is not None else None
    comparisons = []
    with progress_bar("Comparing", (1 + len(engines) + (usual is not None)) * len(clips), "clips") as advance:
        done = 0

        def logits(model: Recognizer) -> NDArray[np.float32]:
            nonlocal done
            found = clips.logits(model, lambda number: advance(done + number))
            done += len(clips)
            return found

        expected = logits(reference)
        checkpoint_accuracy = _accuracy(expected if usual is None else logits(usual), clips.labels)
        for engine in engines:
            found = logits(open_exported(file, metadata.format, engine=engine))
            temperature = recognizer.metadata.temperature
            comparison = compare(expected, found, clips.labels, temperature=temperature, engine=engine)
            check(comparison, checkpoint_accuracy)
            comparisons.append(comparison)
    latencies = {}
    for threads in sorted({1, usable_cores()}):
        models = {CHECKPOINT: reference} | {
            engine or FILE: open_exported(file, metadata.format, engine=engine, threads=threads) for engine in engines
        }
        with torch_threads(threads):
            latencies[threads] = median_milliseconds(models, clips.one_input(reference))
    return Verification(checkpoint_accuracy=checkpoint_accuracy, comparisons=tuple(comparisons), latencies=latencies)


def _reference(recognizer: Recognizer, *, with_preprocessing: bool) -> Recognizer:
    """Return a checkpoint's recognizer that takes what its file takes: with preprocessing, the same rounded frames."""
    if not with_preprocessing:
        return recognizer
    spec = recognizer.metadata.model_spec
    found = Recognizer(recognizer.metadata, nn.Sequential(preprocessing(spec), recognizer.model), torch.device("cpu"))
    found.transform = file_frames(spec)
    return found


def _accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64] | None) -> float | None:
    return None if labels is None else float((logits.argmax(axis=1) == labels).mean())


def compare(
    expected: NDArray[np.float32],
    found: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    *,
    temperature: float,
    engine: str | None = None,
) -> Comparison:
    """Compare the logits that a file gave, [N, classes], with those of its checkpoint, at the checkpoint's temperature.

    `labels` are the correct classes, [N], or None where nobody knows them; `engine` is the one that ran the file.
    """
    largest = total = 0.0
    for first in range(0, len(expected), 256):  # of thousands of classes, 64 bits for all clips would be gigabytes
        some = slice(first, first + 256)
        gaps = np.abs(probabilities(expected[some], temperature) - probabilities(found[some], temperature))
        largest = max(largest, float(gaps.max())) if np.isfinite(gaps).all() else float("nan")
        total += float(gaps.sum())
    return Comparison(
        engine=engine,
        largest_difference=largest,
        mean_difference=total / expected.size,
        num_agreeing=int((expected.argmax(axis=1) == found.argmax(axis=1)).sum()),
        accuracy=_accuracy(found, labels),
    )


def check_close_enough(
    output: Path, found: Comparison, checkpoint_accuracy: float | None, *, int8: bool, max_drop: float
) -> None:
    """Raise SignprepError unless a file is as good as it must be.

    For int8, `max_drop` bounds the loss of accuracy; for fp32, it bounds the difference of any probability.
    """
    if not int8:
        if not found.largest_difference <= max_drop:  # a difference that is no number is too large as well
            raise SignprepError(
                f"{output}: its probabilities are up to {found.largest_difference:.1e} off the checkpoint's, more "
                f"than --max-drop {max_drop:g}; no file is left. A larger --max-drop lets it pass"
            )
        return
    assert checkpoint_accuracy is not None and found.accuracy is not None
    drop = checkpoint_accuracy - found.accuracy
    if not drop <= max_drop + 1e-9 or not np.isfinite(found.largest_difference):
        engine = f" with the engine {found.engine}" if found.engine else ""
        raise SignprepError(
            f"{output}: its accuracy{engine} is {found.accuracy:.3f} where the checkpoint's is "
            f"{checkpoint_accuracy:.3f}: {drop:.3f} less, more than --max-drop {max_drop:g}; no file is left. "
            "Leave out --int8, give more clips to calibrate it, or a larger --max-drop"
        )


def median_milliseconds(models: Mapping[str, Recognizer], inputs: Tensor) -> dict[str, float]:
    """Return how long each model takes for the inputs, by its name."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        started = time.perf_counter()
        for turn in range(MOST_TURNS):
            if turn and time.perf_counter() - started > MOST_SECONDS:
                break
            for name, recognizer in models.items():
                for _ in range(WARM_UPS):
                    recognizer.logits_of_inputs(inputs)
                for _ in range(RUNS_A_TURN):
                    begun = time.perf_counter()
                    recognizer.logits_of_inputs(inputs)
                    taken[name].append(time.perf_counter() - begun)
    return {name: 1e3 * statistics.median(seconds) for name, seconds in taken.items()}
