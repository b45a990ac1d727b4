"""What a clip shows of a picture: landmarks in the coordinates of its crop, and the square around the signer.

The square is the one around the box of the clip's label, or it is found in the clip's own frames. From landmarks it
holds what they reach. From pixels no model is needed: it holds what moves. Arms and hands change a picture by much;
head and trunk sway, which changes it a little, and noise changes every frame anew. So it holds all that changes by
much, and what sways above and beside that: the head. A hand that hangs down at rest is held by neither.

A clip's frames wait until the last one has told where the signer is: whole, or scaled down where they would be more
than `MOST_PIXELS`. That bounds the memory of a clip by 100 MB of 8-bit 4:2:0; overlapping clips add up.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av import FFmpegError, VideoFrame
from av.filter import Graph
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import LARGEST_PART, SIGNER, ClipSpec, CropBox, LabelBox
from signprep.pipeline.clips import MadeClip
from signprep.pipeline.errors import DecodeError
from signprep.pipeline.landmarks.points import PARTS, SIGNER75, Points
from signprep.pipeline.video.preprocess import (
    SQUARE,
    FramePreprocessor,
    clear_unknown_tags,
    crop_and_fit,
    filter_graph,
)

_ARMS = tuple(
    (SIGNER75.index(f"{side}_elbow"), SIGNER75.index(f"{side}_wrist"), PARTS[f"{side}_hand"])
    for side in ("left", "right")
)
_REACHING = np.r_[0 : SIGNER75.index("left_hip"), PARTS["left_hand"], PARTS["right_hand"]]
"""Body above the hips, and hands."""
_HANGING = 0.8
"""A forearm hangs that goes down by more than this part of its length."""
_OUTLIERS = 0.05
"""Part of the time that a point may be outside the box on each side."""
_MARGIN = 1.3
MOST_PIXELS = 2**26
"""Pixels of a clip's waiting frames: 32 frames of 1920x1080 stay whole, 64 are scaled to 1364x766."""
_LOOK = 160
"""Pixels of the long side of the small grey pictures that are looked at."""
_LEAST_MOTION = 17.5
"""Levels of 255 by which a pixel changes that belongs to an arm or a hand; at least 5 times the picture's median."""
_LEAST_SWAY = 2.3
"""The same for the means of T / 4 frames, in which a head's sway is seen and noise is not; at least 3 times theirs."""
_MOST_OUTSIDE = 0.005
"""Part of the moving pixels that may lie outside the box on each side."""
_REACH = 1.0, 0.5
"""How far above and beside the motion sway is looked for, in sides of the motion's box."""
_HAIR = 0.12
"""Part of the found height that is hair above the face."""
_MOTION_MARGIN = 1.15
_LEAST_SIDE = 0.25
"""Least side of a square that was found, in shorter sides of the picture."""
_BEYOND = 0.1
"""Part of the picture by which a box in pixels may reach out of it, as detectors' do; one that reaches farther is of
another picture."""
_LEAST_PIXELS = 8
"""Least side of a label's box in the picture."""

_Mask = NDArray[np.bool_]


def made_clip(landmarks: Points, size: tuple[int, int], spec: ClipSpec, pixel_aspect: Fraction = SQUARE) -> MadeClip:
    """Return a clip of landmarks, float16 [T, 75, 3], with the box of its signer if the spec asks for it.

    Args are those of `in_crop`.
    """
    box = None
    if spec.crop == SIGNER:
        box = signer_box(landmarks, size, pixel_aspect)
        spec = with_box(spec, box)
    return MadeClip(in_crop(landmarks, size, spec, pixel_aspect).astype(np.float16), box)


def signer_box(landmarks: Points, size: tuple[int, int], pixel_aspect: Fraction = SQUARE) -> CropBox:
    """Return the square around what a signer reaches, 1.3 times as large; the centred one where nobody is seen.

    It holds head, arms and hands at nearly all times, but for a hand that hangs down at rest.

    Args:
        landmarks: float32 [T, 75, 3], x and y in parts of the upright picture's width and height.
        size: width and height of the upright picture in pixels.
        pixel_aspect: width of a pixel by its height.
    """
    places = np.where(landmarks[..., 2:] > 0, landmarks[..., :2], np.nan)
    sides = np.array([size[0] * float(pixel_aspect), size[1]])
    for elbow, wrist, hand in _ARMS:
        forearm = (places[:, wrist] - places[:, elbow]) * sides
        hangs = forearm[:, 1] > _HANGING * np.linalg.norm(forearm, axis=-1)  # never true of NaN
        places[hangs, wrist] = np.nan
        places[hangs, hand] = np.nan
    places = places[:, _REACHING]
    places = places[:, ~np.isnan(places).all(axis=(0, 2))]
    found = None
    if places.shape[1]:
        low, high = np.nanquantile(places, [_OUTLIERS, 1 - _OUTLIERS], axis=0)
        found = (*map(float, low.min(axis=0)), *map(float, high.max(axis=0)))
    return square_around(found, size, pixel_aspect, margin=_MARGIN)  # type: ignore[arg-type]


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


