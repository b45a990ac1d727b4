"""How long OpenMP's threads, which torch computes with, spin between two operators before they sleep.

libgomp's default is some milliseconds, which suits a program that is alone. Beside any other program each of these
spins takes a time slice from the thread that it waits for: two trainings on two cores were ten times slower than one.
10,000 turns are as fast alone, and four times faster beside others (`python -m benchmarks shared_cores`).
"""

import os

SPIN_COUNT = 10_000
_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def spin_briefly() -> None:
    """Set the environment so, unless the user has chosen otherwise; does nothing once torch is loaded."""
    if not any(name in os.environ for name in _VARIABLES):
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
