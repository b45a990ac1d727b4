"""Signers: numbers as in AIHub, a look that depends only on the seed and the number, and the joints of their figure.

Colours are limited-range BT.601 YUV. Clothes and backgrounds avoid the colours of skin, so that hands stay visible.
Joints come from the palms by inverse kinematics, then from a weakly perspective camera for each view, about 4 squares
away. A whole take is computed at once, so that a frame costs next to nothing.
"""

from dataclasses import dataclass

import numpy as np

from signprep.pipeline.datasets.synthetic.motion import FRAMES_PER_SECOND, Floats, Performance, poses

Colour = tuple[float, float, float]
"""Y, U, V in limited range: Y 16-235, U and V 16-240 about 128."""

_SKINS = ((246, 212, 188), (232, 190, 160), (216, 170, 138), (190, 140, 108), (160, 112, 84))
_HAIRS = ((22, 20, 22), (40, 28, 24), (70, 44, 30), (120, 84, 52), (150, 148, 150))
_CLOTHES = (
    (28, 32, 48), (24, 52, 96), (88, 24, 44), (28, 78, 60), (64, 44, 100), (52, 56, 62), (20, 90, 110), (112, 40, 84),
)  # fmt: skip
_BACKGROUNDS = ((168, 186, 204), (150, 180, 172), (178, 178, 186), (128, 156, 192), (140, 168, 140), (176, 166, 196))


@dataclass(frozen=True, kw_only=True)
class Signer:
    """The look and habits of one signer. Scales and tempo (the duration of signs) are factors about 1."""

    number: int
    """1-18, as in REAL01."""
    body_scale: float
    shoulder_scale: float
    centre: tuple[float, float]
    """Shift (x, y) of the figure in the picture, in sides of its square."""
    dominant_arm: int
    """0: the arm at the picture's left (a right-handed signer), 1: the other."""
    tempo: float
    long_hair: bool
    skin: Colour
    hair: Colour
    clothes: Colour
    background: Colour


def signer_numbers(count: int) -> tuple[int, ...]:
    """Return the numbers of so many signers; the last two are 17 and 18, AIHub's validation signers.

    >>> signer_numbers(6)
    (1, 2, 3, 4, 17, 18)
    """
    if count < 3:
        return (1, 17)[:count]
    return (*range(1, count - 1), 17, 18)


def signer_look(seed: int, number: int) -> Signer:
    """Return the signer of a number."""
    # Palettes are shuffled for all signers together, so that neighbours do not look alike.
    shuffle = np.random.default_rng([seed, 0, 1])
    skins, hairs, clothings, backgrounds = (
        shuffle.permutation(palette) for palette in (_SKINS, _HAIRS, _CLOTHES, _BACKGROUNDS)
    )
    rng = np.random.default_rng([seed, number, 1])
    skin = skins[number % len(skins)] + rng.uniform(-8, 8)
    hair = hairs[rng.integers(len(hairs))] + rng.uniform(-6, 6)
    clothes = clothings[number % len(clothings)] + rng.uniform(-10, 10, 3)
    background = backgrounds[number % len(backgrounds)] + rng.uniform(-14, 14, 3)
    return Signer(
        number=number,
        body_scale=float(rng.uniform(0.92, 1.05)),
        shoulder_scale=float(rng.uniform(0.9, 1.1)),
        centre=(float(rng.uniform(-0.035, 0.035)), float(rng.uniform(-0.015, 0.015))),
        dominant_arm=int(number % 5 == 2),  # 2 and 17 among them: training and validation both have one
        tempo=float(rng.uniform(0.85, 1.2)),
        long_hair=bool(rng.random() < 0.45),
        skin=yuv_from_rgb(*skin),
        hair=yuv_from_rgb(*hair),
        clothes=yuv_from_rgb(*clothes),
        background=yuv_from_rgb(*background),
    )


def yuv_from_rgb(red: float, green: float, blue: float) -> Colour:
    """Return full-range RGB as limited-range BT.601.

    >>> yuv_from_rgb(255, 255, 255)
    (235.0, 128.0, 128.0)
    """
    red, green, blue = (float(np.clip(channel, 0, 255)) for channel in (red, green, blue))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return (
        round(16 + luma * 219 / 255, 6),
        round(128 + (blue - luma) / 1.772 * 224 / 255, 6),
        round(128 + (red - luma) / 1.402 * 224 / 255, 6),
    )


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

    They are in sides of the picture's square about its centre, x right, y down. Those of the trunk are [N, 2], those of
    the arms [N, 2, 2]: frame, arm, x and y. Hand shapes are N pairs.
    """

    trunk: dict[str, Floats]
    shoulders: Floats
    elbows: Floats
    palms: Floats
    fingers: Floats
    nearer_arm: int
    """The arm that is drawn last."""
    shapes: tuple[tuple[str, str], ...]


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
