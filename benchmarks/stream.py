"""The first epoch of training on a cache behind a link of 1 Gbit/s and 20 ms: how long it waits for data.

A web server in a process of its own serves the cache; each answer begins 20 ms after its request, and all answers
together leave at 125 MB/s. (The kernel's own shaping, netem, would slow down each connection's start as well; it is not
available everywhere, and this is the same on every machine.) The loader feeds a training step of fixed length, 200
clips/s. The order is that of training; shards come to an empty folder. Then the same with a folder that holds half of
the cache, for two epochs (medium: one): its largest size is noted every few milliseconds.
"""

import multiprocessing
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks._report import Bar, chart, figure, print_line, print_machine, print_table
from benchmarks._signing import many_clips, signing_cache, signing_sample
from benchmarks._size import Size
from signprep.cache_builder import open_cache
from signprep.cache_builder.building.plan import MAX_CLIPS_PER_SHARD
from signprep.cache_builder.options import StreamOptions
from signprep.cache_builder.remote.streaming import StreamedCache
from signprep.pipeline.clip_spec import ClipSpec
from signprep.training.data import epoch_order as order
from signprep.training.loader import ClipLoader

DELAY_SECONDS, LINK_BYTES_PER_SECOND = 0.020, 125e6
BATCH, CLIPS_PER_SECOND = 16, 200
_BLOCK_BYTES = 2**18


def run(size: Size) -> None:
    toy = size is Size.TOY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = signing_cache(signing_sample(size), ClipSpec(num_frames=4, size=32) if toy else ClipSpec())
        cache = many_clips(
            small, folder / "served" / "a.zarr", size.pick(64, 3584, 6144), 4 if toy else MAX_CLIPS_PER_SHARD
        )
        num_bytes = sum(entry.num_bytes for entry in cache.manifest.objects.values())
        print_machine(["aiohttp", "fsspec"])
        needed = num_bytes / len(cache) * CLIPS_PER_SECOND / 1e6
        print_line(
            f"{len(cache)} clips, {num_bytes / 1e9:.2f} GB, shards of {cache.info.clips_per_shard}; "
            f"{needed:.0f} of {LINK_BYTES_PER_SECOND / 1e6:.0f} MB/s are needed"
        )
        bars: list[Bar] = []
        rows = [("", "clips/s", "waiting for data", "largest folder / its bound")]
        with link(folder / "served") as url:
            rows += epochs(f"{url}/a.zarr", folder / "whole", num_bytes, "", 1, len(cache), bars)
            window = order.WINDOW_CLIPS
            order.WINDOW_CLIPS = len(cache) // 8
            try:
                num_epochs, bound = size.pick(2, 1, 2), num_bytes // 2
                rows += epochs(f"{url}/a.zarr", folder / "half", bound, ", bound of half", num_epochs, len(cache), bars)
            finally:
                order.WINDOW_CLIPS = window
        print_table(rows)
        figure("stream.wait", bars[0].value / 100)
        chart("Training over a link of 1 Gbit/s and 20 ms", "% of the epoch that waits for data", bars)


def epochs(
    url: str, folder: Path, bound: int, name: str, num_epochs: int, num_clips: int, bars: list[Bar]
) -> list[tuple[str, str, str, str]]:
    """Return a row an epoch; append a bar for each."""
    cache = open_cache(url, stream=StreamOptions(folder=folder, max_bytes=bound))
    assert isinstance(cache, StreamedCache)
    loader = ClipLoader(cache=cache, positions=cache.positions(), batch_size=BATCH, shuffle=True, num_workers=2)
    rows = []
    for epoch in range(1, num_epochs + 1):
        with largest(folder / "objects") as sizes:
            waited, started = loader.wait_seconds, time.perf_counter()
            for batch in loader:
                time.sleep(len(batch) / CLIPS_PER_SECOND)  # the training step
            seconds = time.perf_counter() - started
        wait = (loader.wait_seconds - waited) / seconds
        bars.append(Bar(name=f"epoch {epoch}{name}", value=100 * wait, ours=True))
        rows.append(
            (f"epoch {epoch}{name}", f"{num_clips / seconds:.0f}", f"{100 * wait:.1f} %", f"{max(sizes) / bound:.2f}")
        )
    loader.close()
    return rows


@contextmanager
def largest(folder: Path) -> Iterator[list[int]]:
    """Note the size of a folder, what is on its way included, every few milliseconds."""
    sizes, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.005):
            total = 0
            for entry in os.scandir(folder):
                try:
                    total += int(entry.name.split(".")[2]) if entry.name.startswith(".") else entry.stat().st_size
                except FileNotFoundError:
                    continue
            sizes.append(total)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        stop.set()
        thread.join()


@contextmanager
def link(folder: Path) -> Iterator[str]:
    """Serve a folder over the link from a process of its own; yields its address."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


class _Link:
    """When the next block may leave."""

    def __init__(self) -> None:
        self._lock, self._free_at = threading.Lock(), 0.0

    def send(self, num_bytes: int) -> None:
        with self._lock:
            now = time.perf_counter()
            self._free_at = max(self._free_at, now - 0.005) + num_bytes / LINK_BYTES_PER_SECOND
            wait = self._free_at - now
        if wait > 0:
            time.sleep(wait)


def serve(folder: Path, port: Connection) -> None:
    shared = _Link()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            time.sleep(DELAY_SECONDS)
            path = folder / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            size = path.stat().st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first, last = (int(asked[1]), min(int(asked[2] or size), size - 1)) if asked else (0, size - 1)
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            with path.open("rb") as file:
                file.seek(first)
                left = last + 1 - first
                while left:
                    block = file.read(min(left, _BLOCK_BYTES))
                    shared.send(len(block))
                    self.wfile.write(block)
                    left -= len(block)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    port.send(server.server_address[1])
    server.serve_forever()
