"""From the frames of a clip to its landmarks, by the way of MediaPipe's holistic graph.

A detector finds the largest person; the next frames look where the last landmarks were, until the person is lost.
The body's points tell where hands and face are likely to be; small models look there and say precisely where, and what
was found in the frame before is used instead where both agree. Nothing outlives a clip, or a stream that is followed.

MediaPipe can also smooth landmarks over time, which delays fast hands and supposes an even frame rate: left out here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from av import VideoFrame
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.landmarks.mediapipe.models import (
    FACE_DETECTION,
    FACE_MESH,
    HAND,
    HAND_CROP,
    POSE,
    POSE_DETECTION,
    model_paths,
)
from signprep.pipeline.landmarks.mediapipe.networks import Detector, Network, require_packages, sigmoid
from signprep.pipeline.landmarks.mediapipe.regions import (
    Floats,
    Region,
    Steady,
    Tracking,
    hand_region_of_hand,
    hand_region_of_pose,
    region_around,
    region_of_box,
    whole,
)
from signprep.pipeline.landmarks.points import from_mediapipe
from signprep.pipeline.video.preprocess import SQUARE, FramePreprocessor

_LEAST_PRESENCE = 0.5
"""A body, hand or face whose model is less sure that there is one is not there."""
_LEAST_WRIST = 0.1
"""A hand is looked for if its wrist is visible with this probability."""
_NUM_POINTS = (33, 21, 21, 468)
"""Points of body, left hand, right hand and face."""
_NUM_BODY = 33
"""Two points follow, that tell where the body is: the hips' centre, and one on the circle around the body."""
_SCALE_BODY = 1.25
_HEATMAP = 64
_WINDOW = np.arange(-4, 5)
"""Cells of a heatmap around a point that are averaged: 9, as MediaPipe computes, whose graph says 7."""
_AROUND = _WINDOW[:, None] * _HEATMAP + _WINDOW
"""How much farther each of these cells is in a flat heatmap, row by row."""
_LEAST_HEAT = 0.5
_LEFT_HAND, _RIGHT_HAND = (15, 17, 19), (16, 18, 20)
"""Wrist, little finger's and index finger's knuckle among the body's points."""
_NUM_FACE_OF_BODY = 11
_RIGHT_EYE_OF_BODY, _LEFT_EYE_OF_BODY = 5, 2
_RIGHT_EYE_OF_FACE, _LEFT_EYE_OF_FACE = 33, 263


_PICTURE = ClipSpec(size=640, crop="full", pixels="rgb24")


class PictureFrames:
    """Callable from decoded frames to what the models see: upright, square pixels, a long side of 640.

    It works on the frames that a clip's pixels are made of, so that nothing is decoded twice.
    """

    def __init__(self, pixel_aspect: Fraction = SQUARE) -> None:
        """Prepare for the frames of one video, as `FramePreprocessor`."""
        self._preprocess = FramePreprocessor(_PICTURE, pixel_aspect)

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """Return the picture, uint8 [H, W, 3]. Raises DecodeError as `FramePreprocessor` does."""
        return self._preprocess.without_bars(frame)

    def upright_size(self, frame: VideoFrame) -> tuple[int, int, Fraction]:
        """Return width, height and a pixel's aspect of a decoded frame once it is upright."""
        return self._preprocess.upright_size(frame)


@dataclass(eq=False)
class Track:
    """What a frame leaves for the next one of its stream: see `LandmarkExtractor.follow`."""

    region: Region | None = None
    """Where the person was; None to look everywhere."""
    steady: Steady = field(default_factory=Steady)
    seen: list[Floats | None] = field(default_factory=lambda: [None, None, None])
    """x and y in pixels of left hand, right hand and face, [21, 2], [21, 2] and [468, 2]; None where none was seen."""


