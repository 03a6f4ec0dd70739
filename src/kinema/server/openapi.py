"""The OpenAPI document: what FastAPI finds out by itself, and what it can't, with examples."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from kinema.server.schemas.responses import ErrorBody

_BODY_EXAMPLES: dict[str, dict[str, object]] = {
    "CreateBody": {"prompt": "a red ball rolls to the left", "seconds": "4", "size": "1280x720", "seed": 7},
    "RemixBody": {"prompt": "a blue ball rolls to the left"},
    "EditBody": {"prompt": "the ball is blue", "video": {"id": "video_186b1c6f2a9d3e401f2e3d4c5b6a7988"}},
    "ExtendBody": {
        "prompt": "the ball rolls on", "seconds": "4",
        "video": {"id": "video_186b1c6f2a9d3e401f2e3d4c5b6a7988"},
    },
    "ConnectBody": {
        "prompt": "the ball rolls on",
        "video": {"id": "video_186b1c6f2a9d3e401f2e3d4c5b6a7988"},
        "next_video": {"id": "video_186b1c70e1b2c3d40a1b2c3d4e5f6071"},
    },
}  # fmt: skip
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
_ERROR_DESCRIPTIONS = {
    "400": "What is wrong with the request, and what is allowed.",
    "401": "No API key, or a wrong one.",
    "404": "No such video.",
    "413": "Too large.",
    "429": "The queue is full; `retry-after-ms` says when to try again.",
    "503": "The server is starting, stopping, or its disk is full.",
}


def openapi_body(body_type: type[BaseModel]) -> dict[str, Any]:
    """The description of a body that comes as JSON or as a form."""
    schema = body_type.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    content = {"schema": schema, "example": _BODY_EXAMPLES[body_type.__name__]}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": content, "multipart/form-data": {"schema": schema}},
        }
    }


def build_openapi(
    app: FastAPI, body_types: tuple[type[BaseModel], ...], *, requires_api_key: bool
) -> dict[str, Any]:
    """The whole document."""
    made = get_openapi(
        title="Kinema", version=app.version, routes=app.routes,
        description="Films from words: the OpenAI Videos API, and more. Any OpenAI client works with it.",
    )  # fmt: skip
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for kind in (*body_types, ErrorBody):
        schemas.update(kind.model_json_schema(ref_template="#/components/schemas/{model}").pop("$defs", {}))
    schemas["ErrorBody"] = ErrorBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas["ErrorBody"].pop("$defs", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, methods in made["paths"].items():
        for operation in methods.values():
            answers = operation["responses"]
            answers.pop("422", None)
            for status, words in _ERROR_DESCRIPTIONS.items():
                if path.startswith("/v1") or status == "503":
                    answers.setdefault(status, {"description": words, "content": _ERROR_CONTENT})
    if requires_api_key:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"key": []}]
    return made
