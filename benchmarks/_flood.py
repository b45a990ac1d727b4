"""Clients that take as little of the machine as Python can, and a server that answers at once: the bound of any other.

A request's bytes are made once, one thread waits for all connections, and of an answer only its status and length are
read, so that clients and server, which share the cores, are told apart. The empty server has `signprep serve`'s
connections, and nothing behind them.
"""

import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._server import Request, started
from signprep.inference.serve.http.run import listening, server_of

_LONGEST_SECONDS = 300.0
_PROGRAM = "from benchmarks._flood import answer_at_once; answer_at_once()"


@dataclass(frozen=True, kw_only=True)
class Flood:
    """What clients have found that ask again as soon as they have an answer."""

    seconds: float
    """From the first request to the last answer."""
    latencies: list[float]
    """Seconds of each request."""
    client_seconds: float
    """Of a core, that the clients took."""


def flood(address: str, requests: list[Request], num_clients: int) -> Flood:
    """Ask for all, of which every answer has to be 200."""
    waiting = [_bytes_of(address, request) for request in requests]
    latencies: list[float] = []
    with selectors.DefaultSelector() as ready:
        clients = [_Client(address) for _ in range(min(num_clients, len(waiting)))]
        started, worked = time.perf_counter(), time.thread_time()
        for client in clients:
            ready.register(client.socket, selectors.EVENT_READ, client)
            client.ask(waiting.pop())
        while len(latencies) < len(requests):
            found = ready.select(_LONGEST_SECONDS)
            if not found:
                raise TimeoutError(f"{len(requests) - len(latencies)} requests have no answer")
            for key, _ in found:
                client = key.data
                if client.has_answer():
                    latencies.append(time.perf_counter() - client.asked)
                    if waiting:
                        client.ask(waiting.pop())
        seconds, client_seconds = time.perf_counter() - started, time.thread_time() - worked
        for client in clients:
            client.socket.close()
    return Flood(seconds=seconds, latencies=latencies, client_seconds=client_seconds)


class _Client:
    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=_LONGEST_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, data: bytes) -> None:
        self._answer = b""
        self.asked = time.perf_counter()
        self.socket.sendall(data)

    def has_answer(self) -> bool:
        came = self.socket.recv(2**20)
        self._answer += came
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not came or not head.startswith(b"HTTP/1.1 200"[: len(head)]):
            raise ConnectionError(f"no answer: {self._answer[:500]!r}")
        if not found:
            return False
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        return len(body) >= int(length)


def _bytes_of(address: str, request: Request) -> bytes:
    headers = [("Host", address), ("Content-Length", str(len(request.body))), *request.headers]
    told = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"POST /v1/predict?{request.query} HTTP/1.1\r\n{told}\r\n".encode() + request.body


@contextmanager
def empty_server(folder: Path) -> Iterator[str]:
    """Yield the address of a server that answers each request as soon as it is there."""
    with started([sys.executable, "-c", _PROGRAM], folder / "empty.txt", {}) as (_, address):
        yield address


def answer_at_once() -> None:
    """Be the empty server, until SIGTERM."""
    body = json.dumps({"predicted_class_idx": 0, "predicted_class_name": "a", "confidence": 0.5}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for answer in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{answer}.complete"})
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with listening("127.0.0.1", 0) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/", file=sys.stderr, flush=True)
        server_of(app).run(sockets=[listener])
