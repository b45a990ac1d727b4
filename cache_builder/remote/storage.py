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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from signprep.cache_builder.options import shown
from signprep.cache_builder.remote.storage_errors import explain, is_missing, is_passing, status_of
from signprep.pipeline.errors import CacheError, SignprepError
from signprep.pipeline.runtime.installation import install_extras

TRIES, FIRST_TRIES = 6, 3
"""Tries of a request, and of one before any other has been answered: a wrong address is found soon."""
FIRST_PAUSE_SECONDS = 0.5
"""Doubled with each try: 15 s altogether."""

S3 = ("s3", "s3a")
_AT_ONCE_BYTES = 100 * 2**20
"""s3fs sends less than that as one request."""
_ATOMIC = (*S3, "gs", "gcs", "abfs", "abfss", "az", "hf", "memory")
SSH = ("sftp", "ssh")
_KEEP_CONNECTION = (*SSH, "ftp", "smb")
"""Drivers that keep one connection, and do not make another when it is lost."""
SECONDS_BETWEEN_LOOKS, MOST_LOOKS = 20, 3
"""How often an SSH server is asked whether it is still there, and how often it may not answer."""
_EXTRAS = {"s3a": "s3", "gcs": "gs", "ssh": "sftp", "https": "http"} | {
    name: name for name in ("s3", "gs", "sftp", "hf", "http")
}
_SFTP_READING, _S3_READING = {"block_size": 240 * 1024}, {"max_concurrency": 1}
_READING = {"sftp": _SFTP_READING, "ssh": _SFTP_READING, "s3": _S3_READING, "s3a": _S3_READING}
"""Drivers' options of reading. sshfs asks for 48 kB at once; a server that gives less is asked for the rest. s3fs would
break off an object of over 50 MiB, and ask for parts of it again, which it keeps in memory until all are there."""

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

    @property
    def is_atomic(self) -> bool:
        """True if an object appears when all of it has arrived; elsewhere it is written beside and renamed."""
        return self.protocol in _ATOMIC

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
                fs.get_file(f"{root}/{name}", str(target), callback=callback, **_READING.get(self.protocol, {}))

        self._tried(name, download)

    def takes_at_once(self, num_bytes: int) -> bool:
        """Return True if `upload` takes so many bytes of a file sooner from memory than from the file itself."""
        return self.protocol in S3 and num_bytes < _AT_ONCE_BYTES

    def upload(self, contents: Path | bytes | BytesIO, name: str, progress: Progress | None = None) -> None:
        """Put a file, bytes, or a BytesIO where `takes_at_once` says so, in place: a reader sees all of it or nothing.

        Raises CacheError if that fails.
        """

        def upload() -> None:
            fs, root = self.driver()
            beside = target = f"{root}/{name}"
            if not self.is_atomic:
                beside = f"{target.rpartition('/')[0]}/.{name.rpartition('/')[2]}.{uuid.uuid4().hex[:8]}.part"
                if self.protocol not in SSH:  # sshfs makes a file's folder, with two requests a level
                    fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            try:
                with _counted(progress) as callback:
                    if isinstance(contents, bytes):
                        fs.pipe_file(beside, contents)
                    elif isinstance(contents, BytesIO):
                        bucket, key, _ = fs.split_path(beside)
                        contents.seek(0)
                        fs.call_s3("put_object", Bucket=bucket, Key=key, Body=contents)
                        callback.relative_update(contents.getbuffer().nbytes)
                    else:
                        fs.put_file(str(contents), beside, callback=callback)
                if beside != target:
                    try:
                        fs.mv(beside, target)
                    except Exception:  # another push may have brought the same, and deleted this as a leftover
                        if fs.exists(beside) or not fs.exists(target):
                            raise
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

        def delete(name: str) -> None:
            fs, root = self.driver()
            fs.rm_file(f"{root}/{name}")

        for name in names:
            with suppress(MissingError):
                self._tried(name, partial(delete, name))

    def _tried(self, name: str, attempt: Callable[[], Result]) -> Result:
        """Return what an attempt returns, tried again while its faults may pass."""
        for number in itertools.count(1):
            driver = None
            try:
                driver = self.driver()
                result = attempt()
                self._was_answered = True
                return result
            except SignprepError as error:
                # Where a connection was lost, the server may be away for a while.
                is_away = self._was_answered and error.__cause__ is not None and is_passing(error.__cause__)
                if not is_away or number >= TRIES:
                    raise
            except Exception as error:
                self._was_answered |= is_missing(error) or status_of(error) is not None
                if is_missing(error):
                    raise MissingError(f"{self}/{name}: there is no such object ({explain(error)})") from error
                if not is_passing(error):
                    if isinstance(error, TypeError | AttributeError | NameError | AssertionError):
                        raise  # a mistake of ours
                    raise CacheError(f"{self}/{name}: {explain(error)}") from error
                if number >= (TRIES if self._was_answered else FIRST_TRIES):
                    raise CacheError(f"{self}/{name}: {explain(error)}; tried {number} times") from error
                if self.protocol in _KEEP_CONNECTION:
                    self._leave(driver)
            time.sleep(FIRST_PAUSE_SECONDS * 2 ** (number - 1) * random.uniform(0.75, 1.25))
        raise AssertionError("the last try raises")

    def _leave(self, driver: tuple[Any, str] | None) -> None:
        """Have the next try connect anew, unless another thread has done so since this driver was used."""
        with self._opening:
            if self._driver is driver:
                self._driver = None


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
        if protocol in SSH:
            return _open_sftp(url)
        options: dict[str, Any] = {}
        if protocol in ("http", "https"):
            from aiohttp import ClientTimeout

            # A minute without a byte: the connection is given up.
            options["client_kwargs"] = {"timeout": ClientTimeout(total=None, sock_read=60)}
        if protocol in S3:
            # Both s3fs and botocore try again by themselves: with ours that would be a hundred tries.
            own = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
            options["config_kwargs"] = {"retries": {"total_max_attempts": 1}} | own
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **options)
        if protocol in S3:
            fs.retries = 1
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        hint = install_extras(extra) if extra else f"install the fsspec driver for it ({error})"
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
        fs = SSHFileSystem(
            **options,
            known_hosts=str(known_hosts),
            keepalive_interval=SECONDS_BETWEEN_LOOKS,
            keepalive_count_max=MOST_LOOKS,
            skip_instance_cache=True,
        )
    except Exception as error:
        if isinstance(error, asyncssh.HostKeyNotVerifiable) or "not trusted" in str(error):
            reason = f"the server's key is not known here; connect once with `ssh {options['host']}`"
        else:
            reason = explain(error)
        raise CacheError(f"{shown(url)}: {reason}") from error
    return fs, SSHFileSystem._strip_protocol(url)
