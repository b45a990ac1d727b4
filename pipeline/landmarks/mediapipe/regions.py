"""Square regions of a picture, upright or turned, as MediaPipe's graphs make them out of points.

In: points in pixels of the picture. Out: the region that a model is to see next. The constants of each use stand where
it is made; the rules follow MediaPipe's calculators of the same purpose, which are named.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_FARTHEST = 8192
"""A region that is larger, or farther away from the picture's corner, in pixels, is of no use."""
_PALM = [0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18]
"""Points of a hand that stay within its palm's square: wrist, and each finger up to its first joint but one."""
_INDEX_KNUCKLE, _MIDDLE_KNUCKLE, _RING_KNUCKLE = 5, 9, 13


@dataclass(frozen=True)
class Region:
    """A square of a picture, in pixels; it may reach beyond the picture."""

    x: float
    """The centre."""
    y: float
    size: float
    rotation: float
    """Radians, clockwise as seen."""

    @property
    def usable(self) -> bool:
        """Tell whether there is something to crop."""
        return max(abs(self.x), abs(self.y), self.size) < _FARTHEST and self.size >= 1 and math.isfinite(self.rotation)

    def scaled(self, scale: float) -> "Region":
        """Return the region around the same centre with a side `scale` times as long."""
        return Region(self.x, self.y, self.size * scale, self.rotation)

    def shifted(self, by: float) -> "Region":
        """Return the region moved along its own vertical axis by a number of pixels, downwards."""
        across, down = by * math.sin(self.rotation), by * math.cos(self.rotation)
        return Region(self.x - across, self.y + down, self.size, self.rotation)

    def project(self, points: NDArray[Any]) -> Floats:
        """Return points of the picture, in pixels, for points of the region in parts of its side; [N, 2] both."""
        cosine, sine = self.size * math.cos(self.rotation), self.size * math.sin(self.rotation)
        turned = np.array([[cosine, sine], [-sine, cosine]], np.float32)
        return (points - np.float32(0.5)) @ turned + np.array([self.x, self.y], np.float32)


def turn(start: Sequence[float], end: Sequence[float], degrees: float) -> float:
    """Return the rotation in radians, -pi to pi, that brings the way from start to end to an angle, 90 is upwards."""
    angle = math.radians(degrees) - math.atan2(-(end[1] - start[1]), end[0] - start[0])
    return angle - 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))


def region_around(centre: Sequence[float], rim: Sequence[float], degrees: float = 90) -> Region:
    """Return the region around a centre whose sides' middles are as far away as a second point (AlignmentPoints)."""
    size = 2 * math.hypot(rim[0] - centre[0], rim[1] - centre[1])
    return Region(centre[0], centre[1], size, turn(centre, rim, degrees))


def whole(picture: NDArray[Any]) -> Region:
    """Return the smallest square around a picture, [H, W, ...]."""
    height, width = picture.shape[:2]
    return Region(width / 2, height / 2, max(width, height), 0.0)


def region_of_box(points: Floats, start: int, end: int, scale: float, shift: float = 0.0) -> Region:
    """Return the region of the points' upright bounding box, turned so that the eyes are level (DetectionsToRects).

    Args:
        points: in pixels, float [N, 2].
        start: which of them is the one eye, as `end` the other.
        scale: the longer side of the box times this is the region's side.
        shift: the way down in parts of the box's height.
    """
    axes = np.ascontiguousarray(points.T)  # along which NumPy finds extremes many times faster
    (left, top), (right, bottom) = axes.min(axis=1).tolist(), axes.max(axis=1).tolist()
    rotation = turn(points[start].tolist(), points[end].tolist(), 0)
    box = Region((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top), rotation)
    return box.shifted(shift * (bottom - top)).scaled(scale)


def hand_region_of_pose(wrist: Sequence[float], little: Sequence[float], index: Sequence[float]) -> Region:
    """Return where a hand is likely to be, from the body's wrist and two knuckles (HandDetectionsFromPoseToRects)."""
    middle = [(2 * index[axis] + little[axis]) / 3 for axis in (0, 1)]
    size = 2 * math.hypot(middle[0] - wrist[0], middle[1] - wrist[1])
    found = Region(middle[0], middle[1], size, turn(wrist, middle, 90))
    return found.shifted(-0.1 * size).scaled(2.7)


