"""`signprep serve` in a process of its own, clients that ask it at the same time, and what it takes of the machine."""

import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.options import TOKEN_VARIABLE
from signprep.training.model.checkpoint import CHECKPOINT_KEY, write_checkpoint

_PROGRAM = "from signprep.pipeline.cli import main; main()"
_LONGEST_SECONDS = 300.0
"""After which a client takes an answer for lost."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a client sends."""

    kind: str
    body: bytes
    status: int | None
    """Of the answer that is right; None if the client goes when half of the body is sent."""
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    declared_bytes: int | None = None
    """Say that the body is so large, and wait for the answer without sending it."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client got."""

    request: Request
    status: int | None
    """None if the client went, 0 if there was no answer."""
    document: Any
    seconds: float
    """From the first byte that was sent to the last one of the answer."""


class Server:
    """A running server."""

    def __init__(self, process_id: int, address: str, temporary: Path) -> None:
        self._process_id, self.address, self.temporary = process_id, address, temporary

    def counts(self) -> dict[str, float]:
        """Return what the server has counted, by Prometheus' names without their prefix."""
        connection = http.client.HTTPConnection(self.address, timeout=_LONGEST_SECONDS)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("signprep_"): float(value) for name, _, value in lines}

    def counts_at_rest(self) -> dict[str, float]:
        """Return the counts when no request is there any more; those whose clients went may take a moment."""
        end = time.monotonic() + _LONGEST_SECONDS
        while (found := self.counts())["requests_active"]:
            if time.monotonic() > end:
                raise TimeoutError(f"{found['requests_active']:g} requests do not end")
            time.sleep(0.05)
        return found

    @property
    def processes(self) -> list[int]:
        """Ids of the server's process, and of those that decode."""
        children = Path(f"/proc/{self._process_id}/task/{self._process_id}/children")
        return [self._process_id, *(int(number) for number in children.read_text("utf-8").split())]

    def resident_mib(self) -> tuple[float, float]:
        """Return the resident memory of the server's process, and of those that decode together."""
        server, *decoders = (resident_mib(process) for process in self.processes)
        return server, sum(decoders)

    def files_left(self) -> list[str]:
        """Return what lies in the temporary folder, and what without a name is still open there."""
        found = [str(path) for path in self.temporary.rglob("*")]
        for process in self.processes:
            for descriptor in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):  # closed meanwhile
                    target = str(descriptor.readlink())
                    found += [target] if target.startswith(str(self.temporary)) else []
        return found


def resident_mib(process_id: int) -> float:
    """Return a process's resident memory."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def serving(recognizer: Recognizer, folder: Path) -> Iterator[Server]:
    """Yield a server of the model with default options; it has ended after the block."""
    checkpoint, temporary = folder / "model.ckpt", folder / "temporary"
    temporary.mkdir()
    weights = {f"model.{name}": value for name, value in recognizer.model.state_dict().items()}
    write_checkpoint(checkpoint, {"state_dict": weights, CHECKPOINT_KEY: recognizer.metadata.to_dict()})
    command = [sys.executable, "-c", _PROGRAM, "serve", "--checkpoint", str(checkpoint), "--port", "0"]
    with started(command, folder / "log.txt", {"TMPDIR": str(temporary)}) as (process_id, address):
        yield Server(process_id, address, temporary)


@contextmanager
def started(command: list[str], log: Path, variables: dict[str, str]) -> Iterator[tuple[int, str]]:
    """Yield the process id and the address of a program that says on stderr, which is logged, where it listens."""
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    with log.open("w", encoding="utf-8") as errors:
        program = subprocess.Popen(command, stderr=errors, env=environment | variables)
    try:
        yield program.pid, _address(program, log)
    finally:
        program.terminate()
        program.wait(_LONGEST_SECONDS)


def _address(program: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + _LONGEST_SECONDS
    while True:
        has_ended = program.poll() is not None
        told = log.read_text(encoding="utf-8")
        if told.startswith("http://") and told.endswith("\n"):
            return urlsplit(told.split()[0]).netloc
        if has_ended or time.monotonic() > end:
            raise RuntimeError(f"the server does not start: {told}")
        time.sleep(0.05)


def ask_all(
    server: Server, requests: Sequence[Request], num_clients: int, after: Callable[[], object] = lambda: None
) -> list[Answer]:
    """Return the answers in the order in which they came; each client asks again as soon as it has one."""
    waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)
    answers: list[Answer] = []
    lock = threading.Lock()

    def ask() -> None:
        connection = http.client.HTTPConnection(server.address, timeout=_LONGEST_SECONDS)
        with suppress(queue.Empty):
            while True:
                answer = _answered(connection, waiting.get_nowait())
                with lock:
                    answers.append(answer)
                    after()
        connection.close()

    with ThreadPoolExecutor(num_clients) as clients:
        for client in [clients.submit(ask) for _ in range(num_clients)]:
            client.result()
    return answers


def _answered(connection: http.client.HTTPConnection, request: Request) -> Answer:
    started = time.perf_counter()
    status, document = None, None
    length = len(request.body) if request.declared_bytes is None else request.declared_bytes
    try:
        connection.putrequest("POST", f"/v1/predict?{request.query}")
        for name, value in (("Content-Length", str(length)), *request.headers):
            connection.putheader(name, value)
        half = len(request.body) // 2 if request.status is None else len(request.body)
        connection.endheaders(request.body[:half] if request.declared_bytes is None else None)
        if request.status is None:
            connection.close()
        else:
            response = connection.getresponse()
            status, document = response.status, _document(response)
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
        status = 0
    return Answer(request=request, status=status, document=document, seconds=time.perf_counter() - started)


def _document(response: http.client.HTTPResponse) -> Any:
    """Return an answer's document, or those of its events. Raises ValueError if there is no whole one."""
    text = response.read().decode()
    if response.headers.get_content_type() != "text/event-stream":
        return json.loads(text)
    documents = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    if "event: result\n" not in text:
        raise ValueError(f"the events end without a result: {text[-200:]}")
    return documents
