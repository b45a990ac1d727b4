"""Landmarks in the coordinates of the crop that a clip of pixels would show."""

from fractions import Fraction

import numpy as np

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.landmarks.points import Points
from signprep.pipeline.video.preprocess import SQUARE, crop_and_fit


def in_crop(landmarks: Points, size: tuple[int, int], spec: ClipSpec, pixel_aspect: Fraction = SQUARE) -> Points:
    """Return landmarks with x and y in sides of the square that a clip of pixels has, instead of the picture's.

    Points outside the crop lie outside 0..1: they were seen, and stay.

    Args:
        landmarks: float32 [..., 75, 3], x and y in parts of the upright picture's width and height.
        size: width and height of the upright picture in pixels.
        spec: says which part of the picture is kept, and if it is centred between bars.
        pixel_aspect: width of a pixel by its height.
    """
    place, share = _place(size, spec, pixel_aspect)
    moved = landmarks.copy()
    moved[..., :2] = (landmarks[..., :2] - place) / share
    return moved


def in_picture(landmarks: Points, size: tuple[int, int], spec: ClipSpec, pixel_aspect: Fraction = SQUARE) -> Points:
    """Return landmarks with x and y in parts of the picture's width and height again: what `in_crop` was given."""
    place, share = _place(size, spec, pixel_aspect)
    moved = landmarks.copy()
    moved[..., :2] = landmarks[..., :2] * share + place
    return moved


def _place(size: tuple[int, int], spec: ClipSpec, pixel_aspect: Fraction) -> tuple[Points, Points]:
    """Return the corner of a clip's square, bars included, and its sides, in parts of the picture; (x, y) each."""
    (left, top, width, height), _ = crop_and_fit(*size, spec, pixel_aspect)
    shown = np.array([float(width * pixel_aspect), float(height)], np.float32)
    fit = shown / shown.max()
    sides = np.array([width, height], np.float32) / fit
    corner = np.array([left, top], np.float32) - sides * (1 - fit) / 2
    whole = np.array(size, np.float32)
    return corner / whole, sides / whole
