"""A folder behind a URL, through the fsspec driver of its kind: read, write, list and delete, whole or not at all.

Passing faults are tried again with growing pauses; what will not pass (a wrong key, a missing bucket) is one clear
`CacheError`. Credentials are the driver's own business: its environment variables, its profiles, its agents.
The trade-off: a thread a transfer, so that drivers which are not asynchronous are parallel too.
"""

import itertools
import random
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from signprep.cache_builder.options import shown
from signprep.cache_builder.remote.storage_errors import explain, is_answer, is_missing, is_passing
from signprep.pipeline.errors import CacheError, SignprepError

TRIES, FIRST_TRIES = 6, 3
"""Tries of a request, and of one before any other has been answered: a wrong address is found soon."""
FIRST_PAUSE_SECONDS = 0.5
"""Doubled with each try: 15 s altogether."""

_ATOMIC = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf", "memory")
"""Stores in which an object appears when all of it has arrived; elsewhere it is written beside and renamed."""
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "sftp": "sftp", "ssh": "sftp", "hf": "hf"} | {
    name: "http" for name in ("http", "https")
}
_SOCKET_SECONDS = 60
"""Seconds without a byte, after which a connection is given up."""

Result = TypeVar("Result")
Progress = Callable[[int], None]
"""Told numbers of bytes as they arrive or leave; a transfer that begins again takes its bytes back."""


class MissingError(CacheError):
    """There is no such object."""


