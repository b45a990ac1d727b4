"""The order of landmarks that signprep stores, `SIGNER75`, and how each origin's points become it.

13 points of the body, 21 of the left hand, 21 of the right hand, 20 of the face. Left and right are the signer's own,
whatever side of the picture that is. In: an origin's points in pixels of the upright picture. Out: float32
[..., 75, 3]: x and y in parts of the picture's width and height, confidence in 0..1; what was not seen, or lies outside
the picture, is NaN with confidence 0.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
_Part = Points | None

BODY = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
)  # fmt: skip
"""What OpenPose's 25 points and MediaPipe's 33 have in common."""
_FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND = ("wrist", *(f"{finger}_{joint}" for finger in _FINGERS for joint in "1234"))
"""A hand: its wrist, and each finger's joints from the palm to the tip. All origins have these 21 in this order."""
FACE = (
    *(f"right_brow_{number}" for number in "12345"),
    *(f"left_brow_{number}" for number in "12345"),
    "right_mouth_corner", "upper_lip_right", "upper_lip", "upper_lip_left", "left_mouth_corner", "lower_lip_left",
    "lower_lip", "lower_lip_right", "upper_lip_inside", "lower_lip_inside",
)  # fmt: skip
"""The right brow from the ear to the nose, the left one from the nose to the ear, and the lips."""
SIGNER75 = (*BODY, *(f"left_hand_{name}" for name in HAND), *(f"right_hand_{name}" for name in HAND), *FACE)
NUM_POINTS = len(SIGNER75)
PARTS = {"body": slice(0, 13), "left_hand": slice(13, 34), "right_hand": slice(34, 55), "face": slice(55, 75)}

OPENPOSE_BODY = (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9)
"""For each point of the body, its number in OpenPose's BODY_25."""
OPENPOSE_FACE = (17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 48, 50, 51, 52, 54, 56, 57, 58, 62, 66)
"""For each point of the face, its number among OpenPose's 70, which are the 68 of iBUG and the pupils."""
MEDIAPIPE_BODY = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24)
"""For each point of the body, its number among MediaPipe's 33."""
MEDIAPIPE_FACE = (
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 61, 37, 0, 267, 291, 314, 17, 84, 13, 14
)  # fmt: skip
"""For each point of the face, its number in MediaPipe's mesh of 468."""
_WHOLE_HAND = tuple(range(len(HAND)))
_OPENPOSE = {"body": OPENPOSE_BODY, "left_hand": _WHOLE_HAND, "right_hand": _WHOLE_HAND, "face": OPENPOSE_FACE}
_MEDIAPIPE = {"body": MEDIAPIPE_BODY, "left_hand": _WHOLE_HAND, "right_hand": _WHOLE_HAND, "face": MEDIAPIPE_FACE}


SEEN_PARTS = ("body", "left_hand", "right_hand")


def seen_fraction(landmarks: NDArray[np.floating]) -> list[float]:
    """Return which part of the points of `SEEN_PARTS` was seen, of all frames of a clip [T, 75, 3] together."""
    seen = landmarks[..., 2] > 0
    return [float(seen[:, PARTS[name]].mean()) for name in SEEN_PARTS]


def from_openpose(body: _Part, left_hand: _Part, right_hand: _Part, face: _Part, *, size: tuple[int, int]) -> Points:
    """Return the landmarks for OpenPose's, as AIHub delivers them; a part that is None was not seen.

    Args:
        body: x, y in pixels and confidence of BODY_25, [..., 25, 3].
        left_hand: those of the signer's left hand, [..., 21, 3].
        right_hand: those of the right one.
        face: those of the face, [..., 70, 3].
        size: width and height of the picture in pixels.
    """
    return _in_order({"body": body, "left_hand": left_hand, "right_hand": right_hand, "face": face}, _OPENPOSE, size)


def from_mediapipe(body: _Part, left_hand: _Part, right_hand: _Part, face: _Part, *, size: tuple[int, int]) -> Points:
    """Return the landmarks for MediaPipe's; a part that is None was not seen.

    Args:
        body: x, y in pixels and visibility of the pose, [..., 33, 3].
        left_hand: x, y and confidence of the signer's left hand, [..., 21, 3].
        right_hand: those of the right one.
        face: those of the face's mesh, [..., 468, 3].
        size: width and height of the picture in pixels.
    """
    return _in_order({"body": body, "left_hand": left_hand, "right_hand": right_hand, "face": face}, _MEDIAPIPE, size)


def _in_order(
    parts: Mapping[str, Points | None], tables: Mapping[str, tuple[int, ...]], size: tuple[int, int]
) -> Points:
    """Return the points in the stored order; those without confidence or outside the picture are not seen."""
    before = np.broadcast_shapes(*(part.shape[:-2] for part in parts.values() if part is not None))
    out = np.full((*before, NUM_POINTS, 3), (np.nan, np.nan, 0), np.float32)
    for name, part in parts.items():
        if part is not None:
            out[..., PARTS[name], :] = part[..., list(tables[name]), :]
    out[..., :2] /= np.array(size, np.float32)
    return mark_unseen(out)


def mark_unseen(points: Points) -> Points:
    """Set points without confidence or outside the picture to NaN with confidence 0, in place, and return them.

    Args:
        points: [..., 75, 3], x and y in parts of the picture, and confidence.
    """
    place = points[..., :2]
    unseen = ~(((place >= 0) & (place <= 1)).all(axis=-1) & (points[..., 2] > 0))
    points[..., 2].clip(0, 1, out=points[..., 2])
    points[unseen] = (np.nan, np.nan, 0)
    return points