class SeenFrame(NamedTuple):
    """A decoded frame that waits for its clip's box."""

    frame: VideoFrame
    luma: NDArray[np.uint8]
    """Its small upright picture, [h, w]."""


class SignerClips:
    """Clips of pixels that show the signer, each by what moves in it: see `ClipMaker`."""

    def __init__(self, spec: ClipSpec, pixel_aspect: Fraction = SQUARE) -> None:
        """Prepare for the frames of one video, as `FramePreprocessor`."""
        self._spec = spec
        self._preprocess = FramePreprocessor(spec, pixel_aspect)
        self._graphs: dict[tuple[object, ...], Graph] = {}

    def frame(self, frame: VideoFrame) -> SeenFrame:
        """Return what is kept of a decoded frame. Raises DecodeError as `FramePreprocessor` does."""
        return SeenFrame(self._bounded(frame), self._grey(frame))

    def clip(self, frames: Sequence[SeenFrame], box: LabelBox | None = None) -> MadeClip:
        """Return the frames as one array, uint8, and their square.

        Raises DecodeError if the label's box is none of this picture.
        """
        width, height, pixel_aspect = self._preprocess.upright_size(frames[0].frame)
        if box is not None:
            told = box_in_picture(box, (width, height))
            shown = square_around(told, (width, height), pixel_aspect, margin=1, least=0)
        else:
            found = moving_box([seen.luma for seen in frames])
            shown = square_around(found, (width, height), pixel_aspect, margin=_MOTION_MARGIN)
        preprocess = self._preprocess.with_spec(with_box(self._spec, shown))
        # Neighbouring times often show the same frame.
        stored = {id(seen): preprocess(seen.frame) for seen in {id(seen): seen for seen in frames}.values()}
        return MadeClip(np.stack([stored[id(seen)] for seen in frames]), shown)

    def _bounded(self, frame: VideoFrame) -> VideoFrame:
        """Return a frame, smaller where T of them would be more than `MOST_PIXELS`."""
        part = (MOST_PIXELS / (self._spec.num_frames * frame.width * frame.height)) ** 0.5
        if part >= 1:
            return frame
        width, height = (max(2, int(side * part) // 2 * 2) for side in (frame.width, frame.height))
        return self._scaled(frame, [], width, height, frame.format.name)

    def _grey(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the small upright picture of a frame, [h, w]: grey alone is scaled in half the time of colours."""
        width, height, pixel_aspect = self._preprocess.upright_size(frame)
        shown = width * float(pixel_aspect), float(height)
        small = [max(2, round(_LOOK * side / max(shown) / 2) * 2) for side in shown]
        clear_unknown_tags(frame)
        grey = self._scaled(frame, self._preprocess.orientation(frame), small[0], small[1], "gray")
        return np.asarray(grey.to_ndarray(), np.uint8)

    def _scaled(
        self, frame: VideoFrame, orientation: Sequence[str], width: int, height: int, pixel_format: str
    ) -> VideoFrame:
        """Return a frame turned and scaled. Raises DecodeError if that cannot be done."""
        kind = (
            frame.format.name,
            frame.width,
            frame.height,
            frame.colorspace,
            frame.color_range,
            *orientation,
            pixel_format,
        )
        try:
            if kind not in self._graphs:
                size = f"scale={width}:{height}:flags=area+accurate_rnd+bitexact"
                self._graphs[kind] = filter_graph(frame, [*orientation, size, f"format={pixel_format}"])
            self._graphs[kind].push(frame)
            scaled = self._graphs[kind].pull()
        except (FFmpegError, ValueError, OSError) as error:
            told = f"{frame.width}x{frame.height} {frame.format.name}"
            raise DecodeError(f"a frame of {told} cannot be scaled ({error})") from error
        assert isinstance(scaled, VideoFrame)
        return scaled


def with_box(spec: ClipSpec, box: CropBox) -> ClipSpec:
    """Return the spec of a clip whose box was found."""
    return replace(spec, crop=",".join(map(repr, box)))


def box_in_picture(box: LabelBox, size: tuple[int, int]) -> CropBox:
    """Return the part of a label's box that lies in the picture.

    Args:
        box: in parts of the upright picture, or in its pixels.
        size: width and height of the upright picture in pixels.

    Raises DecodeError if it is none of this picture.

    >>> box_in_picture((0.5, -0.1, 1.2, 1.0), (200, 100)), box_in_picture((50, 0, 100, 90), (200, 100))
    ((0.5, 0.0, 1.0, 1.0), (0.25, 0.0, 0.5, 0.9))
    """
    in_pixels = max(box[2:]) > LARGEST_PART
    sides = np.array([*size, *size], np.float64)
    parts = np.array(box) / sides if in_pixels else np.array(box)
    x0, y0, x1, y1 = parts.clip(0, 1).tolist()
    is_of_it = not in_pixels or max(parts[2:]) <= 1 + _BEYOND
    if not (is_of_it and min((x1 - x0) * size[0], (y1 - y0) * size[1]) >= _LEAST_PIXELS):
        told = ", ".join(f"{number:g}" for number in box)
        unit = "pixels; was the video scaled after it was made?" if in_pixels else "its width and height"
        raise DecodeError(f"the box {told} of its label is no part of a picture of {size[0]}x{size[1]} in {unit}")
    return x0, y0, x1, y1


def square_around(
    found: CropBox | None,
    size: tuple[int, int],
    pixel_aspect: Fraction = SQUARE,
    *,
    margin: float,
    least: float = _LEAST_SIDE,
) -> CropBox:
    """Return the square around a box, moved into the picture and no larger than it: whole pixels, from even ones on.

    Args:
        found: in parts of the upright picture, or None for the centred square.
        size: width and height of the upright picture in pixels.
        pixel_aspect: width of a pixel by its height.
        margin: factor of the box's longer side.
        least: least side, in shorter sides of the picture.

    >>> square_around((0.5, 0.0, 0.6, 0.2), (1000, 500), margin=1.3)
    (0.484, 0.0, 0.614, 0.26)
    """
    width, height = size
    if found is None:
        (left, top, across, down), _ = crop_and_fit(width, height, ClipSpec(), pixel_aspect)
    else:
        x0, y0, x1, y1 = found
        shown = width * float(pixel_aspect)
        side = max(margin * max((x1 - x0) * shown, (y1 - y0) * height), least * min(shown, height))
        down = max(1, round(min(side, shown, height)))
        across = max(1, min(width, round(down / pixel_aspect)))
        left, top = (
            min(max(round((low + high) / 2 * whole - part / 2), 0), whole - part) // 2 * 2
            for low, high, whole, part in ((x0, x1, width, across), (y0, y1, height, down))
        )
    return left / width, top / height, (left + across) / width, (top + down) / height


def moving_box(lumas: Sequence[NDArray[np.uint8]]) -> CropBox | None:
    """Return the box (x0, y0, x1, y1) of the signer in small pictures of a clip, None where nothing moves.

    Args:
        lumas: T pictures, uint8 [h, w]; the box is in parts of their width and height.
    """
    if len({luma.shape for luma in lumas}) > 1:
        return None
    pictures = np.stack(lumas)
    num_frames, height, width = pictures.shape
    motion = pictures.max(axis=0) - pictures.min(axis=0)
    count = max(1, num_frames // 4)
    total = pictures[:count].sum(axis=0, dtype=np.uint16)  # of at most 256 frames
    low, high = total.copy(), total.copy()
    for leaving, coming in zip(pictures[:-count], pictures[count:], strict=True):
        total += coming
        total -= leaving
        np.minimum(low, total, out=low)
        np.maximum(high, total, out=high)
    sway = (high - low) / np.float32(count)
    sways = sway > max(_LEAST_SWAY, 3 * float(np.median(sway)))
    # Opened, so that the outlines of the trunk, which may sway by much, do not count.
    moves = _opened(motion > max(_LEAST_MOTION, 5 * float(np.median(motion))))
    if not moves.any():
        moves = _opened(sways)
    if not moves.any():
        return None
    (x0, x1), (y0, y1) = (_quantiles(moves.sum(axis=axis)) for axis in (0, 1))
    side = max(x1 - x0, y1 - y0)
    up, beside = (part * side for part in _REACH)
    left, right = max(0, int(x0 - beside)), int(np.ceil(x1 + beside))
    top, bottom = max(0, int(y0 - up)), int(np.ceil(y1))
    near = sways[top:bottom, left:right]
    columns, rows = (np.flatnonzero(near.sum(axis=axis) >= 2) for axis in (0, 1))
    if len(columns) and len(rows):
        x0, x1 = min(x0, left + float(columns[0])), max(x1, left + float(columns[-1]) + 1)
        y0 = min(y0, top + float(rows[0]))
    y0 += _HAIR * (y1 - y0)
    return x0 / width, y0 / height, x1 / width, y1 / height


def _opened(mask: _Mask) -> _Mask:
    """Return those parts of a mask that hold 3x3 pixels: thin lines and single pixels go."""
    for combine in (np.logical_and, np.logical_or):
        padded = np.pad(mask, 1)
        rows = combine(combine(padded[:-2], padded[1:-1]), padded[2:])
        mask = combine(combine(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return mask


def _quantiles(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return where the moving pixels begin and end along an axis, but for outliers."""
    parts = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    low, high = np.interp([_MOST_OUTSIDE, 1 - _MOST_OUTSIDE], parts, np.arange(len(parts)))
    return float(low), float(high)
