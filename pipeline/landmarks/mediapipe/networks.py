"""MediaPipe's models, run by LiteRT on one thread: a region of a picture in, numbers out.

Detectors are SSD networks: each has two boxes of fixed size for each stride of a list at the cells' centres, with key
points relative to the centre. Boxes that overlap are averaged by their scores, as MediaPipe does.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.errors import SignprepError
from signprep.pipeline.landmarks.crops import crop
from signprep.pipeline.landmarks.mediapipe.regions import Floats, Region
from signprep.pipeline.runtime.installation import install_packages, require_extra

_LEAST_SCORE = 0.5
_LEAST_OVERLAP = 0.3


def require_packages() -> None:
    """Raise SignprepError, with what to do, unless LiteRT and an OpenCV with MediaPipe's warp are installed."""
    require_extra("landmarks", "ai_edge_litert", "cv2")
    import cv2

    # From 5 on its warp does not round positions, and points of the body differ from MediaPipe's by a tenth.
    if int(cv2.__version__.split(".")[0]) > 4:
        raise SignprepError(
            f"OpenCV {cv2.__version__} makes other pixels than MediaPipe's models expect, which are those of OpenCV 4: "
            + install_packages("opencv-python-headless<5")
        )


class Network:
    """One model and the way its input is made."""

    def __init__(self, path: Path, **how: Any) -> None:
        """Open a model.

        Args:
            path: a .tflite file.
            how: the last arguments of `crop`, which makes its input.
        """
        from ai_edge_litert.interpreter import Interpreter

        with _without_notes():
            self._interpreter = Interpreter(str(path), num_threads=1)
            self._interpreter.allocate_tensors()
        (given,) = self._interpreter.get_input_details()
        self.size = int(given["shape"][1])
        self._input = self._interpreter.tensor(given["index"])
        self._outputs = [self._interpreter.tensor(told["index"]) for told in self._interpreter.get_output_details()]
        self._crop: Callable[..., None] = partial(crop, **how)

    def __call__(self, picture: NDArray[np.uint8], region: Region, outputs: Sequence[int]) -> list[Floats]:
        """Return some of the model's outputs, by number, each without its first dimension.

        They are the model's own memory, so they have to be let go before the next call: LiteRT refuses it otherwise.
        """
        self._crop(picture, region, self._input()[0])
        self._interpreter.invoke()
        return [self._outputs[number]()[0] for number in outputs]


@dataclass(frozen=True)
class Detection:
    """A thing that a detector found."""

    score: float
    points: Floats
    """Its key points in pixels of the picture, float [N, 2]."""


class Detector:
    """A model that finds things of a kind in a region, and their key points."""

    def __init__(self, network: Network, strides: Sequence[int]) -> None:
        """Prepare the anchors for the strides of the model's layers, two boxes a cell each."""
        self._network = network
        self._anchors = anchors(network.size, strides)

    def __call__(self, picture: NDArray[np.uint8], region: Region) -> list[Detection]:
        """Return what is in the region, the likeliest first."""
        boxes, logits = self._network(picture, region, (0, 1))
        scores = sigmoid(logits[:, 0])
        likely = np.flatnonzero(scores >= _LEAST_SCORE)
        likely = likely[np.argsort(-scores[likely], kind="stable")]
        found = boxes[likely].reshape(len(likely), boxes.shape[1] // 2, 2) / self._network.size
        found[:, 0] += self._anchors[likely]
        found[:, 2:] += self._anchors[likely, None]
        return [
            Detection(score, region.project(points)) for score, points in averaged(found, scores[likely].astype(float))
        ]


def anchors(size: int, strides: Sequence[int]) -> Floats:
    """Return the centres of a detector's boxes in parts of its input, [N, 2]; cell by cell, equal strides together.

    >>> anchors(64, [16, 32, 32]).shape  # 4 x 4 cells of 2 boxes, 2 x 2 of 4
    (48, 2)
    """
    layers = []
    for stride in sorted(set(strides)):
        cells = size // stride
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(-1, 2)
        layers.append(grid.repeat(2 * list(strides).count(stride), axis=0))
    return np.concatenate(layers)


def averaged(found: NDArray[Any], scores: NDArray[np.float64]) -> Iterator[tuple[float, Floats]]:
    """Yield one score and its key points [N, 2] for each group of boxes that overlap, the likeliest first.

    Args:
        found: centre, size and key points of the boxes, float [M, 2 + N, 2], the likeliest first.
        scores: theirs, [M].
    """
    low, high = found[:, 0] - found[:, 1] / 2, found[:, 0] + found[:, 1] / 2
    areas = (high - low).prod(axis=1)
    left = np.arange(len(found))
    while len(left):
        first = left[0]
        common = (np.minimum(high[left], high[first]) - np.maximum(low[left], low[first])).clip(min=0).prod(axis=1)
        same = common > _LEAST_OVERLAP * (areas[left] + areas[first] - common)
        same[0] = True
        group = left[same]
        weights = scores[group]  # without np.average, whose checks take half of the time of this loop
        points = (found[group, 2:] * weights[:, None, None]).sum(axis=0) / weights.sum()
        yield float(scores[first]), points.astype(np.float32)
        left = left[~same]


def sigmoid(logits: Floats) -> Floats:
    """Return probabilities, without overflow however small they are."""
    return 0.5 + 0.5 * np.tanh(0.5 * logits)


@contextmanager
def _without_notes() -> Iterator[None]:
    """Keep what LiteRT writes to stderr when it opens a model, one line a process, out of progress bars."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
