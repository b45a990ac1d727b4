"""Where a cache behind a URL is kept while it is read, and how much of it: as a value, and as a command's options."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

DEFAULT_GB = 20.0

Command = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """Where a cache behind a URL is kept while it is read."""

    folder: Path | None = None
    """None: `signprep` in the user's folder of caches."""
    max_bytes: int = round(DEFAULT_GB * 1e9)
    """Of shards, of all caches and processes that share the folder."""

    def root(self) -> Path:
        """Return the folder."""
        if self.folder is not None:
            return self.folder
        return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "signprep"


def stream_options(command: Command) -> Command:
    """Add the options of a streamed cache to a command, which takes them as `stream`."""

    @click.option(
        "--stream-dir",
        type=click.Path(path_type=Path),
        help="Where shards of a --cache URL are kept while they are read. [default: ~/.cache/signprep]",
    )
    @click.option(
        "--stream-gb",
        default=DEFAULT_GB,
        show_default=True,
        type=click.FloatRange(min=0, min_open=True),
        help="Bound of that folder; what was used longest ago goes first.",
    )
    @functools.wraps(command)
    def with_stream(*arguments: Any, stream_dir: Path | None, stream_gb: float, **options: Any) -> Any:
        stream = StreamOptions(folder=stream_dir, max_bytes=round(stream_gb * 1e9))
        return command(*arguments, stream=stream, **options)

    return with_stream
