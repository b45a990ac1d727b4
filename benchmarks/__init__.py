"""Benchmarks: each module compares with peers in the same run on the same clips; `python -m benchmarks` runs them."""
