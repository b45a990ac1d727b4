"""Waiting in tests: for what a program does, never for time; and holding programs at a point until the test lets go."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

HANG_SECONDS = 600
"""After them something hangs, on the slowest machine too."""


def until(happened: Callable[[], object], *, alive: Callable[[], bool] = lambda: True) -> None:
    """Wait until something has happened; fail if what it is awaited from has ended before."""
    end = time.monotonic() + HANG_SECONDS
    while not happened():
        # Asked again: it may have happened between the two looks, as the last thing of all.
        assert alive() or happened(), "it has ended, and what was awaited has not happened"
        assert time.monotonic() < end, "it hangs"
        time.sleep(0.005)


def until_time_passes(folder: Path) -> None:
    """Wait until what is written in a folder gets a later time than what was written before."""
    earlier, later = folder / ".earlier", folder / ".later"
    earlier.touch()

    def is_later() -> bool:
        later.touch()
        return later.stat().st_mtime_ns > earlier.stat().st_mtime_ns

    until(is_later)
    earlier.unlink()
    later.unlink()


class Hold:
    """Stops every build worker at a video: processes that are started with `environment` wait there until it is left.

    Python imports `sitecustomize` when it starts, so that workers which others start have it too. It watches which
    files are opened: a shard's counter of clips, and then its videos.
    """

    def __init__(self, folder: Path, *, after: int = 0, dies: bool = False) -> None:
        """Prepare a folder.

        Args:
            folder: of this hold alone.
            after: shards that each worker finishes before it is held in the next one.
            dies: kill the worker there in place of holding it.
        """
        folder.mkdir()
        self._folder = folder
        deed = "os.kill(os.getpid(), signal.SIGKILL)" if dies else "wait()"
        (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(folder=str(folder), after=after, deed=deed))

    @property
    def environment(self) -> dict[str, str]:
        """The present one, changed so that processes are held."""
        path = [str(self._folder), os.environ.get("PYTHONPATH", "")]
        return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}

    def held(self) -> list[int]:
        """Return the processes that have come to the point, first to last, each once."""
        signs = sorted(self._folder.glob("*.held"), key=lambda path: path.stat().st_mtime_ns)
        return [int(path.stem) for path in signs]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Let all go on, those that come later too."""
        (self._folder / "go").touch()


_SITECUSTOMIZE = """
import os, signal, sys, time

num_shards = 0


def watch(event, arguments):
    global num_shards
    if event != "open" or not isinstance(arguments[0], str):
        return
    if arguments[0].endswith(".progress"):
        num_shards += 1
    elif arguments[0].endswith(".mp4") and num_shards > {after}:
        {deed}


def wait():
    folder = {folder!r}
    open(f"{{folder}}/{{os.getpid()}}.held", "w").close()
    while not os.path.exists(f"{{folder}}/go"):
        time.sleep(0.005)


sys.addaudithook(watch)
"""
