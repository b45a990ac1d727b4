"""Fixes and probes of the machine and of torchvision, below everything that knows of clips or models."""
