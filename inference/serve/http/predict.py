"""The address that answers: for a video, for clips as a cache stores them, or for the files of a form, in their order.

What answers is the service; here a request is taken apart, and its answer put together, as JSON or as events.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from dataclasses import replace
from mmap import mmap
from typing import Any, BinaryIO

import click
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from signprep.inference.serve.answers import Event
from signprep.inference.serve.clips import IN_MEMORY, Room
from signprep.inference.serve.http.guard import Receive, Scope, Send
from signprep.inference.serve.http.refusals import Refused, json_response, refusal, status_and_words
from signprep.inference.serve.http.uploads import CLIPS, FORM, FormFile, contents, form_files, received
from signprep.inference.serve.options import LONGEST_NAME, SINGLE, Query, read_query
from signprep.inference.serve.service import Service
from signprep.pipeline.errors import SignprepError
from signprep.pipeline.runtime.text import json_text

EVENTS = "text/event-stream"
CLIENT_LEFT = 499
"""In the counts, as nginx says it: nobody gets this status."""
_SILENCE_SECONDS = 15.0


class Predict:
    """The address as an ASGI application."""

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
        query = read_query(request.query_params.multi_items(), self._service.timeline)
        _require_short(query.name)
        content_type = request.headers.get("content-type", "")
        kind = content_type.partition(";")[0].strip().lower()
        with_events = EVENTS in request.headers.get("accept", "")
        if kind == FORM and with_events:
            raise click.UsageError("a form is answered at once, without events; send its videos one by one")
        if kind == CLIPS:
            _require_no_windows(query)
        in_memory = IN_MEMORY if kind in (CLIPS, FORM) else 0
        body = await received(request, self._service.options, in_memory=in_memory)
        self._service.metrics.add("upload_bytes_total", body.seek(0, 2))
        body.seek(0)
        room = Room(self._service.recognizer, query)
        if kind == CLIPS:
            with body:
                return await _while_there(self._clips(body, query, room, request), request)
        if kind == FORM:
            with body, contents(body) as form:
                return await _while_there(self._form(form, query, room, request), request)
        events = self._service.video(body, query, room)
        if with_events:
            return StreamingResponse(_told(events, request), media_type=EVENTS, headers={"x-accel-buffering": "no"})
        return await _while_there(_last(events), request)

    async def _clips(self, file: BinaryIO, query: Query, room: Room, request: Request) -> Any:
        """Return the answer for a .npy, in which errors of single clips are documents, too."""
        answer = await self._service.clips(file, query, room)
        if isinstance(answer, list):
            return [self._document(one, query, request) for one in answer]
        return answer

    async def _form(self, form: "bytes | mmap", query: Query, room: Room, request: Request) -> list[Any]:
        """Return the answers of a form's files: clips several at a time, and a video when all before it are there."""
        reading = (form, request.headers["content-type"])
        is_small = len(form) <= IN_MEMORY
        files = form_files(*reading) if is_small else await asyncio.to_thread(form_files, *reading)
        answers: list[Any] = []
        under_way: deque[asyncio.Task[Any]] = deque()
        try:
            for found in files:
                most = 2 * self._service.options.batch_size if found.is_clips else 0
                while len(under_way) > most:
                    answers.append(await under_way.popleft())
                answering = self._file(found, form, replace(query, name=found.name), room, request)
                under_way.append(asyncio.create_task(answering))
                if not found.is_clips:
                    answers.append(await under_way.popleft())
            while under_way:
                answers.append(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return answers

    async def _file(self, found: FormFile, form: "bytes | mmap", query: Query, room: Room, request: Request) -> Any:
        """Return the answer for a file of a form, or the document of its error."""
        try:
            _require_short(query.name)
            if found.is_clips:
                _require_no_windows(query)
            file = await found.opened(form)
            if not found.is_clips:
                return await _last(self._service.video(file, query, room))
            with file:
                return await self._clips(file, query, room, request)
        except (SignprepError, click.UsageError, HTTPException) as error:
            return self._document(error, query, request)

    def _document(self, answer: Any, query: Query, request: Request) -> Any:
        """Return an answer as it is, and an error as the document that stands in its place."""
        if not isinstance(answer, Refused):
            return answer
        self._service.metrics.add("part_errors_total")
        status, told = status_and_words(answer, request)
        return {"video_path": query.name, "error": told, "status": status}


def _require_short(name: str) -> None:
    if len(name) > LONGEST_NAME:
        raise click.UsageError(f"Invalid value for '--name': it is longer than {LONGEST_NAME} characters")


def _require_no_windows(query: Query) -> None:
    if query.gives_windows:
        raise click.UsageError(f"clips have no windows; leave out all but mode={SINGLE}, or send a video")


async def _last(events: AsyncGenerator[Event]) -> Any:
    document = None
    async with contextlib.aclosing(events):
        async for event in events:
            document = event.document
    return document


async def _while_there(answering: Coroutine[Any, Any, Any], request: Request) -> Response:
    """Return the document as a response, or raise ClientDisconnect when the client leaves."""
    work = asyncio.current_task()
    assert work is not None
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        has_left = True
        work.cancel()

    watching = asyncio.create_task(watch())
    try:
        document = await answering
    except asyncio.CancelledError:
        if not has_left:
            raise
        work.uncancel()
        raise ClientDisconnect from None
    finally:
        watching.cancel()
    # Long ones take seconds, in which others want to be answered.
    is_long = isinstance(document, list) or "clips" in document
    return await asyncio.to_thread(json_response, document) if is_long else json_response(document)


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
