"""Real servers on loopback: an S3-compatible one, OpenSSH's sftp, and a web server that knows byte ranges."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the server has ended"
        time.sleep(0.1)
    raise AssertionError("the server does not answer")


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3-compatible server with an empty memory; yields its address."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
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
    home, port = folder / "home", free_port()
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh").chmod(0o700)
    for key in (folder / "host_key", home / ".ssh" / "id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (folder / "authorized_keys").write_text((home / ".ssh" / "id_ed25519.pub").read_text())
    host_key = (folder / "host_key.pub").read_text()
    (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPermitRootLogin yes\nPasswordAuthentication no\nUsePAM no\n"
        "MaxStartups 100\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    command = [sshd, "-D", "-e", "-f", str(folder / "sshd_config")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
            yield f"sftp://{user}@127.0.0.1:{port}", home
        finally:
            process.kill()


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
            self.wfile.write(part)
            served.requests.append((self.path, len(part)))

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
