"""Answers while a camera or a stream goes on: where pictures come from, what is said of them, and to whom."""

from signprep.inference.videos.live.recognizer import LiveAnswer, LiveRecognizer

__all__ = ["LiveAnswer", "LiveRecognizer"]
