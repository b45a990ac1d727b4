"""Times: the span of a clip, the times of its frames, and the frame of a video that is shown at a time.

Frames are found by timestamps, never by index times average rate: a variable-rate file read by index was 13 frames
off. Times are compared in whole nanoseconds, so that 45/30 s and 1.5 s are the same moment whatever their rounding.
"""

from collections.abc import Sequence
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from signprep.pipeline.clip_spec import SEGMENT_SPAN, ClipSpec


class CleanStart(NamedTuple):
    """Where a video begins whose first packets cannot all be decoded."""

    packet_number: int
    """Of the first packet that is decoded, in decode order, from 0."""
    pts: int | None
    """Of the first frame that is shown; None where frames have no timestamps."""
    lost: frozenset[int] = frozenset()
    """Numbers of packets behind the first that give no frame, among the next few."""


def span_of_segment(start_seconds: float, end_seconds: float, spec: ClipSpec) -> tuple[float, float]:
    """Return the span [start, end) in seconds that a clip of this segment covers, before clipping to the video.

    >>> span_of_segment(1.0, 2.0, ClipSpec(margin_seconds=0.25))
    (0.75, 2.25)
    >>> span_of_segment(1.0, 2.0, ClipSpec(span=2.0))
    (0.5, 2.5)
    """
    if spec.span == SEGMENT_SPAN:
        return start_seconds - spec.margin_seconds, end_seconds + spec.margin_seconds
    middle, half = (start_seconds + end_seconds) / 2, float(spec.span) / 2
    return middle - half, middle + half


def sample_times(start_seconds: float, end_seconds: float, num_frames: int) -> NDArray[np.float64]:
    """Return the middles of `num_frames` equal parts of [start, end), in seconds, float64 [T].

    >>> sample_times(1.0, 2.0, 4).tolist()
    [1.125, 1.375, 1.625, 1.875]
    """
    middles = np.arange(num_frames, dtype=np.float64) + 0.5
    return start_seconds + middles * ((end_seconds - start_seconds) / num_frames)


def nanoseconds(seconds: Sequence[float] | NDArray[np.float64]) -> NDArray[np.int64]:
    """Round times in seconds to whole nanoseconds, int64."""
    return np.rint(np.asarray(seconds, dtype=np.float64) * 1e9).astype(np.int64)


def shown_frames(timestamps: Sequence[float] | NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return for each time the index of the frame shown then: the last with a timestamp <= that time.

    Args:
        timestamps: presentation times of all frames in seconds, ascending.
        times: moments in seconds.

    Returns:
        int64, the shape of `times`; -1 before the first frame.

    >>> shown_frames([0.0, 1 / 30, 2 / 30], np.array([0.0, 0.05, 9.0])).tolist()
    [0, 1, 2]
    """
    return np.searchsorted(nanoseconds(timestamps), nanoseconds(times), side="right") - 1


def declared_seconds(container: InputContainer, stream: VideoStream) -> float:
    """Return how long a container says that the stream lasts, 0 if it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    # Of several streams the container tells the longest only, which may be the sound.
    if not container.duration or len(container.streams) > 1:
        return 0.0
    # Matroska counts from 0, whenever the first frame is shown.
    return max(0.0, (container.duration - max(0, container.start_time or 0)) / av.time_base)


def nanoseconds_of(pts: int, stream: VideoStream) -> int:
    """Return a timestamp of the stream in nanoseconds, rounded once."""
    base = stream.time_base
    assert base is not None
    return (2 * pts * base.numerator * 10**9 + base.denominator) // (2 * base.denominator)
