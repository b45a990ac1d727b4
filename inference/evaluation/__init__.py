"""How good a model is: logits of a split or of videos, metrics, calibration and their reports."""
