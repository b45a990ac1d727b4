"""Keypoints, files that are one a frame, to facts, in worker processes; and their checks against labels.

Of each clip that is opened the files are listed, and a few frames are read: with `deep` all of them. The trade-off: a
single damaged frame between good ones is found by `deep` only.
"""

from collections.abc import Sequence
from pathlib import Path

from signprep.pipeline.datasets.files.data_root import path_on_disk
from signprep.pipeline.datasets.files.frame_files import FrameFiles, open_frames
from signprep.pipeline.errors import AnnotationError, DecodeError
from signprep.pipeline.landmarks.keypoints import FRAMES_PER_SECOND, points_of_frame
from signprep.pipeline.options import SAMPLED_VIDEOS, ScanOptions
from signprep.pipeline.runtime.machine import in_processes
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.runtime.text import counted
from signprep.pipeline.scan.database import Row, ScanDatabase, without_name

KEYPOINTS_A_CHUNK, DEEP_KEYPOINTS_A_CHUNK = 128, 8
LOOKED_AT_FRAMES = 4
"""Frames of a clip that are read without `deep`, evenly from the first to the last."""
SHOWN_GAPS = 3
"""Gaps between frames that one message names."""


def collect_keypoint_facts(root: Path, options: ScanOptions, database: ScanDatabase) -> None:
    """Open the keypoints of all clips, or of a sample, and note what they tell."""
    total = database.value("SELECT COUNT(*) FROM keypoints WHERE used")
    if options.probe == "none" or not total:
        return
    step = max(1, total // SAMPLED_VIDEOS) if options.probe == "sample" else 1
    query = f"SELECT id, name FROM keypoints WHERE used AND id > :after AND id % {step} = 0 ORDER BY id LIMIT :size"
    size = DEEP_KEYPOINTS_A_CHUNK if options.deep else KEYPOINTS_A_CHUNK
    calls = ((root, rows, options.deep) for rows in database.chunks(query, size))
    with progress_bar("Opening keypoints", total // step, "clips") as progress:
        done = 0
        for clips, problems in in_processes(probe_keypoints, calls, options.workers):
            database.executemany("UPDATE keypoints SET probed = 1, num_frames = ?, seconds = ? WHERE id = ?", clips)
            database.add_problems(problems)
            progress(done := done + len(clips))


def probe_keypoints(root: Path, clips: list[tuple[int, str]], deep: bool) -> tuple[list[Row], list[Row]]:
    """Look into keypoints, given as (id, name of the clip's files).

    Returns:
        rows of clips (num_frames, seconds, id) and of problems (kind, path, message).
    """
    rows: list[Row] = []
    problems: list[Row] = []
    for clip_id, name in clips:
        try:
            files = open_frames(*path_on_disk(root, name), checksums=False)
        except AnnotationError as error:
            problems.append(("keypoints-unreadable", name, without_name(str(error), root, name)))
            rows.append((None, None, clip_id))
            continue
        numbers = files.frames.numbers
        rows.append((len(numbers), (numbers[-1] + 1) / FRAMES_PER_SECOND, clip_id))
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
    last = len(files.frames.numbers) - 1
    step = LOOKED_AT_FRAMES - 1
    places = range(last + 1) if deep else sorted({last * number // step for number in range(LOOKED_AT_FRAMES)})
    bad: list[str] = []
    empty: list[int] = []
    for place in places:
        number = files.frames.numbers[place]
        try:
            if not points_of_frame(files.read(place), f"frame {number}").any():
                empty.append(number)
        except (AnnotationError, DecodeError) as error:
            bad.append(without_name(str(error), root, files.path.name).removeprefix(f"{files.path}: "))
    looked_at = f"of the {counted(len(places), 'frame')} that {'was' if len(places) == 1 else 'were'} looked at"
    problems = []
    if bad:
        problems.append(("keypoints-unreadable", f"{bad[0]}; {len(bad)} {looked_at} cannot be read"))
    if empty:
        problems.append(("keypoints-empty", f"frame {empty[0]} shows nobody; {len(empty)} {looked_at} are like that"))
    return problems
