"""The joints of the figure in the picture: arms by inverse kinematics from the palms, then a camera for each view.

In: poses of a take, a signer and a view. Out: `Joints`, every point of the figure at every frame in sides of the
picture's square about its centre, x right, y down. A whole take is computed at once, so that a frame costs next to
nothing. The camera is weakly perspective, about 4 squares away.
"""

from dataclasses import dataclass

import numpy as np

from signprep.pipeline.synthetic.motion import FRAMES_PER_SECOND, Floats, Performance, poses
from signprep.pipeline.synthetic.signers import Signer

VIEW_DEGREES = {"F": (0, 0), "U": (0, 25), "D": (0, -25), "L": (35, 0), "R": (-35, 0)}
"""Yaw and pitch of the camera of each view: towards the picture's left, and upwards."""

_CAMERA_DISTANCE = 4.0
_PIVOT_Y = 0.07
"""Height of the point before the chest, below the picture's centre."""
_UPPER_ARM, _FOREARM = 0.235, 0.255
"""Lengths of a figure of scale 1, the second to the middle of the palm."""

# Points that move with the trunk: x, y, z about the point that palms are measured from.
_TRUNK = {
    "head": (0, -0.335, 0.012), "skull": (0, -0.352, -0.018), "fringe": (0, -0.416, 0.04),
    "neck_top": (0, -0.27, 0), "neck_base": (0, -0.19, 0),
    "collar_0": (-0.05, -0.225, 0), "collar_1": (0.05, -0.225, 0),
    "shoulder_0": (-0.14, -0.145, 0), "shoulder_1": (0.14, -0.145, 0),
    "hip_0": (-0.105, 1.0, 0), "hip_1": (0.105, 1.0, 0),
    "eye_0": (-0.031, -0.345, 0.058), "eye_1": (0.031, -0.345, 0.058),
    "brow_0": (-0.032, -0.367, 0.058), "brow_1": (0.032, -0.367, 0.058),
    "mouth_0": (-0.02, -0.287, 0.06), "mouth": (0, -0.282, 0.063), "mouth_1": (0.02, -0.287, 0.06),
    "nose": (0, -0.315, 0.076),
    "lock_0": (-0.068, -0.22, -0.03), "lock_1": (0.068, -0.22, -0.03),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Joints:
    """Points of the figure at every frame, as one view sees them.

    Those of the trunk are [N, 2], those of the arms [N, 2, 2]: frame, arm, x and y. Hand shapes are N pairs.
    """

    trunk: dict[str, Floats]
    shoulders: Floats
    elbows: Floats
    palms: Floats
    fingers: Floats
    nearer_arm: int
    """The arm that is drawn last."""
    shapes: tuple[tuple[str, str], ...]
    scale: float


def film(performance: Performance, signer: Signer, view: str) -> Joints:
    """Return the joints of a performance as a view's camera sees them."""
    hands = poses(performance, dominant_arm=signer.dominant_arm)
    sway = _sway(performance)
    wide = np.array([signer.shoulder_scale, 1, 1])
    shoulders = np.array([_TRUNK["shoulder_0"], _TRUNK["shoulder_1"]]) * wide + np.zeros((len(sway), 1, 1))
    elbows, palms = bend_arms(shoulders, hands.palms)
    along = _unit(palms - elbows)
    # Signing hands point up and a little to the other side; hanging ones go on along the arm.
    up = _unit(np.array([[0.3, -1, 0.25], [-0.3, -1, 0.25]]))
    raised = hands.raised[..., None]
    fingers = palms + 0.088 * _unit(along * (1 - 0.6 * raised) + up * 0.9 * raised)

    place = np.add(signer.centre, (0, _PIVOT_Y))

    def project(points: Floats) -> Floats:
        moved = points + sway.reshape(-1, *(1,) * (points.ndim - 2), 3)
        return project_points(moved * signer.body_scale, view) + place

    trunk = {
        name: project(np.array(point) * (wide if name.startswith(("shoulder", "hip")) else 1) + np.zeros_like(sway))
        for name, point in _TRUNK.items()
    }
    return Joints(
        trunk=trunk,
        shoulders=project(shoulders),
        elbows=project(elbows),
        palms=project(palms),
        fingers=project(fingers),
        # From the side the arm on the camera's side covers the other; else the moving hand stays in sight.
        nearer_arm={"L": 0, "R": 1}.get(view, signer.dominant_arm),
        shapes=hands.shapes,
        scale=signer.body_scale,
    )


def _sway(performance: Performance) -> Floats:
    """Return a slow shift of the whole figure [N, 3], so that a resting figure is not frozen."""
    seconds = np.arange(performance.num_frames) / FRAMES_PER_SECOND
    phase = performance.sway_phase
    x = 0.004 * np.sin(2 * np.pi * 0.22 * seconds + phase)
    y = 0.002 * np.sin(2 * np.pi * 0.3 * seconds + 2 * phase)
    return np.stack([x, y, 0 * x], axis=-1)


def bend_arms(shoulders: Floats, palms: Floats) -> tuple[Floats, Floats]:
    """Return elbows and palms [N, 2, 3]; a palm out of reach is brought to a stretched arm's end."""
    reach = palms - shoulders
    distance = np.linalg.norm(reach, axis=-1, keepdims=True)
    direction = reach / distance
    distance = distance.clip(0.06, 0.99 * (_UPPER_ARM + _FOREARM))
    cosine = (_UPPER_ARM**2 + distance**2 - _FOREARM**2) / (2 * _UPPER_ARM * distance)
    cosine = cosine.clip(-1, 1)
    # Elbows go down, outwards and a little back.
    hint = np.array([[-0.6, 1, -0.35], [0.6, 1, -0.35]])
    outwards = _unit(hint - (hint * direction).sum(axis=-1, keepdims=True) * direction)
    elbows = shoulders + _UPPER_ARM * (cosine * direction + np.sqrt(1 - cosine**2) * outwards)
    return elbows, shoulders + distance * direction


def project_points(points: Floats, view: str) -> Floats:
    """Return where [..., 3] appear, [..., 2], relative to the point that palms are measured from."""
    yaw, pitch = np.radians(VIEW_DEGREES[view])
    x, y, z = np.moveaxis(points, -1, 0)
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    y, z = y * np.cos(pitch) + z * np.sin(pitch), z * np.cos(pitch) - y * np.sin(pitch)
    return np.stack([x, y], axis=-1) / (1 - z[..., None] / _CAMERA_DISTANCE)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
