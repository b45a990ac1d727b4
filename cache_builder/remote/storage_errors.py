"""The meaning of drivers' errors: what is missing, what may pass, and what a person is told.

They are told apart by class and by name, up the chain of causes, so that no driver has to be installed for another
one's errors to be understood.
"""

import errno
from collections.abc import Iterator

from signprep.cache_builder.options import without_secrets

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


def is_missing(error: BaseException) -> bool:
    """Return True if the object, or the folder, is not there."""
    return any(isinstance(e, FileNotFoundError) or type(e).__name__ in _MISSING for e in _chain(error))


def is_passing(error: BaseException) -> bool:
    """Return True if it is worth trying again."""
    status = status_of(error)
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
    if names & _DENIED or any(isinstance(each, PermissionError) for each in chain) or status_of(error) in (401, 403):
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


def status_of(error: BaseException) -> int | None:
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
