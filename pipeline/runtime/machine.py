"""The machine and the versions that figures were taken with, as far as the system tells."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from signprep.pipeline.errors import SignprepError


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float | None:
    """Return how many processes wanted a core over the last minute; more than there are cores spoil timings."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return Python's version and those of the packages that are installed."""
    found = {name: package_version(name) for name in packages}
    return {"python": platform.python_version()} | {name: value for name, value in found.items() if value is not None}


def package_version(name: str) -> str | None:
    """Return a package's version, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def require_extra(extra: str, *modules: str) -> None:
    """Raise SignprepError, with the command that installs them, unless all modules of an extra are installed."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise SignprepError(
            f"this command needs {', '.join(missing)}, not installed here: pip install 'signprep[{extra}]'"
        )


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, system and load as plain JSON types."""
    return {
        "processor": processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": load_average(),
    }
