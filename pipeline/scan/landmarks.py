"""Landmarks beside labels, AIHub's keypoints or landmark files, to facts, in worker processes.

Of each file, or of all files of a clip, the times are looked at, and a few frames are read: with `deep` all of them.
The trade-off: a single damaged frame between good ones is found by `deep` only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from signprep.pipeline.datasets.files.names import is_landmark_file, is_sequence
from signprep.pipeline.options import SAMPLED_VIDEOS, ScanOptions
from signprep.pipeline.runtime.machine import in_processes
from signprep.pipeline.runtime.progress import progress_bar
from signprep.pipeline.scan.database import Row, ScanDatabase
from signprep.pipeline.scan.keypoints import probe_keypoints
from signprep.pipeline.scan.landmark_files import probe_landmark_files

CLIPS_A_CHUNK, DEEP_CLIPS_A_CHUNK = 128, 8


class Origin(NamedTuple):
    """Where landmarks come from, and what reports call them."""

    option: str
    """The value of `--landmarks` that builds a cache of them."""
    what: str
    """As kinds of findings have it."""
    title: str
    key: str
    """As JSON has it."""
    there_is_none: str
    """Before the base name that was looked for."""
    is_one: Callable[[str], bool]
    """Tells by a file's name if it is one."""
    probe: Callable[[Path, list[tuple[int, str]], bool], tuple[list[Row], list[Row]]]


ORIGINS = {
    "aihub": Origin(
        "aihub", "keypoints", "Keypoints", "keypoints", "there are no keypoints named ", is_sequence, probe_keypoints
    ),
    "files": Origin(
        "files", "landmarks", "Landmark files", "landmark_files", "there is no landmark file named ",
        is_landmark_file, probe_landmark_files,
    ),
}  # fmt: skip


def collect_landmark_facts(root: Path, origin: Origin, options: ScanOptions, database: ScanDatabase) -> None:
    """Open the landmarks of all clips, or of a sample, and note what they tell."""
    total = database.value("SELECT COUNT(*) FROM landmarks WHERE used")
    if options.probe == "none" or not total:
        return
    step = max(1, total // SAMPLED_VIDEOS) if options.probe == "sample" else 1
    query = f"SELECT id, name FROM landmarks WHERE used AND id > :after AND id % {step} = 0 ORDER BY id LIMIT :size"
    size = DEEP_CLIPS_A_CHUNK if options.deep else CLIPS_A_CHUNK
    calls = ((root, rows, options.deep) for rows in database.chunks(query, size))
    update = "UPDATE landmarks SET probed = 1, num_frames = ?, rate = ?, seconds = ? WHERE id = ?"
    with progress_bar(f"Opening {origin.title.lower()}", total // step, "clips") as progress:
        done = 0
        for clips, problems in in_processes(origin.probe, calls, options.workers):
            database.executemany(update, clips)
            database.add_problems(problems)
            progress(done := done + len(clips))
