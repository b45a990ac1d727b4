"""The classifier that Lightning trains, its clips, weights and checkpoints; networks are built in model_spec.py."""
