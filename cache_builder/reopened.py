"""A cache for objects that travel between processes, as data sets of loaders do: each process opens it for itself."""

import os
from typing import Any

from signprep.cache_builder.reader import Cache
from signprep.pipeline.errors import CacheError


class ReopenedCache:
    """Pickled as the cache's path or URL; opened where it is first asked for; nothing of it is used after a fork.

    A cache in a folder may be inherited by a fork, but connections to where a streamed one lies may not.
    """

    def __init__(self, cache: Cache) -> None:
        self._fingerprint, self._opener = cache.fingerprint, cache.__reduce__()
        self._opened: tuple[int, Cache] | None = (os.getpid(), cache)

    def get(self) -> Cache:
        """Return the cache as this process has opened it. Raises CacheError if it has become another one."""
        if self._opened is None or self._opened[0] != os.getpid():
            function, arguments = self._opener
            cache = function(*arguments)
            if cache.fingerprint != self._fingerprint:
                raise CacheError(f"{cache}: was changed since it was first opened; open it, and make this anew")
            self._opened = os.getpid(), cache
        return self._opened[1]

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": None}
