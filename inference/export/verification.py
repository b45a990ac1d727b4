"""Whether a file answers as its checkpoint does, and how soon: what every export measures before it leaves a file.

In: the file, its checkpoint's recognizer, clips. Out: the largest and the mean difference of a probability, how often
the first answers are the same, on stored clips the accuracy of both, and milliseconds a clip. Probabilities are those
that `infer` gives: the checkpoint's temperature is applied. Times are medians of a few runs at a time in turns, so that
what else the machine does strikes both; they are of this machine, never of a phone.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from signprep.inference.evaluation.calibration import probabilities
from signprep.inference.export.clips import Clips
from signprep.inference.export.metadata import ExportCard
from signprep.inference.export.preprocessing import Preprocessing, RgbFrames
from signprep.inference.export.runtime import open_exported
from signprep.inference.recognizer import Recognizer
from signprep.inference.videos.threads import torch_threads
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.machine import usable_cores
from signprep.pipeline.runtime.progress import progress_bar

CHECKPOINT, FILE = "checkpoint", "file"
"""Names of the ways that are timed; a file that is run with several engines has theirs."""
MOST_TURNS, RUNS_A_TURN, WARM_UPS = 6, 4, 2
"""A turn's first runs are not counted: threads of the way before still spin, and TorchScript plans its work."""
MOST_SECONDS = 3.0
"""After which no turn begins."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A file's answers held against its checkpoint's."""

    engine: str | None
    """That the file was run with, of int8 TorchScript."""
    largest_difference: float
    """Of a probability."""
    mean_difference: float
    num_agreeing: int
    """Clips with the same first answer."""
    accuracy: float | None
    """The file's; None on drawn clips."""

    @property
    def name(self) -> str:
        """Of the file's answers, in tables."""
        return self.engine or FILE


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was measured."""

    checkpoint_accuracy: float | None
    """None on drawn clips."""
    comparisons: tuple[Comparison, ...]
    """One, or of int8 TorchScript one an engine: the first is the one that a fresh process uses."""
    latencies: dict[int, dict[str, float]]
    """Milliseconds for one clip, by number of threads and by way."""


def prove(
    file: Path,
    recognizer: Recognizer,
    clips: Clips,
    export_card: ExportCard,
    *,
    engines: tuple[str | None, ...],
    require: Callable[[Comparison, float | None], None],
) -> Proof:
    """Hold a written file, opened again, against its checkpoint.

    Args:
        file: as it was written.
        recognizer: the checkpoint's.
        clips: to ask about.
        export_card: of the file.
        engines: to run int8 TorchScript with; (None,) for anything else.
        require: takes a comparison and the checkpoint's accuracy, and raises if the file is not as good as it must be.

    Raises:
        SignprepError: from `require`.
        CheckpointError: the file does not open, or does not answer.
    """
    asked = _reference(recognizer, with_preprocessing=export_card.with_preprocessing)
    # What a checkpoint is worth is told by the inputs that it was trained for, not by rounded ones.
    usual = recognizer if asked is not recognizer and clips.labels is not None else None
    comparisons = []
    with progress_bar("Comparing", (1 + len(engines) + (usual is not None)) * len(clips), "clips") as advance:
        done = 0

        def logits(who: Recognizer) -> NDArray[np.float32]:
            nonlocal done
            found = clips.logits(who, lambda number: advance(done + number))
            done += len(clips)
            return found

        expected = logits(asked)
        checkpoint_accuracy = _accuracy(logits(usual) if usual is not None else expected, clips.labels)
        for engine in engines:
            found = logits(open_exported(file, export_card.format, engine=engine))
            comparison = compare(expected, found, clips.labels, temperature=recognizer.card.temperature, engine=engine)
            require(comparison, checkpoint_accuracy)
            comparisons.append(comparison)
    return Proof(
        checkpoint_accuracy=checkpoint_accuracy,
        comparisons=tuple(comparisons),
        latencies={
            threads: _latencies(file, asked, clips, export_card.format, engines, threads)
            for threads in sorted({1, usable_cores()})
        },
    )


def _reference(recognizer: Recognizer, *, with_preprocessing: bool) -> Recognizer:
    """Return a checkpoint's recognizer that takes what its file takes: with preprocessing, the same rounded frames."""
    if not with_preprocessing:
        return recognizer
    spec = recognizer.card.model_spec
    model = nn.Sequential(Preprocessing(spec), recognizer.model)
    found = Recognizer(recognizer.card, model, torch.device("cpu"))
    found.transform = RgbFrames(spec)
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
    """Hold logits [N, classes] of a file against those of its checkpoint.

    Args:
        expected: the checkpoint's.
        found: the file's.
        labels: what is right, [N]; None where nobody knows.
        temperature: of the checkpoint.
        engine: that the file was run with.
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


def require_kept(
    output: Path, found: Comparison, checkpoint_accuracy: float | None, *, int8: bool, max_drop: float
) -> None:
    """Raise SignprepError unless a file is as good as it must be.

    Args:
        output: names the file in errors.
        found: its answers.
        checkpoint_accuracy: None on drawn clips.
        int8: whether `max_drop` bounds the loss of accuracy; else it bounds the difference of any probability.
        max_drop: the bound.
    """
    way = f" with the engine {found.engine}" if found.engine else ""
    if not int8:
        if not found.largest_difference <= max_drop:  # nor if it is no number
            raise SignprepError(
                f"{output}: its probabilities are up to {found.largest_difference:.1e} off the checkpoint's, more "
                f"than --max-drop {max_drop:g}; no file is left. A larger --max-drop lets it pass"
            )
        return
    assert checkpoint_accuracy is not None and found.accuracy is not None
    drop = checkpoint_accuracy - found.accuracy
    if not drop <= max_drop + 1e-9 or not np.isfinite(found.largest_difference):
        raise SignprepError(
            f"{output}: its accuracy{way} is {found.accuracy:.3f} where the checkpoint's is "
            f"{checkpoint_accuracy:.3f}: {drop:.3f} less, more than --max-drop {max_drop:g}; no file is left. "
            "Leave out --int8, give more clips to calibrate it, or a larger --max-drop"
        )


def _latencies(
    file: Path, asked: Recognizer, clips: Clips, format_: str, engines: tuple[str | None, ...], threads: int
) -> dict[str, float]:
    """Return milliseconds for one clip with so many threads."""
    opened = {engine or FILE: open_exported(file, format_, engine=engine, threads=threads) for engine in engines}
    inputs = clips.one_input(asked)
    ways = {name: lambda who=who: who.model(inputs) for name, who in {CHECKPOINT: asked, **opened}.items()}
    with torch_threads(threads):
        return median_milliseconds(ways)


def median_milliseconds(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return how long each way takes, by its name."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        started = time.perf_counter()
        for done in range(MOST_TURNS):
            if done and time.perf_counter() - started > MOST_SECONDS:
                break
            for name, way in ways.items():
                for _ in range(WARM_UPS):
                    way()
                for _ in range(RUNS_A_TURN):
                    begun = time.perf_counter()
                    way()
                    taken[name].append(time.perf_counter() - begun)
    return {name: 1e3 * statistics.median(seconds) for name, seconds in taken.items()}
