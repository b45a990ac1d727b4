"""What is heavy or hostile against a server in a process of its own: its memory stays, and nothing is left."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.inference.serve.test_connections import read_to_the_end
from tests.inference.serve.test_program import running
from tests.waiting import HANG_SECONDS, until

GIGABYTE = 1_000_000_000
PIECE = bytes(1_000_000)
MOST_MIB = 48
"""What one upload may take of the server's memory, and leave in its allocator."""


def resident_mib(program: "subprocess.Popen[str]") -> float:
    pages = int(Path(f"/proc/{program.pid}/statm").read_text("utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def left_open(program: "subprocess.Popen[str]", folder: Path) -> list[str]:
    """Files of a folder, and those without a name that the program has open there."""
    found = [str(path) for path in folder.iterdir()]
    for path in Path(f"/proc/{program.pid}/fd").iterdir():
        target = str(path.readlink()) if path.is_symlink() else ""
        found += [target] if target.startswith(str(folder)) else []
    return found


def refusal_of(connection: socket.socket, pieces: Iterator[bytes]) -> bytes:
    """Send pieces until all are sent or the connection is cut; return what was answered."""
    try:
        for piece in pieces:
            connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return read_to_the_end(connection)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_two_gigabytes_are_refused_without_taking_memory(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n"
    declared = (b"Content-Length: %d\r\n\r\n" % (2 * GIGABYTE), PIECE)
    undeclared = (b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
    with running(checkpoint, tmp_path, "--workers", "1") as (program, address):
        host, port = address.split(":")

        def answered() -> int:
            with closing(http.client.HTTPConnection(address, timeout=HANG_SECONDS)) as connection:
                connection.request("POST", "/v1/predict", video.read_bytes())
                return connection.getresponse().status

        assert answered() == 200
        before = resident_mib(program)
        most = before
        for more, piece in (declared, undeclared):

            def pieces(piece: bytes = piece) -> Iterator[bytes]:
                nonlocal most
                for _ in range(2 * GIGABYTE // len(PIECE)):
                    yield piece
                    most = max(most, resident_mib(program))

            with socket.create_connection((host, int(port)), timeout=HANG_SECONDS) as connection:
                connection.sendall(head + more)
                said = refusal_of(connection, pieces())
            # One that still sends after ten seconds may lose the answer.
            assert not said or (said.startswith(b"HTTP/1.1 413 ") and b"larger than 200 MB" in said)
            assert answered() == 200
        assert most - before < MOST_MIB, (before, most)
        until(lambda: left_open(program, tmp_path / "temporary") == [])


@pytest.mark.slow
@pytest.mark.skipif("SIGNPREP_VIDEO_CORPUS" not in os.environ, reason="needs the video corpus")
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_broken_videos_of_all_kinds_are_answered_or_refused(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    files = sorted(
        path for path in Path(os.environ["SIGNPREP_VIDEO_CORPUS"]).rglob("*.*") if path.suffix not in (".json", ".md")
    )
    assert len(files) > 50
    options = ("--workers", "1", "--timeout-seconds", "30")
    with running(checkpoint, tmp_path, *options) as (program, address):
        for path in [*files, video]:
            connection = http.client.HTTPConnection(address, timeout=HANG_SECONDS)
            with path.open("rb") as file:
                connection.request("POST", "/v1/predict?mode=windows&clip-duration=0.2&stride=2&pad", file)
            answer = connection.getresponse()
            document = json.loads(answer.read())
            assert answer.status in (200, 422, 504), (path, document)
            assert answer.status == 200 or document["error"].startswith("video: "), (path, document)
            connection.close()
        assert answer.status == 200
        until(lambda: left_open(program, tmp_path / "temporary") == [])
        assert program.poll() is None
