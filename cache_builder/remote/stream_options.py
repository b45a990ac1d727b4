"""Where a cache behind a URL is kept while it is read, and how much of it: as a value, and as a command's options."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.remote.location import Location, location_of

DEFAULT_GB = 20.0

Command = Callable[..., Any]


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


class LocationType(click.ParamType[Location]):
    """A command's argument that is a folder or a URL."""

    name = "path or url"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Location:
        """Return what was typed as a `Location`."""
        assert isinstance(value, str | Path)
        return location_of(value)


LOCATION = LocationType()
