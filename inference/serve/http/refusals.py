"""Documents as responses, and errors as those that say what the command line would say."""

from typing import Any

import click
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from signprep.inference.serve.decoders import TooSlowError
from signprep.inference.serve.http.guard import worded
from signprep.inference.serve.service import FullError
from signprep.pipeline.errors import CheckpointError, SignprepError
from signprep.pipeline.runtime.text import json_text

Refused = SignprepError | click.UsageError | HTTPException
"""What a request, or a file of it, is refused by."""


def json_response(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a document as commands print it, which every reader of JSON takes."""
    body = json_text(document, indent=None) + "\n"
    return Response(body, status, headers=headers, media_type="application/json")


def refusal(error: Refused, request: Request) -> Response:
    """Return an error with the words of the command line, in the language that is asked for."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        headers = {"connection": "close"} | dict(error.headers or {})
    elif isinstance(error, FullError):
        headers = {"retry-after": str(error.retry_after_seconds), "connection": "close"}
    status, told = status_and_words(error, request)
    return json_response({"error": told}, status, headers)


def status_and_words(error: Refused, request: Request) -> tuple[int, str]:
    """Return an error's status and words."""
    if isinstance(error, click.UsageError):
        status, told = 400, error.format_message()
    elif isinstance(error, HTTPException):
        status, told = error.status_code, error.detail
    else:
        told = " ".join(str(error).splitlines())
        kinds = {FullError: 429, TooSlowError: 504, CheckpointError: 500}
        status = next((number for kind, number in kinds.items() if isinstance(error, kind)), 422)
    return status, worded(told, request.headers)
