"""The server's addresses: each takes a request apart, asks the service, and puts the answer together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from signprep.inference.options import TimelineOptions
from signprep.inference.recognizer import Recognizer
from signprep.inference.serve.answers import signs_of
from signprep.inference.serve.http.guard import Guard
from signprep.inference.serve.http.openapi import description
from signprep.inference.serve.http.predict import Predict
from signprep.inference.serve.http.refusals import json_response, refusal
from signprep.inference.serve.metrics import CONTENT_TYPE
from signprep.inference.serve.options import LONGEST_NAME, ServeOptions
from signprep.inference.serve.service import Service
from signprep.inference.serve.web.page import page_text
from signprep.inference.timeline.subtitles import subtitles_beside
from signprep.pipeline.datasets.read import NO_SIGN_GLOSS
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.text import byte_size

_LONGEST_SIGNS = 4_000_000
_SMALL_SECONDS = 30.0


def make_app(recognizer: Recognizer, options: ServeOptions, timeline: TimelineOptions = TimelineOptions()) -> Starlette:
    """Return the server as an ASGI application, whose lifespan starts and ends its processes.

    Args:
        recognizer: the model that answers.
        options: what is refused.
        timeline: holds where a request for a timeline says nothing.
    """
    service = Service(recognizer, options, timeline)

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


async def model(request: Request) -> Response:
    """Say what answers here, and what is refused."""
    service: Service = request.app.state.service
    recognizer, options = service.recognizer, service.options
    learned = NO_SIGN_GLOSS if NO_SIGN_GLOSS in recognizer.glosses else None
    return json_response(
        {
            "signprep": version("signprep"),
            "glosses": list(recognizer.glosses),
            "idle_gloss": service.timeline.idle_gloss or learned,
            "timeline": asdict(service.timeline),
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
    service: Service = request.app.state.service
    return json_response(description(service.timeline))


async def page(request: Request) -> Response:
    """Return the page, which has its own policy; nobody may frame it."""
    return HTMLResponse(page_text(), headers={"content-security-policy": "frame-ancestors 'none'"})


async def subtitles(request: Request) -> Response:
    """Return signs, the list that a timeline has, as the text of a file: SubRip, WebVTT or ELAN."""
    try:
        format_, name = request.query_params.get("format", "srt"), request.query_params.get("name", "video")
        signs = signs_of(await _small_body(request))
        text = subtitles_beside(f".{format_}", signs, name[:LONGEST_NAME])
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


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error, request)


async def _bug(request: Request, error: Exception) -> Response:
    return json_response({"error": "the server has made a mistake, which its log tells"}, 500)
