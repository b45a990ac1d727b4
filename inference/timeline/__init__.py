"""When which sign is made in a long video: the timeline, its scores, subtitles and rendered pictures."""

from signprep.inference.timeline.timeline import TimelineOptions, TimelineSegment, timeline

__all__ = ["TimelineOptions", "TimelineSegment", "timeline"]
