"""Whether people have the videos that labels' times refer to, or copies that were cut to the sign already.

Of WLASL, MS-ASL and Slovo both are about, under the same names. A copy is as long as its label says the sign is, the
original at least as long as the sign's end: the length nearer to the video's own decides. Videos are opened for that,
1 to 2 ms each; once `ENOUGH` of a folder agree, the others of it are taken for the same.
"""

from collections.abc import Callable
from pathlib import Path

from signprep.pipeline.datasets.annotations import WHOLE_VIDEO_END, Segment
from signprep.pipeline.datasets.files.data_root import open_file
from signprep.pipeline.datasets.presets.spec import ALWAYS, BY_LENGTH, Preset
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.video.demux import open_stream
from signprep.pipeline.video.image_sequence import ImageSequence

ENOUGH = 300


def is_cut(length: float, start: float, end: float) -> bool:
    """Return True if a video of this length in seconds is a copy that was cut to its label's [start, end).

    >>> is_cut(4.0, 86.0, 90.0), is_cut(120.0, 86.0, 90.0), is_cut(89.9, 86.0, 90.0), is_cut(2.5, 1.0, WHOLE_VIDEO_END)
    (True, False, False, False)
    """
    if end >= WHOLE_VIDEO_END:
        return length <= start
    return length < (end - start + end) / 2


class Copies:
    """What is known about the videos of each folder."""

    def __init__(
        self, root: Path, preset: Preset, length_of: Callable[[Path, str], float | None] | None = None
    ) -> None:
        self._root, self._rule = root, preset.trimmed
        self._length_of = length_of or video_length
        self._lengths: dict[str, float | None] = {}
        self._votes: dict[str, list[int]] = {}
        self.num_ignored = 0
        """The rows whose times mean nothing for the video that is there."""

    def are_times_ignored(self, segment: Segment) -> bool:
        """Return True if the whole video is the sign."""
        ignored = segment.start_seconds > 0 and (
            self._rule == ALWAYS or (self._rule == BY_LENGTH and self._is_cut(segment))
        )
        self.num_ignored += ignored
        return ignored

    def _is_cut(self, segment: Segment) -> bool:
        folder = segment.video.rpartition("/")[0]
        votes = self._votes.setdefault(folder, [0, 0])
        if sum(votes) >= ENOUGH and 0 in votes:
            return votes[1] > 0
        if segment.video not in self._lengths:
            self._lengths[segment.video] = self._length_of(self._root, segment.video)
        length = self._lengths[segment.video]
        if length is None:  # the build says why
            return False
        cut = is_cut(length, segment.start_seconds, segment.end_seconds)
        votes[cut] += 1
        return cut


def video_length(root: Path, name: str) -> float | None:
    """Return a video's length in seconds as its container tells it, None if it tells nothing."""
    try:
        source = open_file(root, name)
        if isinstance(source, ImageSequence):
            return None
        container, stream = open_stream(source, name, decodes=False)
        with container:
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            return None if container.duration is None else container.duration / 1e6
    except (SignprepError, OSError):
        return None
