"""Landmarks as pictures: the bones of body and hands, brows and lips, in a colour for each part."""

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.landmarks.points import PARTS, SIGNER75

_BODY = (
    ("left_shoulder", "right_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"), ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"), ("left_hip", "right_hip"), ("nose", "left_eye"), ("nose", "right_eye"),
    ("left_eye", "left_ear"), ("right_eye", "right_ear"),
)  # fmt: skip
_FINGERS = tuple((0, first) for first in (1, 5, 9, 13, 17)) + tuple(
    (joint, joint + 1) for first in (1, 5, 9, 13, 17) for joint in range(first, first + 3)
)
_PALM = ((5, 9), (9, 13), (13, 17))
_FACE = ((0, 1), (1, 2), (2, 3), (3, 4), (5, 6), (6, 7), (7, 8), (8, 9), *((n, n + 1) for n in range(10, 17)), (17, 10))
"""Brows, and the ring of the lips."""
_COLOURS = {
    "body": (200, 200, 200),
    "left_hand": (255, 150, 60),
    "right_hand": (90, 180, 255),
    "face": (150, 220, 150),
}
_BACKGROUND = 24
_LEAST_STEPS = 48
"""Dots that make a line, or as many as half the picture is wide, so that none has gaps."""


@cache
def bones() -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the ends of all lines among the points, [N, 2], and their colours in RGB, uint8 [N, 3]."""
    lines = {"body": [(SIGNER75.index(one), SIGNER75.index(other)) for one, other in _BODY]}
    for part, pairs in (("left_hand", _FINGERS + _PALM), ("right_hand", _FINGERS + _PALM), ("face", _FACE)):
        lines[part] = [(PARTS[part].start + one, PARTS[part].start + other) for one, other in pairs]
    ends = np.array([line for part in lines.values() for line in part])
    colours = np.array([_COLOURS[part] for part, found in lines.items() for _ in found], np.uint8)
    return ends, colours


def drawn(landmarks: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """Return pictures of landmarks, uint8 [..., size, size, 3] in RGB.

    Args:
        landmarks: [..., 75, 3], x and y in sides of the picture; what was not seen is left out.
        size: height and width of a picture in pixels.
    """
    pictures = np.full((*landmarks.shape[:-2], size, size, 3), _BACKGROUND, np.uint8)
    draw_over(pictures, landmarks)
    return pictures


def draw_over(pictures: NDArray[np.uint8], landmarks: NDArray[np.floating], *, border: bool = False) -> None:
    """Draw landmarks into pictures.

    Args:
        pictures: uint8 [..., S, S, 3] in RGB, C-contiguous, which are changed.
        landmarks: [..., 75, 3], x and y in sides of the picture; what was not seen is left out.
        border: draw dark edges, with which lines are seen on any ground.
    """
    clips = landmarks.reshape(-1, len(SIGNER75), 3).astype(np.float32)
    size = pictures.shape[-2]
    flat = pictures.reshape(len(clips), size, size, 3)
    seen: NDArray[np.bool_] = (clips[..., 2] > 0) & ~np.isnan(clips[..., 0] + clips[..., 1])
    lines, line_colours = bones()
    ends = clips[:, lines, :2]
    steps = np.linspace(0, 1, max(_LEAST_STEPS, size // 2), dtype=np.float32)[:, None]
    dots = ends[:, :, 0, None] + (ends[:, :, 1] - ends[:, :, 0])[:, :, None] * steps
    visible = np.broadcast_to(np.logical_and.reduce(seen[:, lines], axis=2)[:, :, None], dots.shape[:3])
    frame, line, _ = np.nonzero(visible)
    pixels = np.floor(dots[visible].clip(-1, 2) * size).astype(np.int64)
    thick = 2 if size >= (192 if border else 96) else 1
    layers = [(range(thick), line_colours[line])]
    if border:
        layers.insert(0, (range(-1, thick + 1), np.zeros_like(line_colours[line])))
    for reach, colours in layers:
        for right, down in product(reach, reach):
            x, y = pixels[:, 0] + right, pixels[:, 1] + down
            inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            flat[frame[inside], y[inside], x[inside]] = colours[inside]
