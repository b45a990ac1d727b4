"""Pictures of a person: scikit-image's astronaut (NASA, in the public domain), with drawn hands, shifted and zoomed.

Her own hands are out of the picture. The drawn ones are spheres swept along bones, shaded: MediaPipe's models take them
for hands. NumPy alone, so that `make_reference.py` draws the same pictures in MediaPipe's own environment.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]

_SKIN, _SLEEVE = (224, 172, 140), (222, 96, 54)
_BONES = [  # from x, y to x, y, and the radius there and here, in a hand's length; fingers point up
    (0.00, 0.95, 0.00, 0.25, 0.24, 0.20, _SLEEVE),
    (0.00, 0.40, 0.00, 0.05, 0.17, 0.17, _SKIN),
    (-0.02, -0.05, -0.03, -0.38, 0.20, 0.23, _SKIN),
    (0.12, -0.12, 0.15, -0.36, 0.14, 0.15, _SKIN),
    (-0.20, -0.45, -0.30, -0.78, 0.06, 0.05, _SKIN),
    (-0.09, -0.52, -0.12, -0.98, 0.066, 0.054, _SKIN),
    (0.04, -0.54, 0.06, -1.06, 0.068, 0.055, _SKIN),
    (0.17, -0.50, 0.25, -0.94, 0.066, 0.054, _SKIN),
    (0.18, -0.20, 0.38, -0.42, 0.085, 0.07, _SKIN),
    (0.38, -0.42, 0.48, -0.62, 0.07, 0.058, _SKIN),
]


def astronaut() -> Picture | None:
    """Return scikit-image's picture, uint8 [512, 512, 3]; None where scikit-image is not installed."""
    found = find_spec("skimage")
    if found is None or found.origin is None:
        return None
    with Image.open(Path(found.origin).parent / "data" / "astronaut.png") as image:
        return np.asarray(image.convert("RGB"))


def with_hand(picture: Picture, wrist: tuple[float, float], length: float, degrees: float, *, thumb: int) -> Picture:
    """Return the picture with a hand.

    Args:
        picture: uint8 [H, W, 3].
        wrist: x and y in pixels.
        length: from the wrist to the middle finger's tip, in pixels.
        degrees: the way the fingers point, 0 is up, clockwise.
        thumb: 1 if it is on the picture's right, -1 if on the left.
    """
    left, top = (max(0, int(at - 1.3 * length)) for at in wrist)
    window = slice(top, int(wrist[1] + 1.3 * length)), slice(left, int(wrist[0] + 1.3 * length))
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]][(slice(None), *window)].astype(np.float64)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    across = ((columns - wrist[0]) * cosine + (rows - wrist[1]) * sine) / length * thumb
    along = ((rows - wrist[1]) * cosine - (columns - wrist[0]) * sine) / length
    out = picture[window].astype(np.float64)
    for x0, y0, x1, y1, radius0, radius1, colour in _BONES:
        dx, dy = x1 - x0, y1 - y0
        part = (((across - x0) * dx + (along - y0) * dy) / (dx * dx + dy * dy)).clip(0, 1)
        radius = radius0 + (radius1 - radius0) * part
        distance = np.hypot(across - x0 - part * dx, along - y0 - part * dy) / radius
        cover = ((1 - distance) * radius * length + 0.5).clip(0, 1)[..., None]
        light = 0.55 + 0.45 * np.sqrt((1 - distance * distance).clip(0, 1))[..., None]
        out = out * (1 - cover) + np.array(colour) * light * cover
    drawn = picture.copy()
    drawn[window] = (out + 0.5).astype(np.uint8)
    return drawn


def moved(picture: Picture, zoom: float, right: float, down: float) -> Picture:
    """Return a copy that is zoomed around its corner and shifted; its outermost pixels go on where it ends."""
    height, width = picture.shape[:2]
    x = ((np.arange(width) - right) / zoom).clip(0, width - 1)
    y = ((np.arange(height) - down) / zoom).clip(0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    part_x, part_y = (x - left)[:, None], (y - top)[:, None, None]
    lines = picture[top] * (1 - part_y) + picture[top + 1] * part_y
    return (lines[:, left] * (1 - part_x) + lines[:, left + 1] * part_x + 0.5).astype(np.uint8)


def clips() -> dict[str, list[Picture]] | None:
    """Return the clips that the reference is of, by name; None where scikit-image is not installed."""
    person = astronaut()
    if person is None:
        return None
    smaller = moved(person, 0.7, 77, 10)

    def signing(number: int) -> Picture:
        left = with_hand(smaller, (400 - 2 * number, 300 - 4 * number), 100, 3 * number, thumb=-1)
        return with_hand(left, (100 + 2 * number, 300 + 2 * number), 100, -2 * number, thumb=1)

    return {
        "astronaut": [person],
        "smaller": [smaller],
        "hands": [signing(0)],
        "mirrored": [np.ascontiguousarray(signing(0)[:, ::-1])],
        "still": [person] * 4,
        "moving": [moved(person, 0.9 - 0.01 * number, 4 * number, 2 * number) for number in range(6)],
        "signing": [moved(signing(number), 1, 2 * number, 0) for number in range(8)],
    }
