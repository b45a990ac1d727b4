"""Annotations of whole videos with their times, as ELAN and editors of subtitles write them; not how a video is cut."""
