"""Answers for whole videos: which windows, decoded once, and the results that are written."""
