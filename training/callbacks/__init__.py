"""What happens beside the training steps: checkpoints, guards, progress, records of the run."""
