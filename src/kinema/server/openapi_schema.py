"""The OpenAPI document: FastAPI's own, with request bodies, examples and errors added."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from kinema.server.dialects.errors import ERROR_BODIES, error_body_type
from kinema.server.schemas.live import LiveChangeRequest, LiveCreateRequest, LiveSaveRequest
from kinema.server.schemas.requests import (
    CreateVideoRequest,
    EditRequest,
    ExtendRequest,
    InterpolateRequest,
    LabelsRequest,
    RemixRequest,
    StrictModel,
)

_VIDEO = {"id": "video_186b1c6f2a9d3e401f2e3d4c5b6a7988"}
_NEXT_VIDEO = {"id": "video_186b1c70e1b2c3d40a1b2c3d4e5f6071"}
_EXAMPLES: dict[type[StrictModel], dict[str, object]] = {
    CreateVideoRequest: {
        "prompt": "a red ball rolls to the left",
        "seconds": "4",
        "size": "1280x720",
        "seed": 7,
    },
    RemixRequest: {"prompt": "a blue ball rolls to the left"},
    EditRequest: {"prompt": "the ball is blue", "video": _VIDEO},
    ExtendRequest: {"prompt": "the ball rolls on", "seconds": "4", "video": _VIDEO},
    LabelsRequest: {"favorite": True, "folder": "shots"},
    InterpolateRequest: {"prompt": "the ball rolls on", "video": _VIDEO, "next_video": _NEXT_VIDEO},
    LiveCreateRequest: {"prompt": "a red ball rolls to the right"},
    LiveChangeRequest: {"prompt": "a blue cube falls down", "transition": "cut"},
    LiveSaveRequest: {"first_frame": 0, "num_frames": 64},
}
_API_PREFIXES = ("/v1/", "/api/v1/", "/fal/")
"""Paths that have all errors; the others answer everybody and may be unavailable only."""
_ERROR_DESCRIPTIONS = {
    "400": "The request is invalid; the message says what is wrong and what is allowed.",
    "401": "The API key is missing or wrong.",
    "403": "The request comes from another web page, or names another host.",
    "404": "There is no such video.",
    "408": "The request's body did not arrive in time.",
    "409": "The state of the video, or another live video of the caller, does not allow it.",
    "413": "The request is too large.",
    "429": "The queue is full; `retry-after-ms` says when to try again.",
    "503": "The server is starting or stopping, or its disk is full.",
}


def openapi_body(body_type: type[StrictModel]) -> dict[str, Any]:
    """The description of a body that may be JSON or a form."""
    schema = {"$ref": f"#/components/schemas/{body_type.__name__}"}
    content = {"schema": schema, "example": _EXAMPLES[body_type]}
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": content, "multipart/form-data": {"schema": schema}},
        }
    }


def build_openapi(app: FastAPI, *, requires_api_key: bool) -> dict[str, Any]:
    """The whole document."""
    document = get_openapi(
        title="Kinema", version=app.version, routes=app.routes,
        description="Text to video: the OpenAI Videos API with additional fields.",
    )  # fmt: skip
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (*_EXAMPLES, *ERROR_BODIES):
        schema = _schema(model)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            responses = operation["responses"]
            responses.pop("422", None)
            for status, description in _ERROR_DESCRIPTIONS.items():
                if path.startswith(_API_PREFIXES) or status == "503":
                    responses.setdefault(
                        status, {"description": description, "content": _error_content(path)}
                    )
    if requires_api_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _error_content(path: str) -> dict[str, Any]:
    name = error_body_type(path).__name__
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template="#/components/schemas/{model}")
