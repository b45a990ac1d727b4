"""Work in other processes that outlive a call: joblib keeps its workers for the next one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def run_in(folder: Path, work: Callable[..., Result], *arguments: object) -> Result:
    """Call `work` in a folder: relative paths mean that of the caller, not that of the worker's first call."""
    if Path.cwd() != folder:
        os.chdir(folder)
    return work(*arguments)
