"""Predictions for whole videos and clips of a cache, and the results that are written; scores are of `evaluation`."""
