"""The windows of a video, and the clips that they show: what `infer` cuts out of a file before a model is asked.

In: an open video and which windows of it. Out: the windows' spans, and for each its clips, or why there are none, from
one pass over the video. Nothing here needs torch, so that processes that only decode start quickly.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from signprep.inference.options import PER_VIDEO, WindowOptions
from signprep.pipeline.clip_spec import ClipSpec
from signprep.pipeline.clips import Clip, MakeClips, Span, iterate_clips
from signprep.pipeline.errors import DecodeError, SignprepError
from signprep.pipeline.landmarks.maker import FollowedLandmarks, clip_maker
from signprep.pipeline.video.pyav_reader import VideoReader

DURATION_SLACK_SECONDS = 1e-3
"""A video of 1.9999 s is not shorter than a clip of 2 s: containers round to milliseconds."""
MAX_WINDOWS = 1_000_000
"""Limit for one video: a day at a stride of a tenth of a second. More is a slip of the hand."""


def clips_of_windows(
    reader: VideoReader, windows: Sequence[Span], specs: Sequence[ClipSpec], options: WindowOptions
) -> Iterator[tuple[int, Sequence[Clip] | DecodeError]]:
    """Yield the number of each window with a clip for each spec, or why there is none, from one pass over the video."""
    spans, spec_of_each = [window for window in windows for _ in specs], [*specs] * len(windows)
    waiting: defaultdict[int, dict[int, Clip | DecodeError]] = defaultdict(dict)
    make = video_makers(options)
    found = iterate_clips(reader, spans, spec_of_each, hold_last_frame=options.pad, make=make)
    for number, clip in found:
        window, place = divmod(number, len(specs))
        waiting[window][place] = clip
        if len(waiting[window]) == len(specs):
            clips = [clip for _, clip in sorted(waiting.pop(window).items())]
            error = next((clip for clip in clips if isinstance(clip, DecodeError)), None)
            yield window, error or [clip for clip in clips if isinstance(clip, Clip)]


def video_makers(options: WindowOptions) -> MakeClips:
    """Return what makes one video's clips out of its frames, as `WindowOptions.landmark_tracking` says."""
    return FollowedLandmarks() if options.landmark_tracking == PER_VIDEO else clip_maker


def window_spans(options: WindowOptions, reader: VideoReader, *, is_live: bool = False) -> list[Span]:
    """Return the windows of an open video; `is_live` says that neither a start nor padding can be chosen.

    Raises:
        DecodeError: the video is shorter than that, or was cut off.
        SignprepError: there would be too many windows.
    """
    first = Span(options.start_seconds, rounded(options.start_seconds + options.clip_duration))
    if not (options.pad or reader.ends_after(first.end_seconds)):
        duration = reader.duration_seconds
        if duration < first.end_seconds - DURATION_SLACK_SECONDS:
            if is_live:
                raise DecodeError(
                    f"{reader.name}: lasts {duration:.3f} s, too short for a window of {options.clip_duration:.3f} s; "
                    "choose a smaller --clip-duration"
                )
            raise DecodeError(
                f"{reader.name}: lasts {duration:.3f} s, too short for a clip of {options.clip_duration:.3f} s from "
                f"{options.start_seconds:.3f} s; choose a smaller --clip-duration or --start-time, or --pad"
            )
    if options.stride is None:
        return [first]
    duration = reader.duration_seconds
    if (duration - options.start_seconds) / options.stride > MAX_WINDOWS:
        raise SignprepError(
            f"{reader.name}: lasts {duration:.3f} s, which at a stride of {options.stride:g} s is over "
            f"{MAX_WINDOWS:,} windows; choose a larger --stride"
        )
    found = windows(duration, options.clip_duration, options.stride, start_seconds=options.start_seconds)
    return found if len(found) > 1 or not options.pad else [first]


def windows(duration: float, clip_duration: float, stride: float, *, start_seconds: float = 0.0) -> list[Span]:
    """Return the windows of a video: one every `stride` seconds, up to the first that reaches the end.

    That last one ends where the video ends. A window that shows nothing new is none: after (3.0, 5.0) of a video of
    5 s, (4.0, 5.0) is left out.

    Args:
        duration: length of the video, in seconds.
        clip_duration: length of a window, in seconds.
        stride: seconds from one window's start to the next one's, > 0.
        start_seconds: start of the first window.

    >>> [(span.start_seconds, span.end_seconds) for span in windows(3.5, 2.0, 1.0)]
    [(0.0, 2.0), (1.0, 3.0), (2.0, 3.5)]
    """
    found: list[Span] = []
    while True:
        start = rounded(start_seconds + len(found) * stride) if found else start_seconds
        if not start < duration - DURATION_SLACK_SECONDS:
            return found
        end = rounded(start + clip_duration)
        whole = end <= duration + DURATION_SLACK_SECONDS
        found.append(Span(start, end if whole else rounded(duration)))
        if end >= duration - DURATION_SLACK_SECONDS:
            return found


def rounded(seconds: float) -> float:
    """Return whole nanoseconds, so that 3 * 0.1 is 0.3."""
    return round(seconds, 9)
