"""Anti-aliased shapes painted straight into a Y plane and half-size U and V planes.

In: shapes in pixels. Out: changed planes. Coverage comes from signed distances, computed only inside a shape's
bounding box; chroma takes every second pixel's coverage. The trade-off: numpy only, about 1 ms for a
figure at 640 x 360, without any drawing library.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.synthetic.signers import Colour

Plane = NDArray[np.uint8]
Distances = NDArray[np.float32]
Points = NDArray[np.floating]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels: even, half-open, inside the picture."""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Planes that shapes are painted into."""

    y: Plane
    """[H, W]."""
    u: Plane
    """[H/2, W/2]."""
    v: Plane

    def box(self, low: Points, high: Points) -> Box | None:
        """Return the even box about two corners, or None when nothing of it is in the picture."""
        height, width = self.y.shape
        x0, y0 = (max(0, int(side) - 2 & ~1) for side in low)
        x1, y1 = int(high[0]) + 3 & ~1, int(high[1]) + 3 & ~1
        x1, y1 = min(width, x1), min(height, y1)
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    def capsules(
        self,
        starts: Points,
        ends: Points,
        radii: Points,
        colour: Colour,
        *,
        rim: float = 0,
        rim_pixels: float = 1,
    ) -> None:
        """Paint the union of K capsules: starts and ends [K, 2], radii [K, 2] at both ends.

        `rim` is how much darker the last `rim_pixels` before the edge become.
        """
        reach = radii.max()
        box = self.box(np.minimum(starts, ends).min(0) - reach, np.maximum(starts, ends).max(0) + reach)
        if box is None:
            return
        x, y = _grid(box)
        axis = (ends - starts).astype(np.float32)
        length_squared = (axis**2).sum(-1) + np.float32(1e-6)
        nearest: Distances | None = None
        for (x0, y0), (dx, dy), squared, (r0, r1) in zip(
            starts.astype(np.float32), axis, length_squared, radii.astype(np.float32), strict=True
        ):
            px, py = x - x0, y - y0
            along = px * (dx / squared) + py * (dy / squared)
            np.clip(along, 0, 1, out=along)
            off_x = px - along * dx
            off_y = py - along * dy
            off_x *= off_x
            off_y *= off_y
            off_x += off_y
            distance = np.sqrt(off_x, out=off_x)
            along *= r1 - r0
            distance -= along
            distance -= r0
            nearest = distance if nearest is None else np.minimum(nearest, distance, out=nearest)
        assert nearest is not None
        self._paint(box, nearest, colour, rim, rim_pixels)

    def ellipse(
        self,
        centre: Points,
        radii: tuple[float, float],
        colour: Colour,
        *,
        rim: float = 0,
        rim_pixels: float = 1,
    ) -> None:
        """Paint an upright ellipse with its centre (x, y) and radii (x, y)."""
        box = self.box(centre - np.array(radii), centre + np.array(radii))
        if box is None:
            return
        x, y = _grid(box)
        across, down = ((x - centre[0]) / radii[0]) ** 2, ((y - centre[1]) / radii[1]) ** 2
        distance = np.sqrt((across + down).astype(np.float32))
        distance -= 1
        distance *= min(radii)
        self._paint(box, distance, colour, rim, rim_pixels)

    def convex(self, corners: Points, colour: Colour, *, rim: float = 0, rim_pixels: float = 1) -> None:
        """Paint a convex polygon with its corners [K, 2] clockwise."""
        box = self.box(corners.min(0), corners.max(0))
        if box is None:
            return
        x, y = _grid(box)
        edges = np.roll(corners, -1, axis=0) - corners
        normals = np.stack([edges[:, 1], -edges[:, 0]], -1) / np.linalg.norm(edges, axis=-1, keepdims=True)
        offsets = (corners * normals).sum(-1)
        distance = np.full((y.shape[0], x.shape[1]), -np.inf, np.float32)
        for (normal_x, normal_y), offset in zip(normals, offsets, strict=True):
            np.maximum(distance, (x * normal_x - offset).astype(np.float32) + y * np.float32(normal_y), out=distance)
        self._paint(box, distance, colour, rim, rim_pixels)

    def _paint(self, box: Box, distance: Distances, colour: Colour, rim: float, rim_pixels: float) -> None:
        x0, y0, x1, y1 = box
        coverage = np.clip(np.float32(0.5) - distance, 0, 1)
        luma: Distances | float = colour[0]
        if rim:
            distance *= rim / rim_pixels
            distance += rim
            luma = colour[0] - np.clip(distance, 0, rim, out=distance)
        _blend(self.y[y0:y1, x0:x1], luma, coverage)
        coverage = coverage[::2, ::2]
        half = (slice(y0 // 2, y1 // 2), slice(x0 // 2, x1 // 2))
        _blend(self.u[half], colour[1], coverage)
        _blend(self.v[half], colour[2], coverage)


def _grid(box: Box) -> tuple[Distances, Distances]:
    """Centres of a box's pixels: x [1, w] and y [h, 1]."""
    x0, y0, x1, y1 = box
    return np.arange(x0, x1, dtype=np.float32)[None] + 0.5, np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5


def _blend(plane: Plane, level: Distances | float, coverage: Distances) -> None:
    change = level - plane.astype(np.float32)
    change *= coverage
    change += plane
    change += 0.5
    plane[...] = change  # truncates, hence the half
