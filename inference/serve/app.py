"""The server's addresses: each takes a request apart, asks the service, and puts the answer together."""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from importlib.metadata import version
from typing import Any, BinaryIO, cast

import click
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.answers import IN_MEMORY, Event, signs_of
from signprep.inference.serve.decoders import TooSlowError
from signprep.inference.serve.guard import Guard, Receive, Scope, Send, worded
from signprep.inference.serve.metrics import CONTENT_TYPE
from signprep.inference.serve.openapi import description
from signprep.inference.serve.options import SINGLE, ServeOptions, read_query
from signprep.inference.serve.service import FullError, Service
from signprep.inference.serve.web.page import page_text
from signprep.inference.timeline.subtitles import subtitles_beside
from signprep.pipeline.datasets.read import NO_SIGN_GLOSS
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.runtime.text import byte_size, json_text

EVENTS, CLIPS = "text/event-stream", "application/x-npy"
CLIENT_LEFT = 499
"""In the counts, as nginx says it: nobody gets this status."""
_WRITTEN_TOGETHER = 2**20
_SILENCE_SECONDS = 15.0
_LONGEST_NAME = 200
_LONGEST_SIGNS = 4_000_000
_SMALL_SECONDS = 30.0


def make_app(recognizer: Recognizer, options: ServeOptions) -> Starlette:
    """Return the server as an ASGI application, whose lifespan starts and ends its processes."""
    service = Service(recognizer, options)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)

    app = Starlette(
        routes=[
            Route("/v1/predict", Predict(service), methods=["POST"]),
            Route("/v1/model", model),
            Route("/v1/subtitles", subtitles, methods=["POST"]),
            Route("/openapi.json", openapi),
            Route("/", page),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        middleware=[Middleware(cast(Any, Guard), options=options)],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
        lifespan=lifespan,
    )
    app.state.service = service
    return app


class Predict:
    """The address that answers for a video, or for clips as a cache stores them, as JSON or as events."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, which has its place in the queue until the answer is sent."""
        request = Request(scope, receive)
        status, refused = CLIENT_LEFT, None
        try:
            with self._service.place():
                response = await self._answer(request)
                status = response.status_code
                await response(scope, receive, send)
        except ClientDisconnect:
            status = CLIENT_LEFT
        except (SignprepError, click.UsageError, HTTPException) as error:
            refused = refusal(error, request)
            status = refused.status_code
        except Exception:
            status = 500
            raise
        finally:
            self._service.metrics.add("requests_total", status=str(status))
        if refused is not None:
            await refused(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        query = read_query(request.query_params.multi_items())
        if len(query.name) > _LONGEST_NAME:
            raise click.UsageError(f"Invalid value for '--name': it is longer than {_LONGEST_NAME} characters")
        if request.headers.get("content-type", "").partition(";")[0].strip() == CLIPS:
            if query.gives_windows:
                raise click.UsageError(f"clips have no windows; leave out all but mode={SINGLE}, or send a video")
            with await received(request, self._service, in_memory=IN_MEMORY) as clips:
                return await _while_there(self._service.clips(clips, query), request)
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise SignprepError("a form was sent; send the video itself as the body of the request, as curl -T does")
        file = await received(request, self._service)
        events = self._service.video(file, query)
        if EVENTS in request.headers.get("accept", ""):
            return StreamingResponse(_told(events, request), media_type=EVENTS, headers={"x-accel-buffering": "no"})
        return await _while_there(_last(events), request)


async def _last(events: AsyncGenerator[Event]) -> Any:
    document = None
    async with contextlib.aclosing(events):
        async for event in events:
            document = event.document
    return document


async def _while_there(answering: Coroutine[Any, Any, Any], request: Request) -> Response:
    """Return the document as a response, or raise ClientDisconnect when the client leaves."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, leaving = asyncio.create_task(answering), asyncio.create_task(left())
    try:
        await asyncio.wait([work, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        document = work.result()
        # Long ones take seconds, in which others want to be answered.
        return (
            await asyncio.to_thread(json_response, document) if isinstance(document, list) else json_response(document)
        )
    finally:
        work.cancel()
        leaving.cancel()


async def _told(events: AsyncGenerator[Event], request: Request) -> AsyncIterator[str]:
    """Yield server-sent events, the last of which is `result` or `error`; a comment where nothing happens for long."""
    async with contextlib.aclosing(events):
        coming = asyncio.ensure_future(anext(events))
        try:
            while True:
                while not (await asyncio.wait([coming], timeout=_SILENCE_SECONDS))[0]:
                    yield ": waiting\n\n"
                event = coming.result()
                yield await asyncio.to_thread(_event, event.kind, event.document)
                if event.kind == "result":
                    return
                coming = asyncio.ensure_future(anext(events))
        except (SignprepError, HTTPException) as error:
            response = refusal(error, request)
            yield _event("error", json.loads(bytes(response.body)) | {"status": response.status_code})
        finally:
            coming.cancel()
            await asyncio.wait([coming])


def _event(kind: str, document: Any) -> str:
    return f"event: {kind}\ndata: {json_text(document, indent=None)}\n\n"


async def received(request: Request, service: Service, *, in_memory: int = 0) -> BinaryIO:
    """Return what is sent, as a file without a name, which is gone with its last descriptor, whatever happens.

    Args:
        request: whose body it is.
        service: bounds it.
        in_memory: as many bytes are kept in memory, without a file.

    Raises:
        HTTPException: it is too large, or comes too slowly.
        ClientDisconnect: it ends early.
    """
    options = service.options
    declared = request.headers.get("content-length", "0")
    too_large = HTTPException(413, f"the upload is larger than {options.max_megabytes} MB; send a shorter video")
    if not declared.isascii() or not declared.isdigit() or int(declared) > options.max_bytes:
        raise too_large
    try:
        # Its reader closes it.
        kept = tempfile.SpooledTemporaryFile(in_memory) if in_memory else tempfile.TemporaryFile(prefix="signprep-")  # noqa: SIM115
        file = cast(BinaryIO, kept)
    except OSError as error:
        raise HTTPException(507, f"the upload cannot be written ({error.strerror})") from error
    try:
        async with asyncio.timeout(options.timeout_seconds):
            await _receive_into(file, request, too_large, options.max_bytes, in_memory)
    except BaseException as error:
        file.close()
        if isinstance(error, TimeoutError):
            raise HTTPException(408, f"the upload was not there after {options.timeout_seconds:g} s") from None
        if isinstance(error, OSError):
            raise HTTPException(507, f"the upload cannot be written ({error.strerror})") from error
        raise
    service.metrics.add("upload_bytes_total", file.tell())
    file.seek(0)
    return file


async def _receive_into(
    file: BinaryIO, request: Request, too_large: HTTPException, max_bytes: int, in_memory: int
) -> None:
    waiting, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        waiting += chunk
        if len(waiting) >= _WRITTEN_TOGETHER:
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()
    if size <= in_memory:
        file.write(waiting)
    else:
        await asyncio.to_thread(_end_file, file, waiting)
    if not size:
        raise SignprepError("nothing was sent, or an empty file; send the video as the body of the request")


def _end_file(file: BinaryIO, waiting: bytearray) -> None:
    file.write(waiting)
    file.flush()


async def model(request: Request) -> Response:
    """Say what answers here, and what is refused."""
    service: Service = request.app.state.service
    recognizer, options = service.recognizer, service.options
    return json_response(
        {
            "signprep": version("signprep"),
            "glosses": list(recognizer.glosses),
            "idle_gloss": NO_SIGN_GLOSS if NO_SIGN_GLOSS in recognizer.glosses else None,
            "clips": [spec.to_dict() for spec in recognizer.clip_specs],
            "views": recognizer.num_views,
            "note": recognizer.calibration_note(),
            "limits": {
                "megabytes": options.max_megabytes,
                "video_seconds": options.max_video_seconds,
                "timeout_seconds": options.timeout_seconds,
                "queue": options.queue,
            },
        }
    )


async def openapi(request: Request) -> Response:
    """Describe the addresses to programs."""
    return json_response(description())


async def page(request: Request) -> Response:
    """Return the page, which has its own policy; nobody may frame it."""
    return HTMLResponse(page_text(), headers={"content-security-policy": "frame-ancestors 'none'"})


async def subtitles(request: Request) -> Response:
    """Return signs, the list that a timeline has, as the text of a file: SubRip, WebVTT or ELAN."""
    try:
        format_, name = request.query_params.get("format", "srt"), request.query_params.get("name", "video")
        signs = signs_of(await _small_body(request))
        text = subtitles_beside(f".{format_}", signs, name[:_LONGEST_NAME])
    except (SignprepError, HTTPException) as error:
        return refusal(error, request)
    return PlainTextResponse(text)


async def _small_body(request: Request) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(_SMALL_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _LONGEST_SIGNS:
                    raise HTTPException(413, f"signs are larger than {byte_size(_LONGEST_SIGNS)}")
    except TimeoutError:
        raise HTTPException(408, f"the upload was not there after {_SMALL_SECONDS:g} s") from None
    return bytes(body)


async def health(request: Request) -> Response:
    """Say that the server is there."""
    return json_response({"status": "ok"})


async def metrics(request: Request) -> Response:
    """Return the counts as Prometheus reads them."""
    service: Service = request.app.state.service
    return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE)


def json_response(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a document as commands print it, which every reader of JSON takes."""
    body = json_text(document, indent=None) + "\n"
    return Response(body, status, headers=headers, media_type="application/json")


def refusal(error: SignprepError | click.UsageError | HTTPException, request: Request) -> Response:
    """Return an error with the words of the command line, in the language that is asked for."""
    headers: dict[str, str] = {}
    if isinstance(error, click.UsageError):
        status, told = 400, error.format_message()
    elif isinstance(error, HTTPException):
        headers = {"connection": "close"} | dict(error.headers or {})
        status, told = error.status_code, error.detail
    else:
        status, told = 422, " ".join(str(error).splitlines())
    if isinstance(error, FullError):
        status, headers = 429, {"retry-after": str(error.retry_after_seconds), "connection": "close"}
    elif isinstance(error, TooSlowError):
        status = 504
    elif isinstance(error, CheckpointError):
        status = 500
    return json_response({"error": worded(told, request.headers)}, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error, request)


async def _bug(request: Request, error: Exception) -> Response:
    return json_response({"error": "the server has made a mistake, which its log tells"}, 500)
