"""The program that listens: one socket, one event loop, and an end that waits for answers under way."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.app import make_app
from signprep.inference.serve.options import ServeOptions
from signprep.pipeline.errors import SignprepError

LAST_ANSWERS_SECONDS = 10
"""Time for answers under way when the server is asked to end."""
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
    config = uvicorn.Config(
        make_app(recognizer, options),
        http="h11",
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
    host, port = listener.getsockname()[:2]
    told(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
    uvicorn.Server(config).run(sockets=[listener])
