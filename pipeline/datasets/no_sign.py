"""Clips of people who are not signing, from the unlabelled time before and between the signs of their videos.

In: a data set's segments. Out: further segments, of a class that means "no sign", so that a model of continuous
signing learns what is none. They are as long as the median sign and as many as the most frequent gloss has. Time behind
the last sign is left alone: labels do not tell reliably where a video ends.
"""

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from signprep.pipeline.datasets.segment import WHOLE_VIDEO_END, Segment
from signprep.pipeline.errors import AnnotationError

IDLE_GLOSS = "(쉼)"
"""A rest. In brackets, so that no word is meant."""


def idle_segments(
    segments: Sequence[Segment], gloss: str = IDLE_GLOSS, *, occupied: Sequence[Segment] | None = None
) -> list[Segment]:
    """Return segments without a sign, in the order of the data set's.

    Args:
        segments: of the data set.
        gloss: name of their class.
        occupied: all signs of the videos, where `segments` are only some of them: one that was not chosen is no rest.

    Raises:
        AnnotationError: the name is that of a gloss, or no video has unlabelled time enough.
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
    """Yield one segment in the middle of each gap that is long enough: there the movements into a sign are farthest."""
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
    """Return a key whose order is random but the same at every build."""
    return hashlib.sha256(segment.segment_id.encode()).digest()
