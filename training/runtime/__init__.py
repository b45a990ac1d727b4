"""Fixes and probes of the machine and of foreign code, below everything that knows of clips or models."""
