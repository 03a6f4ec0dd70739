"""Errors in the shape of the dialect whose path was called."""

from __future__ import annotations

import json

from kinema.server.errors import ApiError

OPENROUTER_PREFIX = "/api/v1/"
FAL_PREFIX = "/fal/"


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
