"""The signer's landmarks over the pictures of a rendered video.

In: the clips of landmarks that a model answers for, and the time of a picture. Out: lines drawn into the picture.
Nothing is looked for again: a picture between two frames of the clips has the points between theirs.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from signprep.pipeline.clip_spec import SIGNER, ClipSpec
from signprep.pipeline.clips import Clip
from signprep.pipeline.landmarks.crop import in_picture
from signprep.pipeline.landmarks.draw import bones
from signprep.pipeline.landmarks.points import Points

_LONGEST_GAP_SECONDS = 0.5
"""Frames of clips that are farther apart tell nothing about the time between them."""
_NEAR_SECONDS = 0.1
"""So far from a single frame of a clip its points are still shown."""
_WIDTHS = 240
"""The picture's longer side in widths of a line."""
_BORDER = 1


class LandmarkTrack:
    """The landmarks of a video over its time."""

    def __init__(self, clip_spec: ClipSpec) -> None:
        """Begin without frames; the spec is that of the clips."""
        self._clip_spec = clip_spec
        self._seconds: list[float] = []
        self._landmarks: list[Points] = []

    def add(self, clip: Clip) -> None:
        """Take the frames of a clip, unless a clip before it reaches into it: points follow one window, then the next.

        Args:
            clip: of landmarks; later ones end later.
        """
        if not self._seconds or clip.sampled_seconds[0] > self._seconds[-1]:
            self._seconds += clip.sampled_seconds.tolist()
            landmarks = clip.frames.astype(np.float32)
            if clip.crop_box is not None:  # each clip has its own: points go back into the picture
                corner, end = np.array(clip.crop_box, np.float32).reshape(2, 2)
                landmarks[..., :2] = landmarks[..., :2] * (end - corner) + corner
            self._landmarks += list(landmarks)

    def at(self, seconds: float, size: tuple[int, int]) -> Points | None:
        """Return the landmarks at a time of the video, float32 [75, 3]; None if no frame of a clip is near.

        Args:
            seconds: from the first frame that is shown.
            size: width and height of the upright picture, whose pixels are square. x and y are in its pixels.
        """
        after = int(np.searchsorted(self._seconds, seconds, side="right"))
        near = [place for place in (after - 1, after) if 0 <= place < len(self._seconds)]
        times = [self._seconds[place] for place in near]
        if len(near) == 2 and times[1] - times[0] <= _LONGEST_GAP_SECONDS:
            one, other = (self._landmarks[place] for place in near)
            share = np.float32((seconds - times[0]) / (times[1] - times[0]))
            between = one + share * (other - one)
            # What one of them does not show is where the nearer one has it.
            found = np.where(np.isfinite(between), between, one if share < 0.5 else other)
        else:
            place = min(near, key=lambda place: abs(self._seconds[place] - seconds), default=None)
            if place is None or abs(self._seconds[place] - seconds) > _NEAR_SECONDS:
                return None
            found = self._landmarks[place]
        found = found.copy() if self._clip_spec.crop == SIGNER else in_picture(found, size, self._clip_spec)
        found[:, :2] *= size
        return found


def draw_landmarks(planes: Sequence[NDArray[np.uint8]], landmarks: Points) -> None:
    """Draw landmarks into a picture, with a dark border that shows them on any background.

    Args:
        planes: Y [H, W], U and V [H/2, W/2], uint8, which are changed.
        landmarks: [75, 3], x and y in pixels; what was not seen is left out.
    """
    height, width = planes[0].shape
    seen = (landmarks[:, 2] > 0) & np.isfinite(landmarks[:, :2]).all(axis=1)
    all_lines, _ = bones()
    lines = np.flatnonzero(seen[all_lines].all(axis=1))
    thick = max(2, round(max(height, width) / _WIDTHS))
    ends = landmarks[all_lines[lines], :2]  # [lines, 2 ends, x and y]
    # Chroma has half the lines, so the part that is drawn into begins at an even place.
    low = (np.floor(ends.min(axis=(0, 1), initial=np.inf)) - 2 * thick).clip(0, (width, height)) // 2 * 2
    high = (np.ceil(ends.max(axis=(0, 1), initial=-np.inf)) + 2 * thick).clip(0, (width, height))
    if (high <= low).any():
        return
    (left, top), (right, bottom) = low.astype(int).tolist(), high.astype(int).tolist()
    image = Image.new("L", (right - left, bottom - top))
    draw = ImageDraw.Draw(image)
    moved = (ends - (left, top)).tolist()
    for wide, fills in ((thick + 2, [_BORDER] * len(lines)), (thick, (lines + _BORDER + 1).tolist())):
        for line, fill in zip(moved, fills, strict=True):
            draw.line([tuple(end) for end in line], fill=fill, width=wide)
            for x, y in line:
                draw.ellipse((x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2), fill=fill)
    drawn = np.asarray(image)
    for plane, values, step in zip(planes, _values().T, (1, 2, 2), strict=True):
        shown = drawn[::step, ::step]
        part = plane[top // step :, left // step :][: shown.shape[0], : shown.shape[1]]
        np.copyto(part, values[shown], where=shown > 0)


@cache
def _values() -> NDArray[np.uint8]:
    """Return Y, U and V, of limited-range BT.601, of nothing, the border and each line, [N, 3]."""
    rgb = np.concatenate([np.zeros((2, 3), np.uint8), bones()[1]]).astype(float)
    weights = np.array([[65.5, 128.6, 25.0], [-37.8, -74.2, 112.0], [112.0, -93.8, -18.2]]) / 255
    return (rgb @ weights.T + (16, 128, 128)).round().astype(np.uint8)
