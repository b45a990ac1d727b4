"""The command `serve` as a program: what it says, a real request, and its end."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from click.testing import CliRunner

from signprep.inference.serve.http.run import listening
from signprep.pipeline.cli import cli
from tests.small_networks import PROGRAM
from tests.waiting import HANG_SECONDS, until

ROOT = Path(__file__).parents[3]


@contextmanager
def running(checkpoint: Path, folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield the program and its address; it is killed if it still runs when the block ends."""
    script = folder / "program.py"
    script.write_text(PROGRAM)
    (folder / "temporary").mkdir()
    command = [sys.executable, str(script), "serve", "--checkpoint", str(checkpoint), "--port", "0", *arguments]
    environment = os.environ | {"TMPDIR": str(folder / "temporary"), "PYTHONPATH": str(ROOT)}
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert program.stderr is not None
        address = program.stderr.readline()
        assert address.startswith("http://127.0.0.1:") and address.endswith("/ (Ctrl-C ends it)\n"), address
        yield program, urlsplit(address.split()[0]).netloc
    finally:
        program.kill()
        program.communicate()


def test_the_program_answers_and_ends_with_its_processes(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    with running(checkpoint, tmp_path, "--workers", "1") as (program, address):
        connection = http.client.HTTPConnection(address, timeout=HANG_SECONDS)
        with video.open("rb") as file:
            connection.request(
                "POST", "/v1/predict?mode=windows", file, {"Transfer-Encoding": "chunked"}, encode_chunked=True
            )
        answer = connection.getresponse()
        assert answer.status == 200 and len(json.loads(answer.read())) == 2
        # A request whose upload has begun is there when the program is told to end.
        connection.putrequest("POST", "/v1/predict")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(b"the beginning")
        if sys.platform == "linux":
            children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
            processes = children.read_text("utf-8").split()
            assert processes
        connection.close()
        program.send_signal(signal.SIGTERM)
        program.wait(HANG_SECONDS)
        assert program.returncode == -signal.SIGTERM and program.stderr is not None
        assert program.stderr.read() == "" and list((tmp_path / "temporary").iterdir()) == []
        if sys.platform == "linux":
            until(lambda: not any(Path(f"/proc/{process}/exe").exists() for process in processes))


def test_no_part_of_an_answer_waits_until_the_one_before_is_acknowledged() -> None:
    async def delay_is_off(listener: socket.socket) -> int:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        async with await asyncio.start_server(lambda _, writer: accepted.set_result(writer), sock=listener):
            _, client = await asyncio.open_connection(*listener.getsockname()[:2])
            server = await accepted
            option: int = server.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for writer in (client, server):
                writer.close()
                await writer.wait_closed()
        return option

    with listening("127.0.0.1", 0) as listener:
        assert asyncio.run(delay_is_off(listener))


def test_an_address_that_is_taken_and_one_without_a_token_are_told(checkpoint: Path) -> None:
    def told(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, ["serve", "--checkpoint", str(checkpoint), *arguments])
        return result.exit_code, f"{result.output}{result.exception}"

    with listening("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        code, message = told("--port", port)
    assert code == 1 and f"127.0.0.1:{port}: cannot be listened on (Address already in use)" in message
    code, message = told("--port", "0", "--idle-gloss", "nowhere")
    assert code == 1 and "the model knows no gloss 'nowhere' for no sign; its glosses are" in message
    code, message = told("--host", "0.0.0.0")
    assert code == 2 and "it needs a --token, or SIGNPREP_TOKEN in the environment" in message
    code, message = told("--host", "0.0.0.0", "--token", "short")
    assert code == 2 and "--token has 5 characters; it must have at least 16" in message
