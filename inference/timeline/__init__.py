"""Tells when which sign is made in a long video, and writes that as subtitles or pictures; windows are of `videos`."""

from signprep.inference.options import TimelineOptions
from signprep.inference.timeline.segments import TimelineSegment, timeline

__all__ = ["TimelineOptions", "TimelineSegment", "timeline"]
