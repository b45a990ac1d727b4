"""Requests without a network, whose parts come when a test lets them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette

LEFT = None
"""In place of a part of a body: the client has gone."""


@dataclass(kw_only=True)
class Answer:
    """What came back, as far as it did."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


async def ask(app: Starlette, parts: AsyncIterator[bytes | None], query: str = "", **headers: str) -> Answer:
    """Post a body to /v1/predict; after its last part the client waits, unless that is `LEFT`."""
    answer, waits = Answer(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        async for part in parts:
            if part is LEFT:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part, "more_body": bool(part)}
        await waits.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "path": "/v1/predict",
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost"), *((k.replace("_", "-").encode(), v.encode()) for k, v in headers.items())],
    }
    await app(scope, receive, send)
    return answer


async def whole(body: bytes) -> AsyncIterator[bytes | None]:
    """Yield the parts of a body that is sent at once."""
    yield body
    yield b""
