"""Landmark files, `.pose`, NPZ and Parquet, to facts: their times, and what is wrong with the points of some frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from signprep.pipeline.datasets.files.video_files import DataRoots
from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.landmarks.files import LandmarkFile, open_landmark_file
from signprep.pipeline.scan.database import Row, without_name
from signprep.pipeline.scan.keypoints import SHOWN_GAPS, looked_at, of_those, shows_nobody

GAP_INTERVALS = 1.5
"""A frame is missing where two are farther apart than so many intervals between frames, the median one."""
MOST_OUTSIDE = 0.25
"""Hands and hips may leave the picture; a file with a larger part of its points outside is in other units."""
FRAMES_AT_ONCE = 4096


def probe_landmark_files(root: Path, files: list[tuple[int, str]], deep: bool) -> tuple[list[Row], list[Row]]:
    """Look into landmark files, given as (id, name).

    Returns:
        rows of files (num_frames, rate, seconds, id) and of problems (kind, path, message).
    """
    rows: list[Row] = []
    problems: list[Row] = []
    roots = DataRoots.single(root)
    for file_id, name in files:
        try:
            with (
                roots.opened(name) as source,
                open_landmark_file(cast(Path | BinaryIO, source), name) as opened,
                np.errstate(all="ignore"),  # numbers that are none are not seen
            ):
                found = _problems_of_times(opened.seconds) + _problems_of_points(opened, deep)
                rate = 1 / float(np.median(np.diff(opened.seconds))) if len(opened.seconds) > 1 else None
                rows.append((len(opened.seconds), rate, opened.end_seconds, file_id))
        except (AnnotationError, DecodeError, OSError) as error:
            found = [("landmarks-unreadable", without_name(str(error), root, name))]
            rows.append((None, None, None, file_id))
        problems += [(kind, name, message) for kind, message in found]
    return rows, problems


def _problems_of_times(seconds: NDArray[np.float64]) -> list[tuple[str, str]]:
    """Name the spans without a frame, before and between frames that are evenly shown elsewhere."""
    if len(seconds) < 2:
        return []
    intervals = np.diff(seconds)
    usual = float(np.median(intervals))
    gaps = [
        (float(seconds[n]) + usual, float(seconds[n + 1])) for n in np.flatnonzero(intervals > GAP_INTERVALS * usual)
    ]
    if seconds[0] > GAP_INTERVALS * usual:
        gaps.insert(0, (0.0, float(seconds[0])))
    if not gaps:
        return []
    shown = ", ".join(f"{start:.3f} to {end:.3f}" for start, end in gaps[:SHOWN_GAPS])
    expected = len(seconds) + sum(round((end - start) / usual) for start, end in gaps)
    more = ", ..." if len(gaps) > SHOWN_GAPS else ""
    message = f"no frame was found for {shown}{more} s: it has {len(seconds)} of {expected}"
    return [("landmarks-missing-frames", message)]


def _problems_of_points(opened: LandmarkFile, deep: bool) -> list[tuple[str, str]]:
    """Read frames of a file; return kind and message of what is wrong with them, one for each kind."""
    places = np.asarray(looked_at(len(opened.seconds), deep))
    empty: list[int] = []
    num_found = num_outside = 0
    for first in range(0, len(places), FRAMES_AT_ONCE):
        some = places[first : first + FRAMES_AT_ONCE]
        points = opened.read(some)
        place = points[..., :2]
        # A point at 0, 0 is one that was not found.
        is_found = np.isfinite(place).all(axis=-1) & place.any(axis=-1) & (points[..., 2] > 0)
        empty += some[~is_found.any(axis=-1)].tolist()
        num_found += int(is_found.sum())
        num_outside += int((is_found & ((place < 0) | (place > 1)).any(axis=-1)).sum())
    problems = []
    if empty:
        problems.append(("landmarks-empty", shows_nobody(empty, places.tolist())))
    if num_outside > MOST_OUTSIDE * num_found:
        problems.append(("landmarks-outside-picture", _outside(num_outside / num_found, places.tolist(), opened.size)))
    return problems


def _outside(fraction: float, places: Sequence[int], size: tuple[int, int] | None) -> str:
    picture = f" of {size[0]} x {size[1]} pixels" if size else ""
    return f"{fraction:.0%} of the points {of_those(places)} lie outside the picture{picture}"
