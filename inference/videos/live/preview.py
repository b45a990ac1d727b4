"""The page of `signprep live --preview`: pictures, the present answer and the signs, in a browser on this machine.

In: what a session finds. Out: a page and its events (server-sent ones) from the loopback address. The address has a
secret part, since other users of a machine reach its loopback address as well. In memory are the last picture and the
last signs; a browser that is slow gets fewer pictures, and nobody waits for it.
"""

import base64
import io
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

from av import VideoFrame

from signprep.inference.timeline.segments import TimelineSegment
from signprep.inference.videos.live.recognizer import LiveAnswer
from signprep.inference.videos.live.session import Listener, Statistics
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.html.page import render_page
from signprep.pipeline.runtime.text import json_text

_ADDRESS = "127.0.0.1"
_PICTURE_SECONDS = 0.1
_LONGEST_SIDE = 480
_MOST_SIGNS = 1000
_MOST_READERS = 8
_SILENCE_SECONDS = 5.0
"""After so long without an event an empty one shows whether a browser is still there."""


class _Events:
    """What browsers are told: the latest of each kind, and the last signs."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.latest: dict[str, tuple[int, str]] = {}
        self.signs: deque[tuple[int, str]] = deque(maxlen=_MOST_SIGNS)
        self.number = 0
        self.readers = 0
        self.has_ended = False

    def put(self, kind: str, data: Any) -> None:
        """Tell all browsers."""
        text = json_text(data, indent=None)
        with self.changed:
            self.number += 1
            if kind == "sign":
                self.signs.append((self.number, text))
            else:
                self.latest[kind] = self.number, text
            self.changed.notify_all()

    def after(self, number: int) -> tuple[int, list[tuple[str, str]]]:
        """Return the number of the last event, and those after another one that still count, once there are some."""
        with self.changed:
            self.changed.wait_for(lambda: self.number > number or self.has_ended, _SILENCE_SECONDS)
            found = [("sign", text) for at, text in self.signs if at > number]
            found += [(kind, text) for kind, (at, text) in self.latest.items() if at > number]
            return self.number, found

    def end(self) -> None:
        """Let all browsers go."""
        with self.changed:
            self.has_ended = True
            self.changed.notify_all()


class Preview(Listener):
    """Tells browsers what a session finds."""

    def __init__(self, url: str, events: _Events) -> None:
        self.url = url
        """The address of the page."""
        self._events = events
        self._next_picture = self._next_figures = 0.0

    def picture(self, frame: VideoFrame, seconds: float) -> None:
        """Show a frame, if somebody looks and the last one was some time ago."""
        if not self._events.readers or time.monotonic() < self._next_picture:
            return
        self._next_picture = time.monotonic() + _PICTURE_SECONDS
        self._events.put("picture", {"source": f"data:image/jpeg;base64,{_jpeg(frame)}"})

    def window(self, answer: LiveAnswer, latency_seconds: float) -> None:
        """Show the present answer."""
        shown = {"gloss": answer.gloss, "confidence": answer.confidence, "end": answer.span.end_seconds}
        self._events.put("window", shown | {"latency": latency_seconds})

    def sign(self, sign: TimelineSegment) -> None:
        """Add a sign to the list."""
        shown = {"start": sign.start_seconds, "end": sign.end_seconds, "gloss": sign.gloss}
        self._events.put("sign", shown | {"confidence": sign.confidence})

    def statistics(self, statistics: Statistics) -> None:
        """Show the figures, once a second."""
        if time.monotonic() >= self._next_figures:
            self._next_figures = time.monotonic() + 1.0
            self._events.put("statistics", statistics.to_dict())

    def end(self, statistics: Statistics) -> None:
        """Show the last figures, and that there are no more."""
        self._events.put("statistics", statistics.to_dict())
        self._events.put("end", {})


def _jpeg(frame: VideoFrame) -> str:
    scale = min(1.0, _LONGEST_SIDE / max(frame.width, frame.height))
    small = frame.reformat(round(frame.width * scale / 2) * 2, round(frame.height * scale / 2) * 2, format="rgb24")
    file = io.BytesIO()
    small.to_image().save(file, "JPEG", quality=70)
    return base64.b64encode(file.getvalue()).decode()


@contextmanager
def served_preview(port: int) -> Iterator[Preview]:
    """Serve the page while the block runs. Raises SignprepError if the port is taken."""
    events, secret = _Events(), secrets.token_urlsafe(12)
    folder = files("signprep.inference.videos.live")
    page = render_page(folder, "preview.html", scripts=["preview.js"], connects=True, title="signprep live")
    handler = type("_Handler", (_Handler,), {"events": events, "secret": secret, "page": page.encode("utf-8")})
    try:
        server = ThreadingHTTPServer((_ADDRESS, port), handler)
    except OSError as error:
        raise SignprepError(
            f"port {port}: cannot be served ({error.strerror}); choose another --port, or none"
        ) from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="signprep-preview", daemon=True)
    thread.start()
    try:
        yield Preview(f"http://{_ADDRESS}:{server.server_port}/{secret}/", events)
    finally:
        events.end()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers for the page and its events, and for nothing else."""

    events: _Events
    secret: str
    page: bytes
    disable_nagle_algorithm = True  # or a part of an answer waits until the one before is acknowledged
    timeout = 10
    server_version, sys_version = "signprep", ""

    def do_GET(self) -> None:
        """Answer a request."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (_ADDRESS, "localhost"):  # a name of somebody else that leads here
            self.send_error(403)
        elif self.path == f"/{self.secret}/":
            self._begin("text/html; charset=utf-8", len(self.page))
            self.wfile.write(self.page)
        elif self.path == f"/{self.secret}/events":
            self._tell_events()
        else:
            self.send_error(404)

    def _begin(self, kind: str, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _tell_events(self) -> None:
        events = self.events
        with events.changed:
            if events.readers >= _MOST_READERS:
                return self.send_error(503)
            events.readers += 1
        try:
            self._begin("text/event-stream")
            last = self.headers.get("Last-Event-ID", "")
            number = int(last) if last.isdecimal() else 0
            while True:
                number, found = events.after(number)
                told = "".join(f"event: {kind}\nid: {number}\ndata: {text}\n\n" for kind, text in found)
                self.wfile.write((told or ":\n\n").encode("utf-8"))
                if events.has_ended:
                    return None
        except OSError:  # a browser that has gone
            return None
        finally:
            with events.changed:
                events.readers -= 1

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""
