"""Tells when which sign is made in a long video, and writes that as subtitles or pictures; windows are of `videos`."""

from typing import TYPE_CHECKING, Any

from signprep.inference.options import TimelineOptions

if TYPE_CHECKING:
    from signprep.inference.timeline.segments import TimelineSegment, timeline

__all__ = ["TimelineOptions", "TimelineSegment", "timeline"]


def __getattr__(name: str) -> Any:
    """Import numpy only once somebody wants a timeline, not when the command line reads its options."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from signprep.inference.timeline import segments

    return getattr(segments, name)
