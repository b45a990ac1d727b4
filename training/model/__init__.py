"""The model that is trained: classifier, metrics, weights, checkpoints."""
