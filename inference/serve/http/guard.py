"""Who may ask: the address that a browser was given, the page that asks, and the token; and headers of all answers.

On the loopback address any program of the machine may ask, and so could any page that its browser shows: a page of
another origin is refused, and so is a name that somebody else's name server points to this machine (DNS rebinding).
With a token, only who has it is answered; then any name of the server is good, as behind a proxy, and any page.

Who is refused before the whole request is there may go on sending for a while: a connection that is closed meanwhile
would take the answer with it.
"""

import asyncio
import contextlib
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from signprep.inference.serve.options import HEAD_SECONDS, ServeOptions

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OPEN_PATHS = ("/", "/health", "/openapi.json")
"""They tell nothing of anybody's, and are answered without the token."""
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""Of each answer that does not say otherwise; names in small letters, as all of ours are."""


class Guard:
    """An ASGI application around another one."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], options: ServeOptions) -> None:
        self._app, self._options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        headers = Headers(scope=scope)
        more_comes = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

        async def receive_noted() -> MutableMapping[str, Any]:
            nonlocal more_comes
            message = await receive()
            more_comes = more_comes and bool(message.get("more_body", False))
            return message

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                told = list(message.get("headers", ()))
                names = {name for name, _ in told}
                message = {**message, "headers": [*told, *(pair for pair in _HEADERS if pair[0] not in names)]}
            elif more_comes and not message.get("more_body", False):
                await send({**message, "more_body": True})
                message = {"type": "http.response.body", "body": b""}
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(HEAD_SECONDS):
                        while more_comes:
                            await receive_noted()
            await send(message)

        refusal = self._refusal(headers, scope["path"])
        if refusal is None:
            await self._app(scope, receive_noted, send_with_headers)
            return
        status, reason = refusal
        body = json.dumps({"error": worded(reason, headers)}).encode()
        told = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *([(b"www-authenticate", b"Bearer")] if status == 401 else []),
        ]
        await send_with_headers({"type": "http.response.start", "status": status, "headers": told})
        await send_with_headers({"type": "http.response.body", "body": body})

    def _refusal(self, headers: Headers, path: str) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if self._options.token is None and _name_of(host) not in _LOCAL_NAMES:
            return 421, (
                f"this server is not {host or 'without a name'}: without a token it answers to localhost, 127.0.0.1 "
                "and [::1] only; start it with --token to use another name"
            )
        origin = headers.get("origin")
        if self._options.token is None and origin is not None and urlsplit(origin).netloc != host:
            return 403, f"a page of {origin} asks; only this server's own page may"
        if self._options.token is None or path in OPEN_PATHS:
            return None
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if hmac.compare_digest(given.encode(), self._options.token.encode()):
            return None
        return 401, "the token is missing or wrong; send the header Authorization: Bearer TOKEN"


def worded(text: str, headers: Headers) -> str:
    """Return what people are told in Korean if a request asks for that first, else as it is."""
    if not headers.get("accept-language", "").lower().startswith("ko"):
        return text
    from signprep.pipeline.runtime.language.catalogue import korean  # which reads the sentences

    return korean(text)


def _name_of(host: str) -> str | None:
    """Return the name in a Host header, without its port; None for what is no such header."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