def hand_region_of_hand(hand: Floats) -> Region:
    """Return where a hand is that was here in the frame before, from its 21 points (HandLandmarksToRect)."""
    knuckles = (hand[_INDEX_KNUCKLE] + hand[_RING_KNUCKLE]) / 2
    rotation = turn(hand[0].tolist(), ((knuckles + hand[_MIDDLE_KNUCKLE]) / 2).tolist(), 90)
    palm = hand[_PALM]
    centre = (palm.max(axis=0) + palm.min(axis=0)) / 2
    upright = _turned(palm - centre, -rotation)
    low, high = upright.min(axis=0), upright.max(axis=0)
    middle = _turned((low + high)[None] / 2, rotation)[0] + centre
    width, height = (high - low).tolist()
    found = Region(float(middle[0]), float(middle[1]), max(width, height), rotation)
    return found.shifted(-0.1 * height).scaled(2)


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """How much the region of the frame before may differ from the present one and still be used (RoiTracking).

    It usually lies better, because it was made of the points of the hand or face itself.
    """

    degrees: float
    translation: float
    """In parts of the present region's side, as `scale`."""
    scale: float
    margin: float
    """The present region, larger by this part, has to hold all points of the frame before."""

    def choose(self, now: Region, before: Region, points: Floats) -> Region:
        """Return the region to use, of the present frame or the one before.

        Args:
            now: found in the present frame.
            before: made of points of the frame before.
            points: all those points, in pixels, float [N, 2].
        """
        degrees = abs(math.degrees(before.rotation - now.rotation))
        if min(degrees, 360 - degrees) > self.degrees or abs(before.size - now.size) > self.scale * now.size:
            return now
        here = np.array([[now.x, now.y]], np.float32)
        apart = _turned(np.concatenate([[[before.x, before.y]], points]) - here, -now.rotation)
        if np.abs(apart[0]).max() > self.translation * now.size:
            return now
        return before if np.abs(apart[1:]).max() < (1 + self.margin) * now.size / 2 else now


class Steady:
    """Takes the trembling out of points that a region is made of: the slower they move, the more (OneEuroFilter).

    A frame counts as 1/30 s, as in MediaPipe's Python. Frames of a clip are farther apart, so points look faster and
    are smoothed less.
    """

    _frames_per_second = 30
    _least_cutoff_hertz, _slope, _speed_cutoff_hertz = 0.01, 10, 1

    def __init__(self) -> None:
        self._last: Floats | None = None
        self._smooth = self._speed = np.zeros(0, np.float32)

    def __call__(self, points: Floats, size: float) -> Floats:
        """Return the points [N, 2] of the next frame, smoothed; those of the first frame as they are.

        Args:
            points: in pixels.
            size: of what they belong to, in pixels; speeds are measured by it.
        """
        if self._last is None:
            self._smooth, self._speed = points, np.zeros_like(points)
        else:
            speed = (points - self._last) / max(size, 1e-6) * self._frames_per_second
            self._speed = self._speed + self._weight(self._speed_cutoff_hertz) * (speed - self._speed)
            weight = self._weight(self._least_cutoff_hertz + self._slope * np.abs(self._speed))
            self._smooth = self._smooth + weight * (points - self._smooth)
        self._last = points
        return self._smooth

    def _weight(self, cutoff_hertz: Any) -> Any:
        """Return how much of a new value a low-pass filter takes."""
        return 1 / (1 + self._frames_per_second / (2 * math.pi * cutoff_hertz))


def _turned(points: Floats, rotation: float) -> Floats:
    """Return points [N, 2] turned around the origin, clockwise as seen."""
    cosine, sine = math.cos(rotation), math.sin(rotation)
    return points @ np.array([[cosine, sine], [-sine, cosine]], np.float32)
