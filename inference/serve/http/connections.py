"""Connections that end: uvicorn's, with bounds to their time, their number, and what they keep of a client.

uvicorn bounds neither the time in which the head of a request comes, nor that in which an answer is read, nor how many
connections there are: here one is cut that takes too long, or is too many. The body of a request is bounded where it is
received, since that may take longer than its head. The parser, httptools, keeps whatever belongs to a head until it
ends: here it may not be long.
"""

import asyncio
import math
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from signprep.inference.serve.options import HEAD_SECONDS

READ_SECONDS = 120.0
"""Time for a client to read what waits to be sent."""
MOST_CONNECTIONS = 500
"""At most half of the files that a process may open; of more connections the one is cut that has waited longest."""
MOST_REQUESTS = 64
"""Of one connection that wait for an answer; who sends more before he reads is cut."""
_LONGEST_HEAD = 16_384
_SENT_AT_ONCE = 65_536


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection, which ends in bounded time, and takes bounded memory."""

    _waits_since: float | None = None
    """When it began to wait for a request; None while it answers."""
    _is_cut = False
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _answered_now: Any = None
    """uvicorn's part of the request that is answered now; others may wait behind it."""
    _head_bytes = 0
    _silent_bytes = 0
    """What came of something that the parser does not tell of before it has ended."""
    _has_told = False
    _is_broken = False
    """Nothing that comes is read any more."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, and make room if there are too many connections."""
        super().connection_made(transport)
        self.transport = _Together(transport, self.loop)  # type: ignore[assignment]
        self._note_state()
        if len(self.connections) > most_connections():
            waiting = [one for one in self.connections if isinstance(one, BoundedProtocol) and not one._is_cut]
            min(waiting, key=lambda one: one._waits_since or math.inf)._cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers, and tell the request that is answered."""
        self._end_answer()
        super().connection_lost(exc)
        self._is_cut = True
        for timer in (self._head_timer, self._read_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what comes."""
        if self._is_broken:
            return
        self._has_told = False
        super().data_received(data)
        self._silent_bytes = 0 if self._has_told else self._silent_bytes + len(data)
        if self._silent_bytes > _LONGEST_HEAD and not self._is_broken:
            self.send_400_response("Invalid HTTP request received.")
        self._note_state()

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._has_told, self._head_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._add_to_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or one that comes behind a body."""
        self._add_to_head(len(name) + len(value))
        super().on_header(name, value)

    def _add_to_head(self, number: int) -> None:
        self._has_told = True
        self._head_bytes += number
        if self._head_bytes > _LONGEST_HEAD:
            raise ValueError  # which the parser takes for what is no HTTP

    def on_headers_complete(self) -> None:
        """Begin to answer, or to wait for the answers before."""
        self._has_told = True
        if len(self.pipeline) >= MOST_REQUESTS:
            raise ValueError
        super().on_headers_complete()
        if not self.pipeline:
            self._answered_now = self.cycle

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._has_told = True
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """Say that this is no HTTP; what is asked by then gets no other answer, but what was asked wholly before."""
        self._is_broken = True
        self.pipeline.clear()
        answering = self._answered_now
        if answering is not None and not answering.more_body:
            answering.keep_alive = False  # its end is that of the connection
            return
        self._end_answer()
        if answering is not None and answering.response_started:
            self._cut()
        else:
            super().send_400_response(msg)

    def _end_answer(self) -> None:
        if self._answered_now is not None:
            self._answered_now.disconnected = True
            self._answered_now.message_event.set()

    def on_response_complete(self) -> None:
        """Begin to answer what waits, or to wait for the next request."""
        self._answered_now = self.pipeline[-1][0] if self.pipeline else None
        super().on_response_complete()
        self._note_state()

    def pause_writing(self) -> None:
        """Begin to wait until the client reads."""
        super().pause_writing()
        self._read_timer = self.loop.call_later(READ_SECONDS, self._cut)

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        if self._read_timer is not None:
            self._read_timer.cancel()

    def _note_state(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._waits_since = None
        elif self._waits_since is None and not self._is_cut:
            self._waits_since = self.loop.time()
            self._watch()

    def _watch(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end_waiting)

    def _end_waiting(self) -> None:
        if self._waits_since is None:
            return
        if self.transport.get_write_buffer_size() and self.loop.time() < self._waits_since + READ_SECONDS:
            self._watch()  # the client still reads its last answer
        else:
            self._cut()

    def _cut(self) -> None:
        self._is_cut = True
        self.transport.abort()


class _Together:
    """A transport that sends the head and the body of an answer by one call of the system, which costs as much as both.

    All else is the transport's that it is made of.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._waiting: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)
        if len(data) > _SENT_AT_ONCE:
            self._send()

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._transport.write(b"".join(waiting))

    def close(self) -> None:
        self._send()
        self._transport.close()


def most_connections() -> int:
    """Return how many connections there may be."""
    try:
        import resource
    except ImportError:  # Windows
        return MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files < 0 else min(MOST_CONNECTIONS, files // 2)
