"""Open a finished cache, wherever it lies."""

from pathlib import Path

from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.reader import Cache, open_folder
from signprep.cache_builder.remote.location import location_of


def open_cache(path: str | Path, *, stream: StreamOptions | None = None) -> Cache:
    """Open a finished cache.

    Args:
        path: its folder, or a URL: then its shards come while they are read.
        stream: where the shards of a URL are kept meanwhile.

    Raises:
        CacheVersionError: there is no cache at this path, or one of a newer format.
        CacheIncompleteError: its build has not ended.
        CacheError: its metadata is damaged.
    """
    location = location_of(path)
    if isinstance(location, Path):
        return open_folder(location)
    # A cache of this machine opens without what reads from networks.
    from signprep.cache_builder.remote.streaming import open_streamed

    return open_streamed(location, stream or StreamOptions())
