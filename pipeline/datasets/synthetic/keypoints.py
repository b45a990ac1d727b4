"""The true keypoints of a generated take in AIHub's form: a JSON file a frame, numbered as OpenPose numbers points.

In: the joints that the picture is drawn from. Out: 25 points of the body, 70 of the face and 21 of each hand, in
pixels, so that what a reader or an extractor finds can be compared with what is there.
"""

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from signprep.pipeline.datasets.synthetic.motion import Floats
from signprep.pipeline.datasets.synthetic.person import FINGERS, stretched_fingers, wrist_of
from signprep.pipeline.datasets.synthetic.signers import Joints, Signer

LEFT_ARM, RIGHT_ARM = 1, 0
"""Arms of the signer; arm 0 is at the picture's left."""
_CURLED_REACH = 0.12
"""The tip of a finger that lies in the palm."""


class Keypoints(NamedTuple):
    """Points of N frames: x and y in pixels and confidence 1, or 0, 0, 0 for a point that is outside the picture."""

    pose: Floats
    """[N, 25, 3], OpenPose's BODY_25: nose, neck, right arm, left arm, hips and legs (not drawn), eyes, ears, feet."""
    face: Floats
    """[N, 70, 3]: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47, lips 48-67, pupils 68-69, from the picture's left."""
    hand_left: Floats
    """[N, 21, 3]: the wrist, then four points of each finger, from the thumb."""
    hand_right: Floats


def keypoints_of(joints: Joints, signer: Signer, frame_size: tuple[int, int]) -> Keypoints:
    """Return the keypoints of all frames of a take, as the camera of a view sees them."""
    width, height = frame_size
    side = min(frame_size)
    size = side * signer.body_scale

    def at(points: Floats) -> Floats:
        return points * side + (width / 2, height / 2)

    trunk = {name: at(points) for name, points in joints.trunk.items()}
    elbows, palms, tips = at(joints.elbows), at(joints.palms), at(joints.fingers)
    wrists = wrist_of(palms, elbows, size)
    pose = np.full((len(palms), 25, 2), -1.0)
    pose[:, 0], pose[:, 1] = trunk["nose"], trunk["neck_base"]
    for arm, shoulder, hip, eye, ear in ((RIGHT_ARM, 2, 9, 15, 17), (LEFT_ARM, 5, 12, 16, 18)):
        pose[:, shoulder], pose[:, shoulder + 1] = at(joints.shoulders)[:, arm], elbows[:, arm]
        pose[:, shoulder + 2], pose[:, hip] = wrists[:, arm], trunk[f"hip_{arm}"]
        pose[:, eye] = trunk[f"eye_{arm}"]
        pose[:, ear] = trunk["head"] + (0.075 * size * (2 * arm - 1), 0)
    pose[:, 8] = (trunk["hip_0"] + trunk["hip_1"]) / 2
    left, right = (
        np.stack(
            [
                _hand(wrist, palm, tip, shapes[arm], arm, size)
                for wrist, palm, tip, shapes in zip(
                    wrists[:, arm], palms[:, arm], tips[:, arm], joints.shapes, strict=True
                )
            ]
        )
        for arm in (LEFT_ARM, RIGHT_ARM)
    )
    return Keypoints(*(_seen(points, frame_size) for points in (pose, _face(trunk, size), left, right)))


def _seen(points: Floats, frame_size: tuple[int, int]) -> Floats:
    """Return points [N, K, 2] with confidence 1 inside the picture, and 0, 0, 0 outside, as OpenPose writes them."""
    inside = ((points >= 0) & (points < frame_size)).all(axis=-1, keepdims=True)
    return np.where(inside, np.concatenate([points, inside], axis=-1), 0.0)


def _hand(wrist: Floats, palm: Floats, tip: Floats, shape: str, arm: int, size: float) -> Floats:
    """Return the 21 points of one hand, [21, 2]; fingers that are not stretched lie in the palm."""
    stretched, flat = FINGERS[shape], FINGERS["flat"]
    fingers = [*stretched, *((sideways, _CURLED_REACH) for sideways, _ in flat[len(stretched) :])]
    bases, tips = stretched_fingers(palm, tip, fingers, arm, size)
    joints = [base + (end - base) * part / 3 for base, end in zip(bases, tips, strict=True) for part in range(4)]
    return np.stack([wrist, *joints])


def _face(trunk: dict[str, Floats], size: float) -> Floats:
    """Return the 70 points of the face, [N, 70, 2], from what is drawn of it: an oval, brows, nose, eyes and lips."""

    def around(name: str, offsets: list[tuple[float, float]]) -> Floats:
        return trunk[name][:, None] + np.array(offsets) * size

    angles = np.linspace(np.pi, 0, 17)
    jaw = around("head", [(0.075 * float(np.cos(a)), 0.096 * float(np.sin(a))) for a in angles])
    brow = [(x, 0.0) for x in (-0.014, -0.007, 0.0, 0.007, 0.014)]
    bridge = around("nose", [(0, y) for y in (-0.03, -0.02, -0.01, 0.0)])
    nostrils = around("nose", [(x, 0.006) for x in (-0.012, -0.006, 0.0, 0.006, 0.012)])
    eye = [(-0.014, 0.0), (-0.006, -0.006), (0.006, -0.006), (0.014, 0.0), (0.006, 0.006), (-0.006, 0.006)]
    turns = np.arange(12) * np.pi / 6
    outer = around("mouth", [(-0.022 * float(np.cos(a)), -0.005 - 0.007 * float(np.sin(a))) for a in turns])
    inner = around("mouth", [(-0.018 * float(np.cos(a)), -0.005 - 0.003 * float(np.sin(a))) for a in turns[:12:3]])
    inner = np.repeat(inner, 2, axis=1)
    pupils = np.stack([trunk["eye_0"], trunk["eye_1"]], axis=1)
    brows, eyes = (
        [around(f"{name}_{arm}", offsets) for arm in (0, 1)] for name, offsets in (("brow", brow), ("eye", eye))
    )
    return np.concatenate([jaw, *brows, bridge, nostrils, *eyes, outer, inner, pupils], axis=1)


def keypoint_documents(keypoints: Keypoints) -> Iterator[str]:
    """Yield the JSON of each frame in AIHub's form, with the points in the picture's plane."""
    for parts in zip(*keypoints, strict=True):
        people = {
            f"{name}_keypoints_2d": points.round(3).ravel().tolist()
            for name, points in zip(Keypoints._fields, parts, strict=True)
        }
        yield json.dumps({"version": 1.3, "people": {"person_id": -1, **people}})
