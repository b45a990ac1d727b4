"""Signs as hand paths: gloss -> where both palms are at each moment of the sign.

In: a `Motion` (path x place x hands x shape) and times u in [0, 1]. Out: palm positions, x to the picture's right,
y down, z to the camera, in side lengths of the picture's largest square, about a point before the chest.
The trade-off: stylised strokes over 30-45 % of the picture instead of real signs, so that four frames of 112 x 112
tell them apart, and time must be looked at: the pairs 왼쪽/오른쪽 and 위/아래 pass through the same poses in opposite
order. Direction is the picture's for every signer; handedness only chooses the arm.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.synthetic.glosses import GLOSSES

Floats = NDArray[np.float64]

AMPLITUDE = 0.2
"""Half the length of a full stroke, in sides of the picture's square."""

_PI = np.pi

# Each path: progress s in [0, 1] -> x, y, z in [-1, 1].
PATHS: Mapping[str, Callable[[Floats], tuple[Floats, Floats, Floats]]] = MappingProxyType(
    {
        "left": lambda s: (1 - 2 * s, 0 * s, 0 * s),
        "right": lambda s: (2 * s - 1, 0 * s, 0 * s),
        "up": lambda s: (0 * s, 1 - 2 * s, 0 * s),
        "down": lambda s: (0 * s, 2 * s - 1, 0 * s),
        "circle-clockwise": lambda s: (0.8 * np.sin(2 * _PI * s), -0.8 * np.cos(2 * _PI * s), 0 * s),
        "shake": lambda s: (0.9 * np.sin(4 * _PI * s), 0 * s, 0 * s),
        "up-left": lambda s: (0.8 - 1.6 * s, 0.8 - 1.6 * s, 0 * s),
        "arch-right": lambda s: (-0.9 * np.cos(_PI * s), 0.5 - np.sin(_PI * s), 0 * s),
        "zigzag-down": lambda s: (0.8 * np.cos(3 * _PI * s), 1.8 * s - 0.9, 0 * s),
        "push": lambda s: (0 * s, 0.35 - 0.7 * s, 1.6 * s - 0.6),
        "down-right": lambda s: (1.6 * s - 0.8, 1.6 * s - 0.8, 0 * s),
        "circle-counterclockwise": lambda s: (-0.8 * np.sin(2 * _PI * s), -0.8 * np.cos(2 * _PI * s), 0 * s),
        "there-and-back": lambda s: (-np.cos(2 * _PI * s), 0 * s, 0 * s),
        "nod": lambda s: (0 * s, 0.9 * np.sin(4 * _PI * s), 0 * s),
        "up-right": lambda s: (1.6 * s - 0.8, 0.8 - 1.6 * s, 0 * s),
        "arch-left": lambda s: (0.9 * np.cos(_PI * s), 0.5 - np.sin(_PI * s), 0 * s),
        "eight": lambda s: (0.9 * np.sin(2 * _PI * s), 0.7 * np.sin(4 * _PI * s), 0 * s),
        "zigzag-up": lambda s: (0.8 * np.cos(3 * _PI * s), 0.9 - 1.8 * s, 0 * s),
        "down-left": lambda s: (0.8 - 1.6 * s, 1.6 * s - 0.8, 0 * s),
        "bowl-right": lambda s: (-0.9 * np.cos(_PI * s), np.sin(_PI * s) - 0.5, 0 * s),
        "pull": lambda s: (0 * s, 0.7 * s - 0.35, 1 - 1.6 * s),
        "bowl-left": lambda s: (0.9 * np.cos(_PI * s), np.sin(_PI * s) - 0.5, 0 * s),
    }
)

# Height of the place's centre (y down) and how far strokes go there.
PLACES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"chest": (0.0, 1.0), "face": (-0.14, 0.75), "belly": (0.12, 0.75)}
)

HANDS = ("one", "mirrored", "parallel", "on-base", "alternating")
SHAPES = ("flat", "point", "fist")

# Where a way of using both hands would look like another one: without sideways motion mirrored hands are
# parallel ones, and a sideways stroke that alternates is parallel or (there-and-back) mirrored.
_SAME_AS_ANOTHER = {
    *((path, "mirrored") for path in ("up", "down", "nod", "push", "pull")),
    *((path, "alternating") for path in ("left", "right", "shake", "there-and-back")),
}


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How one gloss is signed."""

    gloss: str
    path: str
    """Key of `PATHS`."""
    place: str
    """Key of `PLACES`."""
    hands: str
    """One of `HANDS`."""
    shape: str
    """One of `SHAPES`, of the moving hands."""


def ease(u: Floats) -> Floats:
    """Progress along a path at time u: starts and ends at rest, the same forwards and backwards.

    >>> ease(np.array([0.0, 0.5, 1.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    return (1 - np.cos(_PI * u)) / 2


def palm_positions(motion: Motion, u: Floats, *, dominant_arm: int) -> Floats:
    """Palms [N, 2, 3] at times u [N]; arm 0 is the one at the picture's left. An arm left hanging is NaN."""
    s = ease(u)
    place_y, extent = PLACES[motion.place]
    moving = np.stack(PATHS[motion.path](s), axis=-1)
    palms = np.full((len(u), 2, 3), np.nan)
    if motion.hands in ("one", "on-base"):
        palms[:, dominant_arm] = moving
        if motion.hands == "on-base":
            other_arm = 1 - dominant_arm
            palms[:, other_arm] = (0.5 * (2 * other_arm - 1), 0.75, 0.2)
    elif motion.hands == "parallel":
        palms[:, 0] = moving * (0.6, 1, 1) - (0.38, 0, 0)
        palms[:, 1] = moving * (0.6, 1, 1) + (0.38, 0, 0)
    else:
        other = moving if motion.hands == "mirrored" else np.stack(PATHS[motion.path](1 - s), axis=-1)
        palms[:, 0] = moving * (0.5, 1, 1) - (0.6, 0, 0)
        palms[:, 1] = other * (-0.5, 1, 1) + (0.6, 0, 0)
    palms *= AMPLITUDE * extent
    palms[..., 1] += place_y
    return palms


def _all_motions() -> tuple[Motion, ...]:
    fixed = [
        ("left", "one"),
        ("right", "one"),
        ("up", "one"),
        ("down", "one"),
        ("there-and-back", "mirrored"),
    ]
    chosen = [(path, "chest", hands) for path, hands in fixed]
    for number in range(len(PATHS) * len(PLACES) * len(HANDS)):
        # Neighbours in the list differ in everything; 3 places and 5 uses of hands are coprime, so none comes twice.
        path = tuple(PATHS)[number % len(PATHS)]
        turn = number + number // len(PATHS)
        place = tuple(PLACES)[turn % len(PLACES)]
        hands = HANDS[turn % len(HANDS)]
        if (path, hands) not in _SAME_AS_ANOTHER and (path, place, hands) not in chosen:
            chosen.append((path, place, hands))
    return tuple(
        Motion(gloss=gloss, path=path, place=place, hands=hands, shape=SHAPES[max(0, number - 4) % len(SHAPES)])
        for number, (gloss, (path, place, hands)) in enumerate(zip(GLOSSES, chosen, strict=False))
    )


MOTIONS = _all_motions()
"""One motion per gloss, in the order of `GLOSSES`; no two trajectories are alike."""
