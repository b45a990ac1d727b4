"""Real servers on loopback: an S3-compatible one, OpenSSH's sftp, and a web server that knows byte ranges."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.waiting import until

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3-compatible server with an empty memory; yields its address."""
    command = [sys.executable, "-c", _MOTO]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def make_bucket(endpoint: str, name: str) -> None:
    """Make a bucket; its place in the environment is the caller's."""
    import fsspec

    fs = fsspec.filesystem("s3", endpoint_url=endpoint, key="key", secret="secret", skip_instance_cache=True)
    fs.mkdir(name)


@contextmanager
def sftp_server(folder: Path) -> Iterator[tuple[str, Path]]:
    """OpenSSH's server; yields the URL of its root and a home folder with a key and a known host."""
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(sshd).exists():
        assert not os.environ.get("CI"), "CI has OpenSSH's server"
        pytest.skip("OpenSSH's server is not installed")
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh").chmod(0o700)
    for key in (folder / "host_key", home / ".ssh" / "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (folder / "authorized_keys").write_text((home / ".ssh" / "id_ed25519.pub").read_text())
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\n"
        "MaxStartups 100\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    process, port = _listening(sshd, folder)
    with process:
        try:
            host_key = (folder / "host_key.pub").read_text()
            (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
            user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
            yield f"sftp://{user}@127.0.0.1:{port}", home
        finally:
            process.kill()


def _listening(sshd: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start OpenSSH's server, which does not choose a free port itself: another program may be quicker at one."""
    while True:
        port = free_port()
        log = folder / f"sshd-{port}.log"
        log.touch()
        command = [sshd, "-D", "-f", str(folder / "sshd_config"), "-p", str(port), "-E", str(log)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(partial(_has_said_or_ended, process, log, "Server listening"))
        if process.poll() is None:
            return process, port
        assert "Address already in use" in log.read_text(), log.read_text()


def _has_said_or_ended(process: subprocess.Popen[bytes], log: Path, words: str) -> bool:
    return process.poll() is not None or words in log.read_text()


@dataclass
class WebServer:
    """A folder served over HTTP."""

    url: str
    requests: list[tuple[str, int]] = field(default_factory=list)
    """Path and bytes of each answer."""
    broken: list[int] = field(default_factory=list)
    """Status codes that the next requests are answered with."""


@contextmanager
def web_server(folder: Path, *, ranges: bool = True) -> Iterator[WebServer]:
    """A web server of a folder, with byte ranges unless they are left out."""
    served = WebServer(url="")

    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            path = Path(self.translate_path(self.path))
            if served.broken:
                self.send_error(served.broken.pop(0))
                return
            if not path.is_file():
                self.send_error(404)
                return
            data = path.read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first, last = (int(asked[1]), int(asked[2] or len(data) - 1)) if asked and ranges else (0, len(data) - 1)
            part = data[first : last + 1]
            self.send_response(206 if asked and ranges else 200)
            if asked and ranges:
                self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
            if ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            served.requests.append((self.path, len(part)))  # before the last byte: who has it may look at once
            self.wfile.write(part)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
