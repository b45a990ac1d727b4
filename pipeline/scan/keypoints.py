"""AIHub's keypoints, files that are one a frame, to facts: which frames there are, and what is wrong with some of them.

Of each clip that is opened the files are listed, and a few frames are read: with `deep` all of them.
"""

from collections.abc import Sequence
from pathlib import Path

from signprep.pipeline.datasets.files.data_root import path_on_disk
from signprep.pipeline.datasets.files.frame_files import FrameFiles, open_frames
from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.landmarks.keypoints import FRAMES_PER_SECOND, points_of_frame
from signprep.pipeline.runtime.text import counted
from signprep.pipeline.scan.database import Row, without_name

LOOKED_AT_FRAMES = 4
"""Frames of a clip that are read without `deep`, evenly from the first to the last."""
SHOWN_GAPS = 3
"""Gaps between frames that one message names."""


def probe_keypoints(root: Path, clips: list[tuple[int, str]], deep: bool) -> tuple[list[Row], list[Row]]:
    """Look into keypoints, given as (id, name of the clip's files).

    Returns:
        rows of clips (num_frames, rate, seconds, id) and of problems (kind, path, message).
    """
    rows: list[Row] = []
    problems: list[Row] = []
    for clip_id, name in clips:
        try:
            files = open_frames(*path_on_disk(root, name), checksums=False)
        except AnnotationError as error:
            problems.append(("keypoints-unreadable", name, without_name(str(error), root, name)))
            rows.append((None, None, None, clip_id))
            continue
        numbers = files.frames.numbers
        rows.append((len(numbers), FRAMES_PER_SECOND, (numbers[-1] + 1) / FRAMES_PER_SECOND, clip_id))
        if missing := _missing(numbers):
            problems.append(("keypoints-missing-frames", name, missing))
        problems += [(kind, name, message) for kind, message in _problems_of_frames(files, root, deep)]
    return rows, problems


def _missing(numbers: Sequence[int]) -> str:
    """Describe the frames that are missing before and between these, which ascend; nothing if there are none.

    >>> _missing([0, 1, 4, 5, 7])
    'frames 2 to 3, 6 are missing: it has 5 of 8'
    """
    gaps = [
        (before + 1, after - 1)
        for before, after in zip((-1, *numbers[:-1]), numbers, strict=True)
        if after > before + 1
    ]
    if not gaps:
        return ""
    shown = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in gaps[:SHOWN_GAPS])
    more = ", ..." if len(gaps) > SHOWN_GAPS else ""
    frames = "frame" if len(gaps) == 1 and gaps[0][0] == gaps[0][1] else "frames"
    return (
        f"{frames} {shown}{more} {'is' if frames == 'frame' else 'are'} missing: "
        f"it has {len(set(numbers))} of {numbers[-1] + 1}"
    )


def _problems_of_frames(files: FrameFiles, root: Path, deep: bool) -> list[tuple[str, str]]:
    """Read frames of a clip; return kind and message of what is wrong with them, one for each kind."""
    places = looked_at(len(files.frames.numbers), deep)
    bad: list[str] = []
    empty: list[int] = []
    for place in places:
        number = files.frames.numbers[place]
        try:
            if not points_of_frame(files.read(place), f"frame {number}").any():
                empty.append(number)
        except (AnnotationError, DecodeError) as error:
            bad.append(without_name(str(error), root, files.path.name).removeprefix(f"{files.path}: "))
    problems = []
    if bad:
        message = f"{bad[0]}; {len(bad)} {of_those(places)} cannot be read"
        problems.append(("keypoints-unreadable", message))
    if empty:
        problems.append(("keypoints-empty", shows_nobody(empty, places)))
    return problems


def looked_at(num_frames: int, deep: bool) -> Sequence[int]:
    """Return the places of the frames that are read: all of them with `deep`, else a few.

    >>> looked_at(100, deep=False)
    [0, 33, 66, 99]
    """
    last, step = num_frames - 1, LOOKED_AT_FRAMES - 1
    return range(num_frames) if deep else sorted({last * number // step for number in range(LOOKED_AT_FRAMES)})


def of_those(places: Sequence[int]) -> str:
    """Return which frames a number is one of, in words."""
    return f"of the {counted(len(places), 'frame')} that {'was' if len(places) == 1 else 'were'} looked at"


def shows_nobody(empty: Sequence[int], places: Sequence[int]) -> str:
    """Describe the numbers of frames that show nobody, among those at places that were looked at."""
    return f"frame {empty[0]} shows nobody; {len(empty)} {of_those(places)} are like that"
