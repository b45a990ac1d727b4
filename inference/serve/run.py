"""The program that listens: one socket, one event loop, connections that end, and an end that waits for answers.

uvicorn bounds neither the time in which the head of a request comes, nor that in which an answer is read, nor how many
connections there are: here one is cut that takes too long, or is too many. The body of a request is bounded where it is
received, since that may take longer than its head.
"""

import asyncio
import math
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.app import make_app
from signprep.inference.serve.options import HEAD_SECONDS, ServeOptions
from signprep.pipeline.errors import SignprepError

LAST_ANSWERS_SECONDS = 10
"""Time for answers under way when the server is asked to end."""
READ_SECONDS = 120.0
"""Time for a client to read what waits to be sent."""
MOST_CONNECTIONS = 500
"""At most half of the files that a process may open; of more connections the one is cut that has waited longest."""
SWITCH_SECONDS = 0.0005
"""After which a thread of Python gives way to another one; the model's would else wait 5 ms, several times a clip."""
_LONGEST_HEAD = 16_384


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a socket that listens. Raises SignprepError if the address is another one's, or none."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        # Python adds the address to the system's words; what a name server says has words of its own.
        number = getattr(error, "errno", None) or 0
        reason = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
        raise SignprepError(
            f"{host}:{port}: cannot be listened on ({reason}); choose another --port or --host"
        ) from None
    # asyncio turns Nagle's delay off only for sockets that say they are TCP's, and those it accepts say what this says.
    # With it, the second part of an answer waits until the client acknowledges the first, 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach()) as of_tcp:
        yield of_tcp


def run_server(
    recognizer: Recognizer, options: ServeOptions, listener: socket.socket, told: Callable[[str], None]
) -> None:
    """Answer until Ctrl-C or SIGTERM; then answers under way have a few seconds more."""
    host, port = listener.getsockname()[:2]
    told(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
    make_server(recognizer, options).run(sockets=[listener])


def make_server(recognizer: Recognizer, options: ServeOptions) -> uvicorn.Server:
    """Return the server, which has not begun."""
    config = uvicorn.Config(
        make_app(recognizer, options),
        http=BoundedProtocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=_LONGEST_HEAD,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
    )
    # The model's thread and the one of the connections both run Python between short parts that do not.
    sys.setswitchinterval(SWITCH_SECONDS)
    return uvicorn.Server(config)


class BoundedProtocol(H11Protocol):
    """uvicorn's connection, which ends in bounded time."""

    _waits_since: float | None = None
    """When it began to wait for a request; None while it answers."""
    _is_cut = False
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request, and make room if there are too many connections."""
        super().connection_made(transport)
        self._note_state()
        if len(self.connections) > most_connections():
            waiting = [one for one in self.connections if isinstance(one, BoundedProtocol) and not one._is_cut]
            min(waiting, key=lambda one: one._waits_since or math.inf)._cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        super().connection_lost(exc)
        self._is_cut = True
        for timer in (self._head_timer, self._read_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what comes."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:  # what is no HTTP, behind a request whose answer is on its way
            self._cut()
        self._note_state()

    def send_400_response(self, msg: str) -> None:
        """Say that this is no HTTP; what is asked by then gets no other answer."""
        super().send_400_response(msg)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
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


def most_connections() -> int:
    """Return how many connections there may be."""
    try:
        import resource
    except ImportError:  # Windows
        return MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_CONNECTIONS if files < 0 else min(MOST_CONNECTIONS, files // 2)