class LandmarkExtractor:
    """Callable from a clip's frames to its landmarks. One belongs to one thread; it keeps its models open."""

    def __init__(self, folder: Path | None = None) -> None:
        """Open the models.

        Args:
            folder: where they lie; the user's own folder by default.

        Raises SignprepError if they are not there, or the extra's packages are not installed.
        """
        require_packages()
        paths = model_paths(folder)
        body = Network(paths[POSE_DETECTION], low=-1.0, black_outside=True)
        # These two only say where to look more closely, in every frame.
        hand = Network(paths[HAND_CROP], nearest=True)
        face = Network(paths[FACE_DETECTION], low=-1.0, black_outside=True, nearest=True)
        self._body = _BodyModel(Detector(body, (8, 16, 32, 32, 32)), Network(paths[POSE]))
        self._hand = _HandModel(hand, Network(paths[HAND]))
        self._face = _FaceModel(Detector(face, (8, 16, 16, 16)), Network(paths[FACE_MESH]))

    def __call__(self, frames: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> Floats:
        """Return the landmarks of a clip.

        Args:
            frames: upright RGB frames in their order, uint8 [T, H, W, 3] or T of [H, W, 3]; a long side of about 640
                pixels is enough.

        Returns:
            float32 [T, 75, 3] in the order of `points.SIGNER75`: x and y in parts of the picture, and confidence in
            0..1. What was not seen, or lies outside the picture, is NaN with confidence 0.
        """
        track, found = Track(), _zeros(len(frames))
        height, width = frames[0].shape[:2] if len(frames) else (1, 1)
        for number, picture in enumerate(frames):
            self._look(picture, track, [part[number] for part in found])
        return from_mediapipe(*found, size=(width, height))

    def follow(self, picture: NDArray[np.uint8], track: Track) -> Floats:
        """Return the landmarks of a stream's next frame, found near those of the frame before.

        Args:
            picture: upright RGB, uint8 [H, W, 3].
            track: a new one for the stream's first frame; it is changed for the next one. Any extractor may go on.

        Returns:
            float32 [75, 3], as of a clip.
        """
        found = _zeros(1)
        self._look(picture, track, [part[0] for part in found])
        height, width = picture.shape[:2]
        return from_mediapipe(*found, size=(width, height))[0]

    def _look(self, picture: NDArray[np.uint8], track: Track, out: Sequence[Floats]) -> None:
        """Write x, y in pixels and confidence of body, hands and face to `out`, zeros of [points, 3]."""
        body, left, right, face = out
        pose = self._body(picture, track)
        if pose is None:
            track.seen = [None, None, None]
            return
        body[:] = pose
        track.seen = [
            self._hand(picture, body, _LEFT_HAND, track.seen[0], left),
            self._hand(picture, body, _RIGHT_HAND, track.seen[1], right),
            self._face(picture, body[:_NUM_FACE_OF_BODY, :2], track.seen[2], face),
        ]


def _zeros(num_frames: int) -> list[Floats]:
    """Return a place for the points of each part, [T, points, 3]."""
    return [np.zeros((num_frames, count, 3), np.float32) for count in _NUM_POINTS]


class _BodyModel:
    """Finds the largest person's 33 points, frame by frame."""

    def __init__(self, detector: Detector, landmarks: Network) -> None:
        self._detect, self._landmarks = detector, landmarks

    def __call__(self, picture: NDArray[np.uint8], track: Track) -> Floats | None:
        """Return x, y in pixels and visibility of the points, [33, 3]; None if nobody is there.

        The track's region and steadiness are made those for the next frame.
        """
        found = None if track.region is None else self._in_region(picture, track.region, track)
        if found is None:
            track.region, track.steady = None, Steady()
            around = [
                region_around(*one.points[:2].tolist()).scaled(_SCALE_BODY)
                for one in self._detect(picture, whole(picture))
            ]
            if around:
                found = self._in_region(picture, max(around, key=lambda one: one.size), track)
        return found

    def _in_region(self, picture: NDArray[np.uint8], region: Region, track: Track) -> Floats | None:
        if not region.usable:
            return None
        numbers, presence, heatmap = self._landmarks(picture, region, (0, 1, 3))
        if not presence[0] > _LEAST_PRESENCE:
            return None
        raw = numbers.reshape(-1, 5)
        points = region.project(refined(raw[:, :2] / self._landmarks.size, heatmap))
        where = points[_NUM_BODY : _NUM_BODY + 2]
        centre, rim = track.steady(where, region_around(*where.tolist()).size).tolist()
        track.region = region_around(centre, rim).scaled(_SCALE_BODY)
        return np.column_stack([points[:_NUM_BODY], sigmoid(raw[:_NUM_BODY, 3])])


def refined(points: NDArray[Any], heatmap: Floats) -> Floats:
    """Return points in parts of a region, [N, 2], moved to the heat's centre around them where there is enough.

    Args:
        points: as the model gives them.
        heatmap: logits [64, 64, N].
    """
    cells = np.trunc(points * _HEATMAP).astype(np.int64)
    columns, rows = cells[:, :1] + _WINDOW, cells[:, 1:] + _WINDOW
    inside = ((columns >= 0) & (columns < _HEATMAP))[:, None] & ((rows >= 0) & (rows < _HEATMAP))[:, :, None]
    centre = (cells[:, 1] * _HEATMAP + cells[:, 0]) * len(points) + np.arange(len(points))
    cell = centre[:, None, None] + _AROUND * len(points)
    heat = sigmoid(np.take(heatmap, cell, mode="clip")) * inside
    total = np.maximum(heat.sum(axis=(1, 2)), np.float32(1e-9))
    across, down = (heat.sum(axis=1) * columns).sum(axis=1), (heat.sum(axis=2) * rows).sum(axis=1)
    centres = np.stack([across, down], axis=1) / (_HEATMAP * total[:, None])
    moved = ((points >= 0) & (cells < _HEATMAP)).all(axis=1) & (heat.max(axis=(1, 2)) >= _LEAST_HEAT)
    return np.where(moved[:, None], centres, points).astype(np.float32)


class _HandModel:
    """Finds the 21 points of a hand."""

    _tracking = Tracking(degrees=40, translation=0.2, scale=0.4, margin=-0.1)

    def __init__(self, crop: Network, landmarks: Network) -> None:
        self._crop, self._landmarks = crop, landmarks

    def __call__(
        self, picture: NDArray[np.uint8], pose: Floats, which: Sequence[int], before: Floats | None, out: Floats
    ) -> Floats | None:
        """Write x, y in pixels and confidence of the hand to `out`, [21, 3], and return x and y; None if none is seen.

        Args:
            picture: the frame.
            pose: the body's points, [33, 3].
            which: of them wrist, little finger's and index finger's knuckle.
            before: the hand's points in the frame before, [21, 2].
            out: zeros.
        """
        if not pose[which[0], 2] > _LEAST_WRIST:
            return None
        region = hand_region_of_pose(*pose[list(which), :2].tolist())
        if not region.usable:
            return None
        (numbers,) = self._crop(picture, region, (0,))
        centre, rim = region.project(numbers.reshape(2, 2) / self._crop.size).tolist()
        region = region_around(centre, rim, -90)
        region = region.shifted(-0.1 * region.size)
        if before is not None:
            region = self._tracking.choose(region, hand_region_of_hand(before), before)
        if not region.usable:
            return None
        numbers, presence = self._landmarks(picture, region, (0, 1))
        return _written(region.project(numbers.reshape(-1, 3)[:, :2] / self._landmarks.size), presence[0], out)


class _FaceModel:
    """Finds the 468 points of a face's mesh."""

    _tracking = Tracking(degrees=15, translation=0.1, scale=0.3, margin=-0.2)

    def __init__(self, detector: Detector, landmarks: Network) -> None:
        self._detect, self._landmarks = detector, landmarks

    def __call__(self, picture: NDArray[np.uint8], pose: Floats, before: Floats | None, out: Floats) -> Floats | None:
        """Write x, y in pixels and confidence of the face to `out`, [468, 3], and return x and y; None if none is seen.

        Args:
            picture: the frame.
            pose: the body's points of the face in pixels, [11, 2].
            before: the face's points in the frame before, [468, 2].
            out: zeros.
        """
        region = region_of_box(pose, _RIGHT_EYE_OF_BODY, _LEFT_EYE_OF_BODY, 3)
        found = self._detect(picture, region) if region.usable else []
        if not found:
            return None
        region = region_of_box(found[0].points, 0, 1, 2, -0.1)
        if before is not None:
            earlier = region_of_box(before, _RIGHT_EYE_OF_FACE, _LEFT_EYE_OF_FACE, 1.5)
            region = self._tracking.choose(region, earlier, before)
        if not region.usable:
            return None
        numbers, logit = self._landmarks(picture, region, (0, 1))
        points = region.project(numbers.reshape(-1, 3)[:, :2] / self._landmarks.size)
        return _written(points, sigmoid(logit.reshape(-1))[0], out)


def _written(points: Floats, presence: float, out: Floats) -> Floats | None:
    """Write points and their confidence to `out` and return the points, if their model is sure enough of them."""
    if not presence > _LEAST_PRESENCE:
        return None
    out[:, :2], out[:, 2] = points, presence
    return points
