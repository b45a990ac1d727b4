"""The server's addresses as OpenAPI 3.1 describes them; a request's parameters are the options that are read."""

from importlib.metadata import version
from typing import Any

import click

from signprep.inference.options import TimelineOptions
from signprep.inference.serve.http.uploads import CLIPS, FORM, MOST_FILES
from signprep.inference.serve.options import query_command

_TYPES = {"integer": "integer", "float": "number", "boolean": "boolean"}
_REFUSALS = {
    400: "An option means nothing.",
    401: "The token is missing or wrong.",
    403: "A page of another origin asks.",
    408: "The upload comes too slowly.",
    413: "The upload is too large.",
    421: "The server has another name.",
    422: "The video, or the clips, cannot be answered.",
    429: "Too many requests wait; Retry-After says for how many seconds.",
    504: "The answer takes too long.",
}
_BODY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "description": f"Videos, and clips (named .npy, or of type {CLIPS}); at most {MOST_FILES}.",
        "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
    }
}


def description(timeline: TimelineOptions = TimelineOptions()) -> dict[str, Any]:
    """Return the description as plain JSON types; `timeline` holds where a request says nothing."""
    answers = {
        "application/json": {"schema": {"oneOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}},
        "text/event-stream": {"schema": {"type": "string"}},
    }
    predict = {
        "summary": "Say which signs a video, or clips of a cache, show.",
        "description": "Answers have the form of `signprep infer`; with Accept: text/event-stream, events window, "
        "missing, and at last result or error. For several clips in one .npy, and for the files of a form, the answer "
        "is a list in their order, in which an object with error and status stands for what cannot be answered.",
        "parameters": [
            _parameter(found, getattr(timeline, found.name or "", found.default))
            for found in query_command.params
            if isinstance(found, click.Option)
        ],
        "requestBody": {"required": True, "content": {"video/*": _BODY, CLIPS: _BODY, FORM: _FORM}},
        "responses": {"200": {"description": "The answer.", "content": answers}}
        | {str(status): _refused(told) for status, told in _REFUSALS.items()},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "signprep", "version": version("signprep")},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
        "paths": {
            "/v1/predict": {"post": predict},
            "/v1/model": {"get": _told("The model's glosses, its clips, and what is refused.")},
            "/health": {"get": _told("Whether the server is there.")},
            "/metrics": {"get": _told("Counts as Prometheus reads them.", "text/plain", "string")},
        },
    }


def _parameter(found: click.Option, default: object) -> dict[str, Any]:
    """Return one of the options as a parameter of the address."""
    schema: dict[str, Any] = {"type": _TYPES.get(found.type.name, "string")}
    if isinstance(found.type, click.Choice):
        schema["enum"] = list(found.type.choices)
    if isinstance(default, int | float | str):
        schema["default"] = default
    told = " ".join(filter(None, (found.help, getattr(found, "allowed", "") and f"({getattr(found, 'allowed', '')})")))
    return {"name": found.opts[0].removeprefix("--"), "in": "query", "description": told, "schema": schema}


def _told(summary: str, kind: str = "application/json", type_: str = "object") -> dict[str, Any]:
    content = {kind: {"schema": {"type": type_}}}
    return {"summary": summary, "responses": {"200": {"description": "It is told.", "content": content}}}


def _refused(told: str) -> dict[str, Any]:
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    return {"description": told, "content": {"application/json": {"schema": error}}}
