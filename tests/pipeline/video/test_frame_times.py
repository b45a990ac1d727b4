import numpy as np
import pytest

from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.video.frame_times import sample_times, shown_frames, span_of_segment


def test_times_are_the_middles_of_equal_parts() -> None:
    assert sample_times(1.0, 2.0, 4).tolist() == [1.125, 1.375, 1.625, 1.875]


def test_a_frame_is_shown_from_its_timestamp_until_the_next() -> None:
    timestamps = [0.0, 0.1, 0.5]
    assert shown_frames(timestamps, np.array([0.0, 0.0999, 0.1, 0.4999, 0.5, 7.0])).tolist() == [0, 0, 1, 1, 2, 2]
    assert shown_frames(timestamps, np.array([-0.1])).tolist() == [-1]


def test_rounding_of_thirds_does_not_move_a_frame() -> None:
    timestamps = [k / 30 for k in range(91)]
    times = np.array([0.1 * 7 + 0.8, 45 / 30, 3 * 0.5])
    assert shown_frames(timestamps, times).tolist() == [45, 45, 45]


def test_spans_follow_the_segment_its_margin_or_a_window() -> None:
    assert span_of_segment(1.0, 2.0, ClipSpec()) == (1.0, 2.0)
    assert span_of_segment(1.0, 2.0, ClipSpec(margin_seconds=0.5)) == (0.5, 2.5)
    assert span_of_segment(1.0, 2.0, ClipSpec(span=3.0)) == (0.0, 3.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_frames": 0},
        {"size": 50},
        {"pixels": "rgba"},
        {"crop": "left"},
        {"crop": "0.5,0,0.2,1"},
        {"span": -1.0},
        {"margin_seconds": -0.1},
    ],
)
def test_a_spec_that_makes_no_clip_is_refused(fields: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        ClipSpec(**fields)
