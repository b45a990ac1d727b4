import numpy as np
import pytest

from signprep.pipeline.landmarks.mediapipe.extract import refined
from signprep.pipeline.landmarks.mediapipe.networks import anchors, averaged


@pytest.mark.parametrize(("size", "strides", "count"), [(224, (8, 16, 32, 32, 32), 2254), (128, (8, 16, 16, 16), 896)])
def test_each_box_of_a_detector_has_its_anchor(size: int, strides: tuple[int, ...], count: int) -> None:
    found = anchors(size, strides)
    assert found.shape == (count, 2)
    assert found[:3].tolist() == [pytest.approx([4 / size, 4 / size])] * 2 + [pytest.approx([12 / size, 4 / size])]
    assert found[-1].tolist() == pytest.approx([1 - strides[-1] / 2 / size] * 2)


def test_boxes_that_overlap_become_one_weighted_by_their_scores() -> None:
    boxes = np.array(
        [[[0.5, 0.5], [0.4, 0.4], [0.5, 0.3]], [[0.52, 0.5], [0.4, 0.4], [0.6, 0.3]], [[0.1, 0.1], [0.1, 0.1], [0, 0]]]
    )
    (score, points), (other, elsewhere) = averaged(boxes, np.array([0.9, 0.6, 0.5]))
    assert (score, other) == (0.9, 0.5)
    assert points.tolist() == [pytest.approx([0.54, 0.3])] and elsewhere.tolist() == [[0, 0]]
    assert list(averaged(boxes[:0], np.zeros(0))) == []


def test_a_point_moves_to_the_heat_around_it_where_there_is_enough() -> None:
    heat = np.full((64, 64, 4), -60, np.float32)
    heat[20, 33, 0] = heat[22, 33, 0] = 60  # in reach of the first
    heat[20, 40, 1] = 60  # out of reach of the second
    heat[20, 32, 2] = -1  # too little
    heat[:, :, 3] = 60
    points = np.float32([[0.5, 0.3], [0.5, 0.3], [0.5, 0.3], [1.2, 0.3]])
    found = refined(points, heat)
    assert found[0].tolist() == pytest.approx([33 / 64, 21 / 64])
    assert found[1:].tolist() == points[1:].tolist()
