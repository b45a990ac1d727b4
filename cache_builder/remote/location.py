"""The location of a cache: a folder of this machine, or a URL that fsspec knows a driver for.

A URL's password never reaches a message: `shown` is what people and logs see.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from signprep.pipeline.errors import CacheError
from signprep.pipeline.options import option

_URL = re.compile(r"[a-z][a-z0-9+.-]+://.*", re.IGNORECASE | re.DOTALL)
_PASSWORD = re.compile(r"(?<=://)(?P<user>[^/:@\s]*):[^/@\s]*@")
_QUERY = re.compile(r"(?P<url>[a-z][a-z0-9+.-]+://[^\s?'\"]*)\?[^\s'\"]*", re.IGNORECASE)

Location = Path | str


def location_of(location: str | Path) -> Location:
    """Return a path for what lies on this machine, and the URL, without a slash at its end, for anything else.

    >>> location_of("s3://team/aihub.zarr/"), location_of("file:///data/a.zarr").as_posix()
    ('s3://team/aihub.zarr', '/data/a.zarr')

    Raises CacheError if the URL ends after its scheme.
    """
    if isinstance(location, Path) or not is_url(location):
        return Path(location)
    parts = urlsplit(location)
    if parts.scheme.lower() == "file":
        return Path(unquote(parts.path))
    if not (parts.netloc or parts.path.strip("/")):
        raise CacheError(f"{location}: names no place; expected a URL such as {parts.scheme}://team/name.zarr")
    return location.rstrip("/")


def is_url(location: str) -> bool:
    """Return True if a location is a URL, of whatever scheme."""
    return _URL.fullmatch(location) is not None


def without_secrets(text: str) -> str:
    """Return a text in which no URL has a password or a query: a signed URL's query is a key.

    >>> without_secrets("sftp://kim:geheim@host/a, https://host/b?X-Signature=1")
    'sftp://kim@host/a, https://host/b'
    """
    return _QUERY.sub(r"\g<url>", _PASSWORD.sub(r"\g<user>@", text))


def shown(location: Location) -> str:
    """Return a location as people may see it."""
    return str(location) if isinstance(location, Path) else without_secrets(location)


def location_option(default: Any, help_: str, **description: Any) -> Any:
    """Return the field of a location: an `option` that takes a path or a URL."""
    return option(default, help_, type=str, read=location_of, **description)
