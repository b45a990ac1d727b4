"""Real connections to a server that are slow, cut, too many, or say what is no HTTP: they end, and nothing is left."""

import http.client
import json
import logging
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.http import connections
from signprep.inference.serve.http.run import listening, make_server
from signprep.inference.serve.options import HEAD_SECONDS, ServeOptions
from tests.inference.serve.test_queue import left_over
from tests.waiting import HANG_SECONDS, until


class Served:
    """A server of this process, whose clock the test sets, and connections to it."""

    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server, self.port = server, port
        self.opened: list[socket.socket] = []
        self._loop = server.servers[0].get_loop()
        self._seconds_on = 0.0
        self._loop.time = lambda: time.monotonic() + self._seconds_on  # type: ignore[method-assign]

    def pass_time(self, seconds: float) -> None:
        """Set the server's clock on by so much, and let it look."""
        self._seconds_on += seconds
        self._loop.call_soon_threadsafe(lambda: None)

    def connect(self, begins: bytes = b"") -> socket.socket:
        """Return a connection that has sent something."""
        found = socket.create_connection(("127.0.0.1", self.port), timeout=HANG_SECONDS)
        self.opened.append(found)
        found.sendall(begins)
        return found

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return the status and document of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG_SECONDS)
        connection.request(method, path, body, headers, encode_chunked="Transfer-Encoding" in headers)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    @property
    def num_active(self) -> int:
        """How many requests for answers are there."""
        found: int = self.server.config.app.state.service._active  # type: ignore[union-attr]
        return found


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@contextmanager
def serving(recognizer: Recognizer, **options: Any) -> Iterator[Served]:
    with listening("127.0.0.1", 0) as listener:
        server = make_server(recognizer, ServeOptions(num_workers=1, max_megabytes=1, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            served = Served(server, listener.getsockname()[1])
            yield served
            for one in served.opened:
                one.close()
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def served(recognizer: Recognizer) -> Iterator[Served]:
    """A server that the tests of this file share."""
    with serving(recognizer, timeout_seconds=60) as found:
        yield found


def is_cut(connection: socket.socket) -> bool:
    """Wait for the server to end a connection; return False if it says something instead."""
    try:
        return not connection.recv(1)
    except ConnectionResetError:
        return True


def cut_though_it_sends(served: Served, connection: socket.socket, piece: bytes) -> None:
    """Send a piece each five seconds of the server until the connection is cut."""
    connection.settimeout(0.02)

    def has_ended() -> bool:
        try:
            connection.sendall(piece)
            served.pass_time(5)
            return not connection.recv(1000)
        except TimeoutError:
            return False
        except (ConnectionResetError, BrokenPipeError):
            return True

    until(has_ended)


@pytest.mark.parametrize(
    "begins",
    [b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET "],
    ids=["nothing", "half a head", "an answer, and half a head"],
)
def test_who_does_not_finish_a_head_is_cut(served: Served, begins: bytes) -> None:
    connection = served.connect(begins)
    if begins.endswith(b"GET "):
        assert connection.recv(4) == b"HTTP"
    if begins:
        cut_though_it_sends(served, connection, b"x")
    else:
        until(lambda: served.server.server_state.connections)
        served.pass_time(HEAD_SECONDS)
        assert is_cut(connection)


def test_a_body_that_nobody_wants_is_answered_before_it_ends_and_then_cut(served: Served) -> None:
    for head in (b"GET /health", b"POST /v1/nothing", b"POST /v1/predict?mode=all"):
        connection = served.connect(head + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        assert connection.recv(8) == b"HTTP/1.1"
        cut_though_it_sends(served, connection, b"x")


def test_a_slow_body_is_cut(served: Served, temporary: Path) -> None:
    for path in (b"/v1/predict", b"/v1/subtitles"):
        connection = served.connect(
            b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        cut_though_it_sends(served, connection, b"1\r\nx\r\n")
    until(lambda: served.num_active == 0)
    assert left_over(temporary) == []


def test_who_does_not_read_answers_is_cut(served: Served) -> None:
    state = served.server.server_state
    until(lambda: not state.connections)
    connection = served.connect()
    until(lambda: bool(state.connections))
    [kept] = state.connections
    assert isinstance(kept, connections.BoundedProtocol)
    before, asked = state.total_requests, 0

    def is_full() -> bool:
        nonlocal asked
        if state.total_requests == before + asked:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
            asked += 20
        return kept.flow.write_paused

    def is_cut() -> bool:
        served.pass_time(5)
        return not state.connections

    until(is_full)
    until(is_cut)


def test_of_too_many_connections_the_one_is_cut_that_waits_longest(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: not served.server.server_state.connections)
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 3)
    first, *others = [served.connect() for _ in range(3)]
    until(lambda: len(served.server.server_state.connections) == 3)
    assert served.ask("GET", "/health") == (200, {"status": "ok"})
    assert is_cut(first)
    for one in others:
        one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert one.recv(8) == b"HTTP/1.1"


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}], ids=["declared", "undeclared"])
def test_who_sends_too_much_hears_it_after_having_sent_all(
    served: Served, temporary: Path, headers: dict[str, str]
) -> None:
    body: Any = iter([bytes(100_000)] * 300) if headers else bytes(30_000_000)
    status, document = served.ask("POST", "/v1/predict", body, **headers)
    assert (status, document) == (413, {"error": "the upload is larger than 1 MB; send a shorter video"})
    assert left_over(temporary) == []


def test_uploads_that_are_cut_leave_nothing(served: Served, temporary: Path) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
    for begins in (b"Content-Length: 900000\r\n\r\n" + bytes(100_000), b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"):
        connection = served.connect(head + begins)
        until(lambda: served.num_active == 1)
        connection.close()
        until(lambda: served.num_active == 0)
    assert left_over(temporary) == []


def test_a_stream_of_events_that_is_cut_ends_its_work(served: Served, temporary: Path, video: Path) -> None:
    body = video.read_bytes()
    head = (
        "POST /v1/predict?mode=windows&stride=0.001&clip-duration=0.5 HTTP/1.1\r\nHost: localhost\r\n"
        f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection = served.connect(head.encode() + body)
    told = b""
    while b"event: window" not in told:
        told += connection.recv(1000)
    connection.close()
    until(lambda: served.num_active == 0)
    status, answer = served.ask("POST", "/v1/predict", body)
    assert status == 200 and "confidence" in answer
    until(lambda: left_over(temporary) == [])


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", b"400"),
        (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST /v1/no HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nabcdefgh\r\n\r\n", b"404"),
    ],
    ids=["TLS", "a long address", "a negative length", "a broken chunk", "a chunk of a GET", "more than was said"],
)
def test_what_is_no_http_ends_the_connection_alone(
    served: Served, caplog: pytest.LogCaptureFixture, sent: bytes, answered: bytes
) -> None:
    connection = served.connect(sent)
    said = read_to_the_end(connection)
    assert said.startswith(b"HTTP/1.1 " + answered) or not said
    until(lambda: served.num_active == 0)
    assert served.ask("GET", "/health")[0] == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("begins", "more"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * 5000),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"X: " + b"a" * 100 + b"\r\n"),
        (b"GET /health?", b"a" * 5000),
        (
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: ",
            b"a" * 5000,
        ),
        (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a" * 5000),
        (b"", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000),
    ],
    ids=["a header", "headers", "an address", "what comes behind chunks", "a chunk's head", "requests"],
)
def test_what_never_ends_takes_no_memory(served: Served, begins: bytes, more: bytes) -> None:
    connection = served.connect(begins)
    connection.settimeout(HANG_SECONDS)
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(10_000):
            connection.sendall(more)
    assert served.ask("GET", "/health")[0] == 200


