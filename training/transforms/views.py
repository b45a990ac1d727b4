"""Views of a stored clip: the choices of its frames and crops that a model can be asked about, to average its answers.

In: what a cache stores and what a model takes. Out: distinct views, the plain one first. Each costs one run of the
model; the clip is read once.
"""

import math
from dataclasses import dataclass

from signprep.pipeline.clip_spec import ClipSpec
from signprep.training.model_spec.spec import ModelSpec

CROP_SIDE = 0.9
"""Side of a crop in parts of the stored picture's: the mean of those that training shows by default."""
CROP_SHIFTS = (-1.0, 1.0)
"""Crops lie at the picture's left and at its right edge, in the middle between top and bottom."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Frames and part of the picture that are shown of a stored clip."""

    frames: tuple[int, ...]
    """Places among the stored frames."""
    shift: float | None = None
    """Where the crop lies, from -1 at the left to 1 at the right; None shows the whole picture."""

    @property
    def matrix(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """The map from the model's picture to the stored one, as of `sampling_matrices`."""
        if self.shift is None:
            return (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
        return (CROP_SIDE, 0.0, self.shift * (1 - CROP_SIDE)), (0.0, CROP_SIDE, 0.0)


def num_views(clips: ClipSpec, model: ModelSpec) -> tuple[int, int]:
    """Return how many choices of frames there are, and how many of the picture.

    Frames are taken at equal distances; where the stored ones are a multiple of the model's, there are as many choices
    as the distance, in general stored / gcd(stored, model's). The picture is shown whole, or cropped at its left and
    right edge where the crops have no fewer pixels than the model takes; of landmarks, which models centre and
    scale, there is one choice.

    >>> num_views(ClipSpec(), ModelSpec(name="x", num_frames=4, crop_size=160))
    (4, 3)
    """
    in_time = clips.num_frames // math.gcd(clips.num_frames, model.num_frames)
    can_crop = model.content == "pixels" and round(CROP_SIDE * clips.size) >= model.crop_size
    return in_time, 1 + (len(CROP_SHIFTS) if can_crop else 0)


def views_of(clips: ClipSpec, model: ModelSpec, number: int) -> list[View]:
    """Return the first views of a clip: the plain one, other frames of the whole picture, then crops by turns.

    Each choice of frames is as far as can be from those before it; the crops of one choice come as often from the left
    as from the right. Raises ValueError if there are not so many.
    """
    in_time, in_space = num_views(clips, model)
    if not 1 <= number <= in_time * in_space:
        raise ValueError(f"views are {number}; there are {in_time * in_space}")
    found = []
    for place in range(number):
        turn, which = divmod(place, in_time)
        if not which:
            starts = _spread(in_time, min(in_time, number - place))
        frames = tuple(
            (frame * in_time + starts[which]) * clips.num_frames // (model.num_frames * in_time)
            for frame in range(model.num_frames)
        )
        shift = None if not turn else CROP_SHIFTS[(which + turn - 1) % len(CROP_SHIFTS)]
        found.append(View(frames=frames, shift=shift))
    return found


def _spread(length: int, number: int) -> list[int]:
    """Return so many places of a circle, the middle first, each as far as can be from those before it.

    >>> _spread(4, 4), _spread(16, 4)
    ([2, 0, 1, 3], [8, 0, 4, 12])
    """
    found = [length // 2]
    gaps = [_gap(place, found[0], length) for place in range(length)]
    while len(found) < number:
        found.append(max(range(length), key=lambda place: gaps[place]))
        gaps = [min(gap, _gap(place, found[-1], length)) for place, gap in enumerate(gaps)]
    return found


def _gap(place: int, other: int, length: int) -> int:
    return min((place - other) % length, (other - place) % length)
