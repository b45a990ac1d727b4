"""The program that listens: one socket, one event loop, and an end that waits for answers."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from signprep.inference.options import TimelineOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.http.app import make_app
from signprep.inference.serve.http.connections import BoundedProtocol
from signprep.inference.serve.options import ServeOptions
from signprep.inference.timeline.segments import idle_label
from signprep.pipeline.errors import SignprepError

LAST_ANSWERS_SECONDS = 10
"""Time for answers under way when the server is asked to end."""
SWITCH_SECONDS = 0.0005
"""After which a thread of Python gives way to another one; the model's would else wait 5 ms, several times a clip."""


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
    recognizer: Recognizer,
    options: ServeOptions,
    timeline: TimelineOptions,
    listener: socket.socket,
    told: Callable[[str], None],
) -> None:
    """Answer until Ctrl-C or SIGTERM; then answers under way have a few seconds more.

    Raises SignprepError if the model does not know the idle gloss.
    """
    idle_label(recognizer.glosses, timeline)
    host, port = listener.getsockname()[:2]
    told(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
    make_server(recognizer, options, timeline).run(sockets=[listener])


def make_server(
    recognizer: Recognizer, options: ServeOptions, timeline: TimelineOptions = TimelineOptions()
) -> uvicorn.Server:
    """Return the server, which has not begun."""
    return server_of(make_app(recognizer, options, timeline))


def server_of(app: Any) -> uvicorn.Server:
    """Return a server of an ASGI application, with connections that end."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=LAST_ANSWERS_SECONDS,
    )
    # The model's thread and the one of the connections both run Python between short parts that do not.
    sys.setswitchinterval(SWITCH_SECONDS)
    return uvicorn.Server(config)
