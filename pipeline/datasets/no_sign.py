"""A class for "no sign": segments of people who are not signing, before and between the signs of their videos.

In: a data set's segments. Out: further segments, from which a model of continuous signing learns to tell signs from
rests. They are as long as the median sign and as many as the most frequent gloss has. The time after the last sign is
not used, because labels do not tell reliably where a video ends.
"""

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from signprep.pipeline.datasets.segment import WHOLE_VIDEO_END, Segment
from signprep.pipeline.errors import AnnotationError

NO_SIGN_GLOSS = "(쉼)"
"""The word for a rest, in brackets because it is not a sign."""


def no_sign_segments(
    segments: Sequence[Segment], gloss: str = NO_SIGN_GLOSS, *, occupied: Sequence[Segment] | None = None
) -> list[Segment]:
    """Return segments without a sign, in the order of the data set's.

    Args:
        segments: of the data set.
        gloss: name of their class.
        occupied: all signs of the videos if `segments` are only some of them, since the others are no rests either.

    Raises AnnotationError if the data have that gloss already, or if no video has enough time without a sign.
    """
    if any(segment.gloss == gloss for segment in segments):
        raise AnnotationError(f"the data have a gloss {gloss!r} already; give the idle class another name")
    lengths = [s.end_seconds - s.start_seconds for s in segments if s.end_seconds < WHOLE_VIDEO_END]
    if not lengths:
        raise AnnotationError("segments that are whole videos leave no time for an idle class")
    length = round(statistics.median(lengths), 3)
    videos = {segment.video for segment in segments}
    signs_of_videos = _by_video(segment for segment in occupied or segments if segment.video in videos)
    found = [idle for signs in signs_of_videos for idle in _between(signs, length, gloss)]
    if not found:
        raise AnnotationError(
            f"no video has {length:.3f} s without a sign before or between its signs, so there is no idle class"
        )
    wanted = max(Counter(segment.gloss for segment in segments).values())
    kept = {segment.segment_id for segment in sorted(found, key=_chance)[:wanted]}
    return [segment for segment in found if segment.segment_id in kept]


def _by_video(segments: Iterable[Segment]) -> Iterator[list[Segment]]:
    videos: defaultdict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        videos[segment.video].append(segment)
    for signs in videos.values():
        yield sorted(signs, key=lambda segment: segment.start_seconds)


def _between(signs: Sequence[Segment], length: float, gloss: str) -> Iterator[Segment]:
    """Yield a segment in the middle of each long gap, as far from the movements into signs as possible."""
    free_from = 0.0
    for number, sign in enumerate(signs):
        if sign.start_seconds - free_from >= length:
            middle = (free_from + sign.start_seconds) / 2
            start = round(middle - length / 2, 3)
            name = sign.segment_id.rpartition("#")[0] or sign.segment_id
            yield replace(
                sign,
                segment_id=f"{name}#idle{number}",
                start_seconds=max(0.0, start),
                end_seconds=round(max(0.0, start) + length, 3),
                gloss=gloss,
            )
        free_from = max(free_from, sign.end_seconds)


def _chance(segment: Segment) -> bytes:
    """Return a key that gives a random order, the same in every build."""
    return hashlib.sha256(segment.segment_id.encode()).digest()
