"""The tensor cache: plan, build, format and read. `open_cache(path)` is the door to a finished one."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signprep.pipeline.runtime.paths import StrPath

if TYPE_CHECKING:
    from signprep.cache_builder.options import StreamOptions
    from signprep.cache_builder.reader import Cache

__all__ = ["Cache", "as_cache", "open_cache"]

# Imports are made on first use: the command line imports this package and must stay free of zarr and pyarrow.


def open_cache(path: StrPath, *, stream: "StreamOptions | None" = None, verify: str = "always") -> "Cache":
    """Open a finished cache.

    Args:
        path: its folder, or a URL: then its shards come while they are read.
        stream: where the shards of a URL are kept meanwhile.
        verify: `always` compares a clip's checksum whenever it is read; `first` when it is first read from a mapped
            shard, so that damage on the disk after that, or another program's writing into the open file, is not seen.
            Shards of a URL are mapped anew for each clip, so that both are the same there.

    Raises:
        ValueError: `verify` is neither.
        CacheVersionError: there is no cache at this path, or one of a newer format.
        CacheIncompleteError: its build has not ended.
        CacheError: its metadata is damaged.
    """
    from signprep.cache_builder.options import StreamOptions, location_of
    from signprep.cache_builder.reader import ALWAYS, FIRST, open_folder

    if verify not in (ALWAYS, FIRST):
        raise ValueError(f"verify is {verify!r:.60}; expected {ALWAYS} or {FIRST}")
    location = location_of(path)
    if isinstance(location, Path):
        return open_folder(location, verify)
    # A cache of this machine opens without what reads from networks.
    from signprep.cache_builder.remote.streaming import open_streamed

    return open_streamed(location, stream or StreamOptions())


def as_cache(cache: "Cache | StrPath") -> "Cache":
    """Return an open cache as it is; a path or a URL is opened, as `open_cache` does.

    Raises TypeError for anything else, and what `open_cache` raises.
    """
    from signprep.cache_builder.reader import Cache

    if isinstance(cache, Cache):
        return cache
    if isinstance(cache, str | os.PathLike):
        return open_cache(cache)
    kind = type(cache).__name__
    raise TypeError(f"cache is {cache!r:.60}, of type {kind}; expected Cache, or the path or URL of one")


def __getattr__(name: str) -> Any:
    if name == "Cache":
        from signprep.cache_builder.reader import Cache

        return Cache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