@dataclass
class RemoteFolder:
    """The objects under a URL."""

    url: str
    _driver: tuple[Any, str] | None = field(default=None, init=False, repr=False)
    _was_answered: bool = field(default=False, init=False, repr=False)
    _opening: Any = field(default_factory=threading.Lock, init=False, repr=False)

    def __str__(self) -> str:
        return shown(self.url)

    def __reduce__(self) -> tuple[type["RemoteFolder"], tuple[str]]:
        return RemoteFolder, (self.url,)

    @property
    def protocol(self) -> str:
        """s3, gs, sftp, https, ..."""
        return self.url.split("://", 1)[0].lower()

    @property
    def is_read_only(self) -> bool:
        """True if nothing can be written there at all."""
        return self.protocol in ("http", "https")

    def driver(self) -> tuple[Any, str]:
        """Return fsspec's file system and the folder's path in it; it connects at the first call."""
        with self._opening:
            if self._driver is None:
                self._driver = _open_driver(self.url, self.protocol)
            return self._driver

    def read(self, name: str, start: int | None = None, end: int | None = None, *, limit: int | None = None) -> bytes:
        """Return an object's bytes, or some of them.

        Args:
            name: path under the folder.
            start: first byte; with `end`, the end of the half-open range.
            end: exclusive.
            limit: of bytes that an object may have; not together with a range.

        Raises:
            MissingError: there is no such object.
            CacheError: it cannot be read, or has more bytes than `limit`.
        """

        if limit is not None:
            return self._read_limited(name, limit)

        def read() -> bytes:
            fs, root = self.driver()
            data: bytes = fs.cat_file(f"{root}/{name}", start=start, end=end)
            if start is not None and end is not None and len(data) != end - start:
                if len(data) < end:
                    raise ConnectionError(f"{len(data)} bytes came where {end - start} were asked for")
                data = data[start:end]  # a server that knows no ranges has sent all of it
            return data

        return self._tried(name, read)

    def _read_limited(self, name: str, limit: int) -> bytes:
        """Return an object's bytes by way of a file: a driver that streams to one is stopped at the limit."""
        num_bytes = 0

        def stop_at_limit(more: int) -> None:
            nonlocal num_bytes
            num_bytes += more
            if more > 0 and num_bytes > limit:
                raise CacheError(f"{self}/{name}: has over {limit} bytes; it is no such file of a cache")

        with tempfile.TemporaryDirectory(prefix="signprep-") as folder:
            target = Path(folder) / "object"
            self.download(name, target, stop_at_limit)
            return target.read_bytes()

    def download(self, name: str, target: Path, progress: Progress | None = None) -> None:
        """Write an object to a file; raises as `read`, and CacheError if the file cannot be written."""

        def download() -> None:
            fs, root = self.driver()
            with _counted(progress) as callback:
                fs.get_file(f"{root}/{name}", str(target), callback=callback)

        self._tried(name, download)

    def upload(self, contents: Path | bytes, name: str, progress: Progress | None = None) -> None:
        """Put a file, or bytes, in place: a reader sees all of it or nothing. Raises CacheError if that fails."""

        def upload() -> None:
            fs, root = self.driver()
            target = f"{root}/{name}"
            beside = target
            if self.protocol not in _ATOMIC:
                beside = f"{target.rpartition('/')[0]}/.{name.rpartition('/')[2]}.{uuid.uuid4().hex[:8]}.part"
                fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            try:
                with _counted(progress) as callback:
                    if isinstance(contents, bytes):
                        fs.pipe_file(beside, contents)
                    else:
                        fs.put_file(str(contents), beside, callback=callback)
                if beside != target:
                    fs.mv(beside, target)
            except BaseException:
                if beside != target:
                    with suppress(Exception):  # what went wrong before is what has to be known
                        fs.rm_file(beside)
                raise

        self._tried(name, upload)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the sizes in bytes of the objects right under a folder, by name; none if it is not there."""

        def sizes() -> dict[str, int]:
            fs, root = self.driver()
            fs.invalidate_cache()
            found = fs.ls(f"{root}/{folder}", detail=True)
            return {
                entry["name"].rstrip("/").rpartition("/")[2]: int(entry["size"] or 0)
                for entry in found
                if entry["type"] == "file"
            }

        try:
            return self._tried(folder, sizes)
        except MissingError:
            return {}

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""

        for name in names:
            with suppress(MissingError):
                self._tried(name, partial(self._delete, name))

    def _delete(self, name: str) -> None:
        fs, root = self.driver()
        fs.rm_file(f"{root}/{name}")

    def _tried(self, name: str, attempt: Callable[[], Result]) -> Result:
        """Return what an attempt returns, tried again while its faults may pass."""
        for number in itertools.count(1):
            try:
                result = attempt()
                self._was_answered = True
                return result
            except SignprepError:
                raise
            except Exception as error:
                self._was_answered |= is_answer(error)
                if is_missing(error):
                    raise MissingError(f"{self}/{name}: there is no such object ({explain(error)})") from error
                if not is_passing(error):
                    if isinstance(error, TypeError | AttributeError | NameError | AssertionError):
                        raise  # a mistake of ours
                    raise CacheError(f"{self}/{name}: {explain(error)}") from error
                if number >= (TRIES if self._was_answered else FIRST_TRIES):
                    raise CacheError(f"{self}/{name}: {explain(error)}; tried {number} times") from error
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (number - 1) * random.uniform(0.75, 1.25))
        raise AssertionError("the last try raises")


@contextmanager
def _counted(progress: Progress | None) -> Iterator[Any]:
    """Give a callback for a driver; if the transfer fails, its bytes are taken back."""
    from fsspec.callbacks import NoOpCallback

    class Counted(NoOpCallback):
        num_bytes = 0

        def relative_update(self, inc: int = 1) -> None:
            self.num_bytes += inc
            if progress is not None:
                progress(inc)

        def absolute_update(self, value: int) -> None:
            self.relative_update(value - self.num_bytes)

    callback = Counted()
    try:
        yield callback
    except BaseException:
        callback.absolute_update(0)
        raise


def _open_driver(url: str, protocol: str) -> tuple[Any, str]:
    import fsspec

    try:
        if protocol in ("sftp", "ssh"):
            return _open_sftp(url)
        options: dict[str, Any] = {}
        if protocol in ("http", "https"):
            from aiohttp import ClientTimeout

            options["client_kwargs"] = {"timeout": ClientTimeout(total=None, sock_read=_SOCKET_SECONDS)}
        if protocol in ("s3", "s3a"):
            # Both s3fs and botocore try again by themselves: with ours that would be a hundred tries.
            own = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
            options["config_kwargs"] = {"retries": {"total_max_attempts": 1}} | own
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
        if protocol in ("s3", "s3a"):
            fs.retries = 1
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        hint = f"pip install 'signprep[{extra}]'" if extra else f"install the fsspec driver for it ({error})"
        raise CacheError(f"{shown(url)}: {protocol}:// needs a driver that is not installed here: {hint}") from error
    except ValueError as error:
        raise CacheError(f"{shown(url)}: is no URL of a known kind ({error})") from error
    return fs, root.rstrip("/")


def _open_sftp(url: str) -> tuple[Any, str]:
    """Connect by SSH as OpenSSH would: its configuration file, agent and keys, and only to hosts that it knows."""
    import asyncssh
    from sshfs import SSHFileSystem

    options = SSHFileSystem._get_kwargs_from_urls(url)
    known_hosts = Path("~/.ssh/known_hosts").expanduser()
    try:
        if not known_hosts.exists():
            raise asyncssh.HostKeyNotVerifiable(f"there is no {known_hosts}")
        fs = SSHFileSystem(**options, known_hosts=str(known_hosts), skip_instance_cache=True)
    except Exception as error:
        if isinstance(error, asyncssh.HostKeyNotVerifiable) or "not trusted" in str(error):
            reason = f"the server's key is not known here; connect once with `ssh {options['host']}`"
        else:
            reason = explain(error)
        raise CacheError(f"{shown(url)}: {reason}") from error
    return fs, SSHFileSystem._strip_protocol(url)


MAX_GAP_BYTES = 2**18
"""Between two clips, a gap of so many bytes is fetched rather than left out by a second request."""


def coalesce_ranges(bounds: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield the ranges of bytes to fetch for clips of one file, each with the clips' ranges inside it, in order.

    Few requests, few bytes in vain: clips that lie close together are fetched by one request.

    >>> list(coalesce_ranges([(0, 10), (20, 30), (600_000, 600_010)]))
    [(0, 30, [(0, 10), (20, 30)]), (600000, 600010, [(600000, 600010)])]
    """
    inside: list[tuple[int, int]] = []
    for start, end in bounds:
        if inside and start - inside[-1][1] > MAX_GAP_BYTES:
            yield inside[0][0], inside[-1][1], inside
            inside = []
        inside.append((start, end))
    if inside:
        yield inside[0][0], inside[-1][1], inside
