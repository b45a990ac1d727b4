"""What a model answers, and the reports of it: measures, learning curves, and the page of a run; no torch.

`inference/evaluation` draws its own page from the same parts.
"""
