"""Many runs of `train` with values from ranges: the file that asks for them, the study, one trial, what came of all.

Nothing here imports torch: each trial is a process of its own.
"""
