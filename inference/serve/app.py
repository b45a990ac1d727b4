"""The server's addresses: each takes a request apart, asks the service, and puts the answer together."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from importlib.metadata import version
from typing import Any, BinaryIO, cast

import click
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.decoders import TooSlowError
from signprep.inference.serve.guard import Guard
from signprep.inference.serve.metrics import CONTENT_TYPE
from signprep.inference.serve.options import SINGLE, Query, ServeOptions, read_query
from signprep.inference.serve.service import FullError, Service
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.runtime.text import json_text

EVENTS, CLIPS = "text/event-stream", "application/x-npy"
CLIENT_LEFT = 499
"""In the counts, as nginx says it: nobody gets this status."""
_WRITTEN_TOGETHER = 2**20
_STILL_THERE_SECONDS = 15.0


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
            Route("/v1/predict", predict, methods=["POST"]),
            Route("/v1/model", model),
            Route("/health", health),
            Route("/metrics", metrics),
        ],
        middleware=[Middleware(cast(Any, Guard), options=options)],
        exception_handlers={HTTPException: _http_error, Exception: _bug},
        lifespan=lifespan,
    )
    app.state.service = service
    return app


async def predict(request: Request) -> Response:
    """Answer for a video, or for clips as a cache stores them, as JSON or as events."""
    service: Service = request.app.state.service
    response: Response
    try:
        with service.place():
            response = await _answer(request, service)
    except ClientDisconnect:
        response = Response(status_code=CLIENT_LEFT)
    except (SignprepError, click.UsageError, HTTPException) as error:
        response = _refusal(error)
    except Exception:
        service.metrics.add("requests_total", status="500")
        raise
    service.metrics.add("requests_total", status=str(response.status_code))
    return response


async def _answer(request: Request, service: Service) -> Response:
    query = read_query(request.query_params.multi_items())
    if len(query.name) > 200:
        raise click.UsageError("Invalid value for '--name': it is longer than 200 characters")
    if request.headers.get("content-type", "").partition(";")[0].strip() == CLIPS:
        if query.gives_windows:
            raise click.UsageError(f"clips have no windows; leave out all but mode={SINGLE}, or send a video")
        with await received(request, service) as clips:
            return json_response(await service.clips(clips.read(), query))
    file = await received(request, service)
    return await _video(request, service, file, query)


async def _video(request: Request, service: Service, file: BinaryIO, query: Query) -> Response:
    """Return the document; the work ends where the client leaves."""

    async def document() -> Any:
        async for event in service.video(file, query):
            if event.kind == "result":
                return event.document
        raise AssertionError("there was no result")

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, leaving = asyncio.create_task(document()), asyncio.create_task(left())
    try:
        await asyncio.wait([work, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientDisconnect
        return json_response(work.result())
    finally:
        work.cancel()
        leaving.cancel()


async def received(request: Request, service: Service) -> BinaryIO:
    """Return what is sent, as a file without a name, which is gone with its last descriptor, whatever happens.

    Raises:
        HTTPException: it is too large, or comes too slowly.
        ClientDisconnect: it ends early.
    """
    options = service.options
    declared = request.headers.get("content-length", "0")
    too_large = HTTPException(413, f"the upload is larger than {options.max_megabytes} MB; send a shorter video")
    if not declared.isascii() or not declared.isdigit() or int(declared) > options.max_bytes:
        raise too_large
    file = cast(BinaryIO, tempfile.TemporaryFile(prefix="signprep-"))  # noqa: SIM115  (its reader closes it)
    try:
        async with asyncio.timeout(options.timeout_seconds):
            await _receive_into(file, request, too_large, options.max_bytes)
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


async def _receive_into(file: BinaryIO, request: Request, too_large: HTTPException, max_bytes: int) -> None:
    waiting, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise too_large
        waiting += chunk
        if len(waiting) >= _WRITTEN_TOGETHER:
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(file.write, bytes(waiting))
    await asyncio.to_thread(file.flush)
    if not size:
        raise SignprepError("nothing was sent; send the video as the body of the request")


async def model(request: Request) -> Response:
    """Say what answers here, and what is refused."""
    service: Service = request.app.state.service
    recognizer, options = service.recognizer, service.options
    return json_response(
        {
            "signprep": version("signprep"),
            "glosses": list(recognizer.glosses),
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


def _refusal(error: SignprepError | click.UsageError | HTTPException) -> Response:
    """Return an error with the words of the command line."""
    if isinstance(error, HTTPException):
        headers = {"connection": "close"} | dict(error.headers or {})
        return json_response({"error": error.detail}, error.status_code, headers)
    if isinstance(error, click.UsageError):
        return json_response({"error": error.format_message()}, 400)
    document = {"error": " ".join(str(error).splitlines())}
    if isinstance(error, FullError):
        return json_response(document, 429, {"retry-after": str(error.retry_after_seconds), "connection": "close"})
    status = 504 if isinstance(error, TooSlowError) else 500 if isinstance(error, CheckpointError) else 422
    return json_response(document, status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refusal(error)


async def _bug(request: Request, error: Exception) -> Response:
    return json_response({"error": "the server has made a mistake, which its log tells"}, 500)
