"""SSH connections that are cut, whose server goes away for a while, or that fall silent: the transfer goes on."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from signprep.cache_builder import open_cache
from signprep.cache_builder.remote import storage
from signprep.cache_builder.remote.pull import pull
from signprep.cache_builder.remote.push import push
from signprep.cache_builder.remote.storage import RemoteFolder
from signprep.pipeline.errors import CacheError
from tests.cache_builder.made_caches import make_cache


class Line:
    """A line to a server of this machine, byte for byte, until something happens to it."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self.passes = threading.Event()
        self.passes.set()
        self.num_connections = 0
        self.bytes_until_cut: int | None = None
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._server_port))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends += [near, far]
            self.num_connections += 1
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(2**14):
                self.passes.wait()
                other.sendall(data)
                if self.bytes_until_cut is not None:
                    self.bytes_until_cut -= len(data)
                    if self.bytes_until_cut <= 0:
                        self.bytes_until_cut = None
                        self.cut()
        except OSError:
            pass
        for end in (one, other):
            end.close()

    def cut(self) -> None:
        """End all connections."""
        for end in self._ends:
            with suppress(OSError):  # it has ended already
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def take_away(self) -> None:
        """End all connections, and have new ones refused."""
        with suppress(OSError):  # it was taken away before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def bring_back(self) -> None:
        """Listen again on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()


@pytest.fixture
def line(sftp_root: tuple[str, Path], sftp_url: str) -> Iterator[Line]:
    root, home = sftp_root
    line = Line(int(root.rpartition(":")[2]))
    known_hosts = home / ".ssh" / "known_hosts"
    before = known_hosts.read_text()
    known_hosts.write_text(before + f"[127.0.0.1]:{line.port} {before.split(' ', 1)[1]}")
    yield line
    line.take_away()
    known_hosts.write_text(before)


@pytest.fixture
def url(line: Line, sftp_root: tuple[str, Path], sftp_url: str) -> str:
    """A place of this test's own, by way of the line."""
    root = sftp_root[0]
    return sftp_url.replace(root, f"{root.rpartition(':')[0]}:{line.port}")


@pytest.fixture
def folder(url: str) -> RemoteFolder:
    folder = RemoteFolder(url)
    folder.upload(b"before", "before")
    return folder


def test_a_connection_that_was_cut_is_made_anew(line: Line, folder: RemoteFolder) -> None:
    line.cut()
    assert folder.read("before") == b"before"
    line.cut()
    folder.upload(b"after", "after")
    line.cut()
    assert folder.sizes("") == {"before": 6, "after": 5}
    line.cut()
    folder.delete(["after"])
    assert folder.sizes("") == {"before": 6} and line.num_connections == 5


def test_a_connection_that_is_cut_in_its_first_transfer_is_not_used_again(
    url: str, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", pauses.append)
    folder = RemoteFolder(url)
    line.bytes_until_cut = 100_000
    folder.upload(bytes(10**6), "large")
    assert len(pauses) == 1 and line.num_connections == 2
    assert folder.sizes("")["large"] == 10**6  # beside it lies what the first try has begun


def test_a_server_that_is_away_for_a_while_is_waited_for(
    line: Line, folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            line.bring_back()

    monkeypatch.setattr(storage.time, "sleep", pause)
    line.take_away()
    assert folder.read("before") == b"before" and len(pauses) == 3


def test_a_server_that_stays_away_is_one_error(
    line: Line, folder: RemoteFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", pauses.append)
    line.take_away()
    with pytest.raises(CacheError, match="nobody answers there"):
        folder.read("before")
    assert len(pauses) == storage.TRIES - 1


def test_a_line_that_falls_silent_is_given_up(url: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "SECONDS_BETWEEN_LOOKS", 0.2)
    folder = RemoteFolder(url)
    folder.upload(b"before", "before")
    line.passes.clear()
    given_up = threading.Timer(2, line.passes.set)  # for connections that are made later
    given_up.start()
    assert folder.read("before") == b"before" and line.num_connections >= 2
    given_up.join()


def test_a_push_and_a_pull_go_on_where_connections_are_cut_again_and_again(
    url: str, line: Line, tmp_path: Path
) -> None:
    cache = make_cache(tmp_path / "mine.zarr", range(16), clips_per_shard=4)
    for transfer in (lambda: push(cache.path, url), lambda: pull(url, tmp_path / "theirs.zarr")):
        line.bytes_until_cut = 8_000
        before = line.num_connections
        transfer()
        assert line.num_connections > before + 1
    assert open_cache(tmp_path / "theirs.zarr").fingerprint == cache.fingerprint
