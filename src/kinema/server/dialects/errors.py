"""Errors in the shape of the dialect whose path was called."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from kinema.server.errors import ApiError
from kinema.server.schemas.responses import ErrorBody

OPENROUTER_PREFIX = "/api/v1/"
FAL_PREFIX = "/fal/"


class DialectErrorDetail(BaseModel):
    """An error: its HTTP status as `code`."""

    code: int
    message: str
    param: str
    metadata: dict[str, Any] | None = None


class OpenRouterErrorBody(BaseModel):
    """Body of every error of OpenRouter's dialect."""

    error: DialectErrorDetail


class FalErrorBody(BaseModel):
    """Body of every error of fal's dialect."""

    detail: str
    error_type: str | None
    error: DialectErrorDetail


ERROR_BODIES = (ErrorBody, OpenRouterErrorBody, FalErrorBody)


def error_body_type(path: str) -> type[BaseModel]:
    """The form of the errors of a path."""
    if path.startswith(OPENROUTER_PREFIX):
        return OpenRouterErrorBody
    return FalErrorBody if path.startswith(FAL_PREFIX) else ErrorBody


def error_body(path: str, error: ApiError) -> bytes:
    """The body of an error response.

    Args:
        path: of the request.
        error: what is wrong.
    """
    if path.startswith(OPENROUTER_PREFIX):
        details = {"code": error.status, "message": error.message, "param": error.about}
        return json.dumps({"error": {**details, "metadata": {"code": error.code}}}).encode()
    if path.startswith(FAL_PREFIX):
        # fal's clients read `detail`, the one of the AI SDK `error`.
        details = {"code": error.status, "message": error.message, "param": error.about}
        return json.dumps({"detail": error.message, "error_type": error.code, "error": details}).encode()
    return error.body()
