"""Signers: numbers as in AIHub, and a look that depends only on the seed and the number.

In: a seed and a signer's number. Out: a `Signer` of plain numbers. Colours are limited-range BT.601 YUV. Clothes
and backgrounds avoid the colours of skin, so that hands stay visible.
"""

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
"""Y, U, V in limited range: Y 16-235, U and V 16-240 about 128."""

_SKINS = ((246, 212, 188), (232, 190, 160), (216, 170, 138), (190, 140, 108), (160, 112, 84))
_HAIRS = ((22, 20, 22), (40, 28, 24), (70, 44, 30), (120, 84, 52), (150, 148, 150))
_CLOTHES = (
    (28, 32, 48), (24, 52, 96), (88, 24, 44), (28, 78, 60), (64, 44, 100), (52, 56, 62), (20, 90, 110), (112, 40, 84),
)  # fmt: skip
_BACKGROUNDS = (
    (168, 186, 204),
    (150, 180, 172),
    (178, 178, 186),
    (128, 156, 192),
    (140, 168, 140),
    (176, 166, 196),
)


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
