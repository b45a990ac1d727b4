"""A folder behind a URL, through the fsspec driver of its kind: read, write, list and delete, whole or not at all.

Passing faults are tried again with growing pauses; what will not pass (a wrong key, a missing bucket) is one clear
`CacheError`. Credentials are the driver's own business: its environment variables, its profiles, its agents.
The trade-off: a thread a transfer, so that drivers which are not asynchronous are parallel too.
"""

import errno
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

from signprep.cache_builder.options import shown, without_secrets
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
                if self.protocol not in ("sftp", "ssh"):  # sshfs makes a file's folder, with two requests a level
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
            try:
                result = attempt()
                self._was_answered = True
                return result
            except SignprepError:
                raise
            except Exception as error:
                self._was_answered |= _is_missing(error) or _status(error) is not None
                if _is_missing(error):
                    raise MissingError(f"{self}/{name}: there is no such object ({explain(error)})") from error
                if not _is_passing(error):
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
        fs = SSHFileSystem(**options, known_hosts=str(known_hosts), skip_instance_cache=True)
    except Exception as error:
        if isinstance(error, asyncssh.HostKeyNotVerifiable) or "not trusted" in str(error):
            reason = f"the server's key is not known here; connect once with `ssh {options['host']}`"
        else:
            reason = explain(error)
        raise CacheError(f"{shown(url)}: {reason}") from error
    return fs, SSHFileSystem._strip_protocol(url)


# The meaning of drivers' errors. They are told apart by class and by name, up the chain of causes, so that no driver
# has to be installed for another one's errors to be understood.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "ProfileNotFound",
    "DefaultCredentialsError",
    "RefreshError",
    "LocalTokenNotFoundError",
    "GatedRepoError",
}
_DENIED = {"PermissionDenied", "SFTPPermissionDenied", "AuthenticationException"}
_MISSING = {"RepositoryNotFoundError", "EntryNotFoundError", "SFTPNoSuchFile", "NoSuchBucket", "NoSuchKey"}
_PASSING = {
    # asyncio and asyncssh
    "TimeoutError", "FSTimeoutError", "IncompleteReadError", "ConnectionLost", "DisconnectError", "SFTPConnectionLost",
    "ChannelOpenError", "SFTPNoConnection",
    # aiohttp and requests
    "ClientError", "ClientConnectionError", "ClientPayloadError", "ServerTimeoutError", "ChunkedEncodingError",
    "ConnectTimeout", "ReadTimeout",
    # botocore
    "ConnectionError", "EndpointConnectionError", "HTTPClientError", "ConnectionClosedError", "ReadTimeoutError",
    "ConnectTimeoutError", "ResponseStreamingError",
}  # fmt: skip
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}


def _is_missing(error: BaseException) -> bool:
    """Return True if the object, or the folder, is not there."""
    return any(isinstance(e, FileNotFoundError) or type(e).__name__ in _MISSING for e in _chain(error))


def _is_passing(error: BaseException) -> bool:
    """Return True if it is worth trying again."""
    status = _status(error)
    if status is not None:
        return status in _PASSING_STATUS
    for each in _chain(error):
        names = {cls.__name__ for cls in type(each).__mro__}
        if names & (_CREDENTIALS | _DENIED) or isinstance(each, PermissionError | FileNotFoundError):
            return False
        if isinstance(each, OSError) and each.errno in (*_FULL, errno.EROFS, errno.EINVAL, errno.EISDIR, errno.ENOTDIR):
            return False
        if names & _PASSING or isinstance(each, ConnectionError | TimeoutError):
            return True
    return isinstance(error, OSError)


def explain(error: BaseException) -> str:
    """Return one line for a person: what was found, and what to do where that is known."""
    chain = list(_chain(error))
    names = {cls.__name__ for each in chain for cls in type(each).__mro__}
    first = without_secrets(" ".join(str(error).split()) or type(error).__name__)
    if any(isinstance(each, OSError) and each.errno in _FULL for each in chain):
        return "the disk is full"
    if names & _CREDENTIALS:
        return f"no credentials, or none that are valid ({first}); give them to the driver as its own tools take them"
    if names & _DENIED or any(isinstance(each, PermissionError) for each in chain) or _status(error) in (401, 403):
        return f"access is denied ({first}); look at the key, and at what it may do there"
    if "EndpointConnectionError" in names or any(isinstance(each, ConnectionRefusedError) for each in chain):
        return f"nobody answers there ({first})"
    if "gaierror" in names or "ClientConnectorDNSError" in names:
        return f"there is no such host ({first})"
    return first


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that a driver's error tells of."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        if isinstance(response, dict):  # botocore
            response = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        elif response is not None:
            response = getattr(response, "status_code", None)
        for status in (getattr(each, "status", None), response, vars(each).get("code")):
            if isinstance(status, int) and 100 <= status < 600:
                return status
    return None
