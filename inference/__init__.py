"""From a checkpoint to predictions: for videos and caches, timelines, evaluation, export; models are of `training`."""
