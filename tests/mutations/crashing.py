"""Cases of which one crashes, for the test of the workers."""

import os
import random
from pathlib import Path


def check(folder: Path, rng: random.Random, work: Path) -> str:
    """Crash in the case number 1."""
    if rng.random() == random.Random("crashing 1").random():
        os._exit(7)
    return "fine"
