"""The classifier that Lightning trains, its metrics and checkpoints; how a network is built is in model_spec.py."""