def test_requests_behind_each_other_are_answered_in_their_order(served: Served) -> None:
    asked = [b"GET /health", b"POST /v1/predict?mode=all", b"GET /health", b"GET /v1/nothing"]
    heads = [one + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n" for one in asked]
    said = read_to_the_end(served.connect(b"".join(heads)))  # who asked for nothing is cut after it
    assert [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"400", b"200", b"404"]
    said = read_to_the_end(served.connect(heads[0] + b"no HTTP\r\n\r\n"))
    assert said.startswith(b"HTTP/1.1 200") and said.count(b"HTTP/1.1 ") == 1


def read_to_the_end(connection: socket.socket) -> bytes:
    said = b""
    try:
        while piece := connection.recv(10_000):
            said += piece
    except ConnectionResetError:
        pass
    return said


def test_a_flood_is_refused_at_once_and_the_others_are_answered(
    recognizer: Recognizer, video: Path, temporary: Path
) -> None:
    body = video.read_bytes()
    found: list[int] = []
    with serving(recognizer, queue=2, timeout_seconds=HANG_SECONDS) as served:

        def ask() -> None:
            found.append(served.ask("POST", "/v1/predict?mode=timeline", body)[0])

        threads = [threading.Thread(target=ask) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: served.num_active == 0)
        assert served.ask("POST", "/v1/predict", body)[0] == 200
    assert len(found) == 40 and set(found) == {200, 429} and found.count(200) >= 3
    assert left_over(temporary) == []
