import math
from typing import Any

import numpy as np
import pytest

from signprep.pipeline.landmarks import crops
from signprep.pipeline.landmarks.mediapipe.regions import Region, Tracking, region_around, turn

SIZE = 32


def noise(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def crop(frame: np.ndarray, region: Region, **how: Any) -> np.ndarray:
    out = np.empty((SIZE, SIZE, 3), np.float32)
    crops.crop(frame, region, out, **how)
    return out


def expected(frame: np.ndarray, region: Region) -> np.ndarray:
    """The same crop, position by position, as OpenCV 4 rounds: rows and columns to 1/1024, their sums to 1/32."""
    out = np.empty((SIZE, SIZE, 3))
    height, width = frame.shape[:2]
    start, across, down = region.project(np.array([[0, 0], [1 / SIZE, 0], [0, 1 / SIZE]], np.float64)).astype(float)
    for row in range(SIZE):
        for column in range(SIZE):
            fine = np.rint((across - start) * column * 1024) + np.rint(((down - start) * row + start) * 1024)
            x, y = np.clip((fine + 16) // 32 / 32, 0, (width - 1, height - 1)).tolist()
            left, top = int(x), int(y)
            lines = [
                frame[line, left] * (1 - x + left) + frame[line, min(left + 1, width - 1)] * (x - left)
                for line in (top, min(top + 1, height - 1))
            ]
            out[row, column] = lines[0] * (1 - y + top) + lines[1] * (y - top)
    return out


def test_an_upright_crop_of_the_same_scale_has_the_pixels_themselves() -> None:
    frame = noise()
    assert (crop(frame, Region(10 + SIZE / 2, 5 + SIZE / 2, SIZE, 0)) * 255).round().tolist() == frame[
        5 : 5 + SIZE, 10 : 10 + SIZE
    ].tolist()


@pytest.mark.parametrize("region", [Region(30, 20, 21, 0.4), Region(5, 35, 70, -2.5), Region(-9.3, 4.1, 16, 3.1)])
def test_turned_crops_are_bilinear_to_the_nearest_value_and_go_on_beyond_the_edge(region: Region) -> None:
    frame = noise()
    found = crop(frame, region) * 255
    assert np.abs(found - found.round()).max() < 1e-3
    # A position that lies half between two steps may be rounded to either.
    assert np.mean(np.abs(found - expected(frame, region)) <= 0.501) > 0.99


def test_the_nearest_pixels_are_as_near_as_can_be() -> None:
    frame, region = noise(), Region(30, 20, 30, 0.4)
    places = np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), axis=-1).reshape(-1, 2) / SIZE
    x, y = region.project(places).round().astype(int).T
    wanted = frame[y.clip(0, 39), x.clip(0, 59)].reshape(SIZE, SIZE, 3)
    assert np.mean((crop(frame, region, nearest=True) * 255).round() == wanted) > 0.99
    assert crop(frame, Region(-20, -20, 8, 0), nearest=True, black_outside=True).max() == 0


def test_outside_is_black_where_a_model_asks_for_it() -> None:
    white = np.full((20, 20, 3), 255, np.uint8)
    found = crop(white, Region(10, 10, 64, 0), low=-1.0, black_outside=True)
    assert found[16, 16].tolist() == pytest.approx([1, 1, 1]) and found[0, 0].tolist() == [-1, -1, -1]
    assert crop(white, Region(10, 10, 64, 0)).min() == pytest.approx(1)


def test_red_stays_red() -> None:
    frame = np.zeros((20, 20, 3), np.uint8)
    frame[..., 0], frame[..., 2] = 255, 51
    assert crop(frame, Region(10, 10, 10, 1)).reshape(-1, 3).max(axis=0).tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.parametrize("region", [Region(math.nan, 0, 5, 0), Region(0, 0, 0.5, 0), Region(0, 1e9, 5, 0)])
def test_a_region_that_is_none_is_known(region: Region) -> None:
    assert not region.usable


def test_a_quarter_turn_to_the_right_looks_to_the_right() -> None:
    assert turn((0, 0), (0, -5), 90) == pytest.approx(0)
    region = region_around((10, 10), (15, 10))
    assert (region.size, region.rotation) == (10, pytest.approx(math.pi / 2))
    assert region.project(np.float32([[0.5, 0]])).tolist() == [pytest.approx([15, 10])]


def test_the_region_of_the_frame_before_is_used_unless_it_differs() -> None:
    tracking = Tracking(degrees=40, translation=0.2, scale=0.4, margin=-0.1)
    now, points = Region(50, 50, 20, 3.1), np.float32([[52, 51], [45, 44]])
    for before, used in (
        (Region(52, 50, 22, -3.1), True),
        (Region(55, 50, 22, 3.1), False),
        (Region(50, 50, 30, 3.1), False),
        (Region(50, 50, 20, 2.3), False),
    ):
        assert tracking.choose(now, before, points) is (before if used else now)
    assert tracking.choose(now, Region(50, 50, 20, 3.1), np.float32([[50, 61]])) is now
