"""Evaluation of a model on labelled clips or videos: logits, metrics, calibration and their reports; no training."""
